"""A private Postgres under the data folder."""

import contextlib
import hashlib
import hmac
import os
import pathlib
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import time

from .processes import database_account, free_port, pid_in, runs_on, spawn, stop, wait_for_end
from .say import Refused, say
from .tools import ROOT, postgres_programs

SCHEMAS = ("users", "friendships", "messages")
# Where the database goes when the user that Postgres runs as cannot reach the data folder (a checkout below /root, say).
ELSEWHERE = pathlib.Path("/var/lib/natter")
# After a crash it goes through up to a gigabyte of its log first, and begins again if it is ended meanwhile.
START_SECONDS = 300
STOP_SECONDS = 30


class Postgres:
    def __init__(self, data):
        # Installed first where it is missing: the package makes the user that Postgres runs as.
        postgres_programs()
        self.account = database_account()
        self.folder = _reachable(data, self.account)
        if self.account and self.folder.exists():
            # Postgres serves a folder only to the user that owns it, and says so where there is no such user.
            with contextlib.suppress(KeyError):
                self.account = pwd.getpwuid(self.folder.stat().st_uid)
        self.password_file = data / "postgres.password"
        self.log = data / "postgres.log"
        version = self.folder / "PG_VERSION"
        self.bin = postgres_programs(version.read_text().strip() if version.exists() else None)
        self.process = None

    def start(self):
        if not self.folder.exists():
            self._create()
        elif not self.password_file.exists() and self.folder.parent == ELSEWHERE:
            # Its data folder was removed.
            shutil.rmtree(self.folder)
            self._create()
        elif not self.password_file.exists():
            # --fresh would remove nothing: by that file it knows that the folder is Natter's. Without it the folder
            # may be anybody's, as may what is beside it.
            raise Refused(f"{self.folder} is there and its password {self.password_file} is not; put it back, or choose another folder with --data.")
        self.password = self.password_file.read_text().strip()
        for _ in range(3):
            self.port = free_port()
            if self._serve():
                break
        else:
            last = self.log.read_text(errors="replace").strip().splitlines()[-3:]
            raise Refused(f"Postgres does not start; {self.log} ends with: {' / '.join(last)}")
        self._set_up()

    def settings(self, *roles):
        """The URLs of these roles (named without `natter_`), as settings."""
        where = f"127.0.0.1:{self.port}/natter"
        return {
            f"NATTER_{role.upper()}_DATABASE_URL": f"postgres://natter_{role}:{self._password_of(role)}@{where}"
            for role in roles
        }

    def _password_of(self, role):
        """A password of its own for each role, from which the superuser's cannot be learnt."""
        return hmac.digest(self.password.encode(), role.encode(), "sha256").hex()

    def stop(self):
        if self.process:
            # The fast shutdown: sessions are ended, and everything is flushed.
            stop(self.process, signal.SIGINT, STOP_SECONDS)

    def _create(self):
        """Makes the database beside its place and moves it there when it is whole."""
        say("creating the database")
        part = self.folder.with_name(self.folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        if part.parent == ELSEWHERE:
            # Whatever the umask: Postgres' own user must be able to pass through.
            ELSEWHERE.mkdir(parents=True, exist_ok=True)
            ELSEWHERE.chmod(stat.S_IMODE(ELSEWHERE.stat().st_mode) | 0o711)
        part.mkdir(mode=0o700)
        password = secrets.token_hex(24)
        write_secret(self.password_file, password)
        given = part.with_name(part.name + ".password")
        write_secret(given, password)
        identity = {}
        if self.account:
            identity = {"user": self.account.pw_uid, "group": self.account.pw_gid}
            for path in (part, given):
                os.chown(path, self.account.pw_uid, self.account.pw_gid)
        command = [self.bin / "initdb", "--pgdata", part, "--username", "postgres", "--encoding", "UTF8"]
        command += ["--locale", "C.UTF-8", "--auth", "scram-sha-256", "--pwfile", given]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", **identity)
        given.unlink()
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise Refused(f"The database could not be created in {self.folder}: {last}")
        part.rename(self.folder)

    def _serve(self):
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "256MB",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            self.process = spawn(
                [self.bin / "postgres", "-D", self.folder, *options],
                log=log,
                account=self.account,
                end_with=signal.SIGINT,
            )
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None:
            if self.sql("SELECT 1", "postgres").returncode == 0:
                return True
            if time.monotonic() > deadline:
                raise Refused(f"Postgres does not answer after {START_SECONDS} seconds; {self.log} says why.")
            time.sleep(0.1)
        return False

    def _set_up(self):
        there = self.sql("SELECT 1 FROM pg_database WHERE datname = 'natter'", "postgres")
        if there.stdout.strip() != "1":
            self.sql("CREATE DATABASE natter", "postgres", check=True)
        roles = [role for schema in SCHEMAS for role in (schema, f"{schema}_owner")]
        passwords = "".join(f"\\set {role}_password {self._password_of(role)}\n" for role in roles)
        files = [ROOT / "deploy/postgres" / name for name in ("setup.sql", "passwords.sql")]
        self.sql(passwords + "".join(file.read_text() for file in files), "natter", check=True)

    def sql(self, text, database, *, check=False):
        command = [self.bin / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-1"]
        command += ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database]
        # A database cannot be created in a transaction.
        if text.startswith("CREATE DATABASE"):
            command.remove("-1")
        env = {**os.environ, "PGPASSWORD": self.password}
        done = subprocess.run(command, input=text, capture_output=True, text=True, env=env)
        if check and done.returncode != 0:
            raise Refused(f"The database could not be set up: {done.stderr.strip()}")
        return done


def write_secret(path, text):
    path.touch(mode=0o600)
    path.write_text(text + "\n")


def places_of(data):
    """Where the database of a data folder may be."""
    return data / "postgres", ELSEWHERE / hashlib.sha256(str(data).encode()).hexdigest()[:16]


def wait_for_earlier_postgres(folder):
    """Postgres refuses to start on a folder as long as anything of an earlier server is left."""
    wait_for_end(lambda: _left_of_postgres(folder), folder, STOP_SECONDS)


def _left_of_postgres(folder):
    pid_file = folder / "postmaster.pid"
    pid = pid_in(pid_file)
    if pid is None:
        return None
    if runs_on(pid, folder) or _is_unreaped(pid):
        return f"Postgres (process {pid}) of an earlier start"
    # The sessions of a server that was killed go on to the end of their statement.
    return "the sessions of Postgres of an earlier start" if _is_attached(pid_file) else None


def _is_unreaped(pid):
    """Whether the process has ended and its parent has not waited for it: Postgres takes it for alive."""
    account = database_account()
    process = pathlib.Path(f"/proc/{pid}")
    try:
        is_its = process.stat().st_uid == (account.pw_uid if account else os.geteuid())
        name, _, rest = process.joinpath("stat").read_text().rpartition(")")
        return is_its and name.endswith("(postgres") and rest.split()[0] == "Z"
    except OSError:
        return False


def _is_attached(pid_file):
    """Whether a process uses the shared memory that is named in the seventh line of the server's pid file.
    The id may be another Postgres' since a reboot; the key is made of the folder's inode."""
    try:
        key, identifier = map(int, pid_file.read_text().splitlines()[6].split())
        head, *segments = pathlib.Path("/proc/sysvipc/shm").read_text().splitlines()
        segments = [dict(zip(head.split(), map(int, segment.split()))) for segment in segments]
    except (OSError, ValueError, IndexError):
        return False
    # A key has 32 bits, with a sign in one of the two places.
    of_it = [one for one in segments if one["shmid"] == identifier and (one["key"] - key) % 2**32 == 0]
    return any(one["nattch"] > 0 for one in of_it)


def _reachable(data, account):
    """The folder for the database: below the data folder, if its user can get there."""
    folder, _ = places_of(data)
    if account is None:
        return folder
    test = subprocess.run(
        ["test", "-x", str(data)], user=account.pw_uid, group=account.pw_gid, extra_groups=[], cwd="/"
    )
    if test.returncode == 0:
        return folder
    _, elsewhere = places_of(data)
    say(f"the user {account.pw_name} cannot reach {data}; the database is kept in {elsewhere}")
    return elsewhere
