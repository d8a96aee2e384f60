"""A private NATS server with JetStream under the data folder."""

import os
import secrets
import signal
import socket
import time

from .processes import free_port, pid_in, runs_on, spawn, stop, wait_for_end
from .say import Refused
from .tools import ROOT

PID_FILE = "nats.pid"
# It reads its streams first.
START_SECONDS = 120
STOP_SECONDS = 15
# The users below, and what each may do.
CONFIG = ROOT / "deploy/nats/nats.conf"
SUBSCRIBER = "subscriber"
USERS = ("users", "friendships", "messages", "gateway", "admin", SUBSCRIBER)


class Nats:
    def __init__(self, program, data):
        self.program = program
        self.folder = data / "nats"
        self.log = data / "nats.log"
        self.pid_file = data / PID_FILE
        self.process = None

    def start(self):
        self.folder.mkdir(exist_ok=True)
        # A letter first: NATS takes what looks like a number for one.
        self.passwords = {user: "n" + secrets.token_hex(24) for user in USERS}
        for _ in range(3):
            self.port = free_port()
            if self._serve():
                return
        raise Refused(f"nats-server does not start; {self.log} says why.")

    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    def settings(self, *users):
        """The passwords of these users, as settings."""
        return {f"NATTER_{user.upper()}_NATS_PASSWORD": self.passwords[user] for user in users}

    def stop(self):
        if self.process:
            stop(self.process, signal.SIGTERM, STOP_SECONDS)

    def _serve(self):
        command = [self.program, "--config", CONFIG, "--addr", "127.0.0.1", "--port", str(self.port)]
        command += ["--store_dir", self.folder / "jetstream"]
        with self.log.open("ab") as log:
            self.process = spawn(command, log=log, env={**os.environ, **self.settings(*USERS)})
        self.pid_file.write_text(f"{self.process.pid}\n")
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return True
            # Not another beside it: two servers on one store would spoil it.
            if time.monotonic() > deadline:
                raise Refused(f"nats-server does not answer after {START_SECONDS} seconds; {self.log} says why.")
            time.sleep(0.05)
        return False


def wait_for_earlier_nats(data):
    """Two servers on one store would spoil it, and it has no lock of its own."""
    pid, folder = pid_in(data / PID_FILE), data / "nats"
    wait_for_end(lambda: pid and runs_on(pid, folder) and f"NATS (process {pid}) of an earlier start", folder, STOP_SECONDS)
