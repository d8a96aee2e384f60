"""What the launcher tells the person who started it."""

import sys


class Refused(Exception):
    """Something cannot be had; the message is one sentence for the user."""


def say(text):
    print(f"natter: {text}", file=sys.stderr, flush=True)
