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
SUBSCRIBER = "subscriber"
FEEDS = ("USERS", "FRIENDSHIPS", "CHAT")
# What other services may: listen, and read the feeds with consumers of their own.
READ_ONLY = {
    "subscribe": ["events.>", "chat.friendship.>", "_INBOX.>"],
    "publish": [
        *("$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST"),
        *(f"$JS.API.STREAM.INFO.{feed}" for feed in FEEDS),
        *(f"$JS.API.CONSUMER.{what}.{feed}" for feed in FEEDS for what in ("NAMES", "LIST")),
        *(f"$JS.API.CONSUMER.{what}.{feed}.>" for feed in FEEDS for what in ("CREATE", "DURABLE.CREATE", "INFO", "MSG.NEXT")),
        *(f"$JS.ACK.{feed}.>" for feed in FEEDS),
    ],
}


class Nats:
    def __init__(self, program, data):
        self.program = program
        self.folder = data / "nats"
        self.log = data / "nats.log"
        self.process = None

    def start(self):
        self.folder.mkdir(exist_ok=True)
        self.password = secrets.token_hex(24)
        self.subscriber_password = secrets.token_hex(24)
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
            "authorization": {
                "users": [
                    {"user": USER, "password": self.password},
                    {"user": SUBSCRIBER, "password": self.subscriber_password, "permissions": READ_ONLY},
                ]
            },
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
