"""Child processes that never outlive the launcher."""

import contextlib
import ctypes
import os
import pathlib
import pwd
import random
import signal
import socket
import subprocess
import time

from .say import Refused, say

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


def free_port():
    """A port of the loopback that is free.

    It is below those that the kernel gives to connections (ip_local_port_range), of which one may
    take a port before its server does.
    """
    for port in random.sample(range(10_000, 32_000), 1_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Refused("No port between 10000 and 32000 is free.")


def require_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Refused(f"Port {port} cannot be used ({error.strerror}); choose another with --port.") from None


def database_account():
    """Who Postgres runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise Refused("Postgres does not run as root and there is no user postgres or nobody to run it as.")


def spawn(command, *, log, env=None, account=None, end_with=signal.SIGTERM):
    """Starts a process in a session of its own (a Ctrl-C is the launcher's to pass on) that the
    kernel ends should the launcher vanish."""

    def before_exec():
        LIBC.prctl(PR_SET_PDEATHSIG, end_with)

    identity = {}
    if account is not None:
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    return subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=env,
        cwd="/",
        start_new_session=True,
        preexec_fn=before_exec,
        **identity,
    )


def wait_for_end(left, folder, seconds):
    """Waits while `left` names what an earlier start left running on this folder."""
    deadline = time.monotonic() + seconds
    told = None
    while what := left():
        if time.monotonic() > deadline:
            raise Refused(f"{what[0].upper()}{what[1:]} has not ended on {folder}.")
        if what != told:
            say(f"waiting for {what}, still ending")
            told = what
        time.sleep(0.1)


def pid_in(file):
    """The process that a server has written down there, if it has."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(file.read_text().split()[0])
    return None


def runs_on(pid, folder):
    try:
        # A process that has ended and is not yet waited for has no command line.
        return os.fsencode(folder) in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def stop(process, how, seconds):
    """Asks a process to end, and ends it after that many seconds."""
    if process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
