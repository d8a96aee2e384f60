#!/usr/bin/env python3
"""Another service: follows friendships and messages, and counts each exactly once.

    pip install nats-py
    . .natter/natter.env && export NATS_URL NATS_USER NATS_PASSWORD
    deploy/examples/subscriber.py counts.db

It remembers what it has in counts.db and the broker remembers how far it is, so it may be stopped
and started at any time. Events come at least once: what was seen before changes nothing, because
(channel, seq) identifies a log event and (friendship, revision) a friendship's. What it learned and that
it learned it are one transaction, which is acknowledged after its commit, never before. After each
batch it prints what it has:

    {"messages": 2, "edits": 0, "deletions": 0, "open_friendships": 1, "missing": 0}

`missing` is how many entries of the channels' logs it has not seen: a log counts 1, 2, 3, … so a
listener sees for itself that something is still to come.
"""

import asyncio
import json
import os
import signal
import sqlite3
import sys

import nats
from nats.errors import TimeoutError as NothingCame

DURABLE = "example"
BATCH = 100
WAIT_SECONDS = 5
RETRY_SECONDS = 0.5


class Counts:
    """What was learned, in a file."""

    def __init__(self, path):
        self.db = sqlite3.connect(path)
        self.db.execute("PRAGMA synchronous = FULL")
        with self.db:
            self.db.execute("CREATE TABLE IF NOT EXISTS log (channel TEXT, seq INTEGER, kind TEXT, PRIMARY KEY (channel, seq))")
            self.db.execute("CREATE TABLE IF NOT EXISTS friendships (id TEXT PRIMARY KEY, revision INTEGER, is_open INTEGER)")

    def learn(self, messages):
        """All of it or nothing; what is no event of ours is passed over."""
        with self.db:
            for message in messages:
                try:
                    self._learn_one(json.loads(message.data))
                except (ValueError, KeyError, TypeError) as error:
                    print(f"{message.subject}: not understood ({error!r})", file=sys.stderr, flush=True)

    def _learn_one(self, event):
        if event["type"] == "log":
            self.db.execute("INSERT OR IGNORE INTO log VALUES (?, ?, ?)", (event["channel"], event["seq"], event["kind"]))
        else:
            state = (event["friendship"]["id"], event["revision"], event["friendship"]["is_open"])
            self.db.execute(
                "INSERT INTO friendships VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE"
                " SET revision = excluded.revision, is_open = excluded.is_open"
                " WHERE excluded.revision > friendships.revision",
                state,
            )

    def summary(self):
        def one(query):
            return self.db.execute(query).fetchone()[0] or 0

        return {
            "messages": one("SELECT count(*) FROM log WHERE kind = 'message'"),
            "edits": one("SELECT count(*) FROM log WHERE kind = 'edited'"),
            "deletions": one("SELECT count(*) FROM log WHERE kind = 'deleted'"),
            "open_friendships": one("SELECT count(*) FROM friendships WHERE is_open"),
            "missing": one("SELECT sum(newest - had) FROM (SELECT max(seq) AS newest, count(*) AS had FROM log GROUP BY channel)"),
        }


async def follow(js, stream, subject, counts):
    """Follows one stream for ever; begins again whenever the broker or the consumer was away."""
    while True:
        try:
            # Makes the durable consumer, or finds it.
            consumer = await js.pull_subscribe(subject, durable=DURABLE, stream=stream)
            while True:
                try:
                    messages = await consumer.fetch(BATCH, timeout=WAIT_SECONDS)
                except NothingCame:
                    # Is it still there? Whoever makes a stream anew takes its consumers away.
                    await consumer.consumer_info()
                    continue
                counts.learn(messages)
                for message in messages:
                    await message.ack()
                print(json.dumps(counts.summary()), flush=True)
        except (nats.errors.Error, OSError) as error:
            print(f"{stream}: {error or type(error).__name__}; again", file=sys.stderr, flush=True)
            await asyncio.sleep(RETRY_SECONDS)


async def main(path):
    counts = Counts(path)
    client = await nats.connect(
        os.environ["NATS_URL"],
        user=os.environ["NATS_USER"],
        password=os.environ["NATS_PASSWORD"],
        max_reconnect_attempts=-1,
        reconnect_time_wait=RETRY_SECONDS,
    )
    js = client.jetstream()
    print(json.dumps(counts.summary()), flush=True)
    following = asyncio.gather(
        follow(js, "CHAT", "chat.friendship.*.log", counts),
        follow(js, "FRIENDSHIPS", "events.friendships.*.*", counts),
    )
    for how in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(how, following.cancel)
    try:
        await following
    except asyncio.CancelledError:
        await client.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1]))
