"""What the launcher tells the person who started it."""

import contextlib
import sys


class Refused(Exception):
    """Something cannot be had; the message is one sentence for the user."""


def say(text):
    # Where the terminal is gone nobody listens, and what comes next (stopping, in order) is done all the same.
    with contextlib.suppress(OSError):
        print(f"natter: {text}", file=sys.stderr, flush=True)
