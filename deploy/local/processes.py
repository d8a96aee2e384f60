"""Child processes that never outlive the launcher."""

import contextlib
import ctypes
import os
import pathlib
import pwd
import signal
import socket
import subprocess
import time

from .say import Refused, say

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


def free_port():
    """A port of the loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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


def wait_for_end(pid_file, folder, seconds):
    """Waits for the processes of an earlier start that are still ending on this folder."""
    deadline = time.monotonic() + seconds
    waits = False
    while pids := _running_on(pid_file, folder):
        if time.monotonic() > deadline:
            raise Refused(f"Process {pids[0]} of an earlier start still runs on {folder}.")
        if not waits:
            say(f"waiting for process {pids[0]} of an earlier start, which is still ending")
            waits = True
        time.sleep(0.1)


def _running_on(pid_file, folder):
    """The server of that file, and the sessions of a Postgres that was killed: they work in its folder
    until their last statement ends."""
    pids = [int(process.name) for process in pathlib.Path("/proc").iterdir() if process.name.isdigit()]
    running = [pid for pid in pids if _is_session_of(pid, folder)]
    with contextlib.suppress(OSError, ValueError, IndexError):
        server = int(pid_file.read_text().split()[0])
        process = pathlib.Path(f"/proc/{server}")
        # One that has ended and is not yet waited for has no command, and Postgres takes it for alive.
        is_zombie = process.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z"
        if is_zombie or os.fsencode(folder) in process.joinpath("cmdline").read_bytes():
            running.append(server)
    return running


def _is_session_of(pid, folder):
    process = pathlib.Path(f"/proc/{pid}")
    try:
        return (process / "cwd").readlink() == folder and (process / "comm").read_text() == "postgres\n"
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
