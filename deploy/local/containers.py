"""Images and containers on a machine where none can be pulled.

The base is made by debootstrap, the toolchain is this machine's own, and the servers that the
manifests name (NATS, Postgres, the ingress) get small images tagged like the real ones. All of it
is kept below .tools, apart from the machine's own images.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile

from . import tools
from .say import Refused, say

HOME = tools.TOOLS / "containers"
SERVICES = ("users", "friendships", "messages", "gateway", "admin")
PACKAGES = {
    "podman": "podman",
    "buildah": "buildah",
    "runc": "runc",
    "/usr/lib/podman/netavark": "netavark",
    "/usr/lib/podman/aardvark-dns": "aardvark-dns",
    "iptables": "iptables",
    "catatonit": "catatonit",
    "debootstrap": "debootstrap",
}
BASE = "localhost/natter-base"
RUST = "localhost/natter-rust"
# As the manifests and compose.yaml name them.
NATS = "docker.io/library/nats:2.15.1-alpine"
POSTGRES = "docker.io/library/postgres:15.18-bookworm"
CADDY = "docker.io/library/caddy:2.11.7-alpine"

RUST_IMAGE = f"""
FROM {BASE}
RUN apt-get -qq update && apt-get -qq install -y --no-install-recommends gcc g++ libc6-dev make >/dev/null && rm -rf /var/lib/apt/lists/*
ENV PATH=/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""
# Of the real images, only what the manifests use.
NATS_IMAGE = f"""
FROM {BASE}
COPY nats-server /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/nats-server"]
"""
POSTGRES_IMAGE = f"""
FROM {BASE}
RUN groupadd -g 999 postgres && useradd -u 999 -g 999 -d /var/lib/postgresql postgres \\
    && mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf \\
    && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends postgresql-15 >/dev/null \\
    && rm -rf /var/lib/apt/lists/* && install -d -o 999 -g 999 /var/lib/postgresql/data /var/run/postgresql
COPY entrypoint /usr/local/bin/docker-entrypoint.sh
ENV PATH=/usr/local/bin:/usr/lib/postgresql/15/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/data
USER 999:999
STOPSIGNAL SIGINT
ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]
CMD ["postgres"]
"""
POSTGRES_ENTRYPOINT = """#!/bin/sh
set -eu
case "$1" in
    -*) set -- postgres "$@" ;;
    postgres) ;;
    *) exec "$@" ;;
esac
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p -m 700 "$PGDATA"
    initdb --pgdata="$PGDATA" --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" ${POSTGRES_INITDB_ARGS:-}
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl --pgdata="$PGDATA" --wait --options="-c listen_addresses=''" start
    createdb --username=postgres "$POSTGRES_DB"
    pg_ctl --pgdata="$PGDATA" --wait --mode=fast stop
fi
exec "$@" -c listen_addresses='*'
"""
CADDY_IMAGE = f"""
FROM {BASE}
COPY caddy /usr/bin/
ENTRYPOINT ["/usr/bin/caddy"]
CMD ["run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
"""
# Lowers podman's limits of open files and processes to what this machine grants.
RUNTIME = """#!/usr/bin/env python3
import json, os, resource, sys
for option in ("--bundle", "--process"):
    if option in sys.argv:
        path = sys.argv[sys.argv.index(option) + 1]
        path = os.path.join(path, "config.json") if option == "--bundle" else path
        with open(path) as file:
            config = json.load(file)
        for limit in config.get("process", config).get("rlimits") or []:
            _, most = resource.getrlimit(getattr(resource, limit["type"]))
            if most != resource.RLIM_INFINITY:
                limit["hard"], limit["soft"] = min(limit["hard"], most), min(limit["soft"], most)
        with open(path, "w") as file:
            json.dump(config, file)
os.execvp("runc", ["runc", *sys.argv[1:]])
"""


class CannotRun(Refused):
    """This machine does not run containers; the message says why."""


def environment():
    """What podman and buildah run with: their own storage, and limits that this machine grants."""
    runtime = HOME / "runtime"
    HOME.mkdir(parents=True, exist_ok=True)
    runtime.write_text(RUNTIME)
    runtime.chmod(0o755)
    # Podman's own database goes on naming the storage's first place, wherever the checkout was moved.
    place = HOME / "place"
    if not place.exists() or place.read_text() != str(HOME):
        shutil.rmtree(HOME / "storage/libpod", ignore_errors=True)
        place.write_text(str(HOME))
    (HOME / "containers.conf").write_text(
        '[engine]\nruntime = "limited"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        f'[engine.runtimes]\nlimited = ["{runtime}"]\n'
        # Networks are described here, and not with the machine's own.
        f'[network]\nnetwork_config_dir = "{HOME}/networks"\n'
    )
    (HOME / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{HOME}/storage"\nrunroot = "/run/natter-containers"\n'
    )
    return {
        "CONTAINERS_CONF": str(HOME / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(HOME / "storage.conf"),
        "BUILDAH_ISOLATION": "chroot",
        # Health checks are asked for by the tests: there may be no systemd to do it.
        "DISABLE_HC_SYSTEMD": "true",
    }


def prepare(profile):
    """Installs what is missing and builds every image, those of Natter with a profile of Cargo."""
    if os.geteuid() != 0:
        raise CannotRun("containers are run as root, and this is another user")
    for program, package in PACKAGES.items():
        if not shutil.which(program):
            try:
                tools.apt_install(package, package)
            except Refused as refused:
                raise CannotRun(str(refused)) from None
    env = {**os.environ, **environment()}
    _base(env)
    done = _run(["podman", "run", "--rm", "--network", "none", BASE, "/bin/true"], env)
    if done.returncode != 0:
        raise CannotRun(f"containers do not run here: {_last_line(done.stderr)}")
    _bud(env, RUST_IMAGE, RUST)
    build(env, profile)
    packages = tools.python_packages("k8s")
    _bud(env, NATS_IMAGE, NATS, {"nats-server": tools.nats_server()})
    _bud(env, CADDY_IMAGE, CADDY, {"caddy": packages / "bin/caddy"})
    with tempfile.NamedTemporaryFile("w") as entrypoint:
        entrypoint.write(POSTGRES_ENTRYPOINT)
        entrypoint.flush()
        _bud(env, POSTGRES_IMAGE, POSTGRES, {"entrypoint": pathlib.Path(entrypoint.name)})


def build(env, profile):
    """The images of deploy/Dockerfile, tagged `dev`."""
    say(f"building the images (profile {profile}; some ten minutes the first time, half of that where only code has changed)")
    sysroot = _run(["rustc", "--print", "sysroot"], env).stdout.strip()
    registry = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo")) / "registry"
    registry.mkdir(parents=True, exist_ok=True)
    for service in SERVICES:
        command = ["buildah", "build", "--layers", "--file", "deploy/Dockerfile", "--target", service]
        command += ["--build-arg", f"RUST={RUST}", "--build-arg", f"BASE={BASE}"]
        command += ["--build-arg", f"PROFILE={profile}"]
        command += ["--volume", f"{sysroot}:/rust:ro", "--volume", f"{registry}:/root/.cargo/registry"]
        done = _run([*command, "--tag", f"natter-{service}:dev", "."], env, cwd=tools.ROOT)
        if done.returncode != 0:
            raise Refused(f"the image of {service} cannot be built:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def sizes():
    """The bytes of each image of Natter."""
    env = {**os.environ, **environment()}
    sizes = {}
    for service in SERVICES:
        command = ["podman", "image", "inspect", "--format", "{{.Size}}", f"natter-{service}:dev"]
        sizes[service] = int(_run(command, env).stdout)
    return sizes


def _base(env):
    if _run(["podman", "image", "exists", BASE], env).returncode == 0:
        return
    say("making the base of the images (debootstrap, a minute)")
    # With wget, by which the health checks of compose.yaml ask; the real images have it too.
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "root"
        command = ["debootstrap", "--variant=minbase", "--include=ca-certificates,wget", "bookworm", root]
        done = _run(command, env)
        if done.returncode != 0:
            raise Refused(f"the base of the images cannot be made: {_last_line(done.stdout + done.stderr)}")
        archive = pathlib.Path(folder) / "root.tar"
        subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
        path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        done = _run(["podman", "import", "--change", path, archive, BASE], env)
        if done.returncode != 0:
            raise Refused(f"the base of the images cannot be kept: {_last_line(done.stderr)}")


def _bud(env, text, tag, files=None):
    """Builds an image from the text of a Dockerfile and some files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, path in (files or {}).items():
            shutil.copy(path, pathlib.Path(folder) / name)
            (pathlib.Path(folder) / name).chmod(0o755)
        (pathlib.Path(folder) / "Dockerfile").write_text(text)
        done = _run(["buildah", "build", "--layers", "--tag", tag, folder], env)
        if done.returncode != 0:
            raise Refused(f"the image {tag} cannot be built: {_last_line(done.stderr)}")


def _run(command, env, cwd=None):
    return subprocess.run([str(part) for part in command], env=env, cwd=cwd, capture_output=True, text=True)


def _last_line(text):
    return (text.strip().splitlines() or ["no reason given"])[-1]
