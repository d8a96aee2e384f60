"""A private NATS server with JetStream under the data folder."""

import json
import secrets
import signal
import socket
import time

from .processes import free_port, spawn, stop
from .say import Refused

START_SECONDS = 30
STOP_SECONDS = 15
USER = "natter"


class Nats:
    def __init__(self, program, data):
        self.program = program
        self.folder = data / "nats"
        self.log = data / "nats.log"
        self.process = None

    def start(self):
        self.folder.mkdir(exist_ok=True)
        self.password = secrets.token_hex(24)
        for _ in range(3):
            self.port = free_port()
            if self._serve():
                return
        raise Refused(f"nats-server does not start; {self.log} says why.")

    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    def stop(self):
        if self.process:
            stop(self.process, signal.SIGTERM, STOP_SECONDS)

    def _serve(self):
        # NATS reads JSON as its own configuration format.
        config = {
            "listen": f"127.0.0.1:{self.port}",
            "server_name": "natter",
            "jetstream": {"store_dir": str(self.folder / "jetstream"), "max_file_store": 8 << 30},
            "authorization": {"users": [{"user": USER, "password": self.password}]},
        }
        path = self.folder / "nats.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=2))
        with self.log.open("ab") as log:
            self.process = spawn([self.program, "--config", path], log=log)
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return True
            time.sleep(0.05)
        return False
