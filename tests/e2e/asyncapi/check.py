"""Checks an AsyncAPI document, and what was really said against it.

    check.py document.yaml < said.jsonl

The document is checked against the specification's own schema (3.0.0.json, from the npm package
@asyncapi/specs 6.11.1, Apache-2.0). Each line of the input is what was said: {"address": ...,
"from": "client" or "server" where that matters, "payload": ...}; it must be exactly one of the
messages of its channel. Prints the messages that were seen, one a line.
"""

import json
import pathlib
import re
import sys

import jsonschema
import yaml


def main(path):
    document = yaml.safe_load(pathlib.Path(path).read_text())
    specification = json.loads(pathlib.Path(__file__).with_name("3.0.0.json").read_text())
    jsonschema.Draft7Validator(specification).validate(document)
    channels = [channel_of(document, channel) for channel in document["channels"].values()]
    seen = set()
    for line in sys.stdin:
        said = json.loads(line)
        address, payload = said["address"], said["payload"]
        known = [messages for pattern, messages in channels if pattern.fullmatch(address)]
        if len(known) != 1:
            sys.exit(f"{address} is {len(known)} channels")
        fitting = [
            name
            for name, validator in known[0].items()
            if name.startswith(said.get("from", "")) and validator.is_valid(payload)
        ]
        if len(fitting) != 1:
            sys.exit(f"{address}: {json.dumps(payload)} is {fitting or 'no message'}")
        seen.update(fitting)
    print("\n".join(sorted(seen)))


def channel_of(document, channel):
    pattern = re.escape(channel["address"])
    pattern = re.sub(r"\\\{\w+\\\}", r"[^.]+", pattern)
    messages = {}
    for name in channel["messages"]:
        payload = document["components"]["messages"][name]["payload"]
        schema = {"allOf": [payload], "components": document["components"]}
        messages[name] = jsonschema.Draft7Validator(schema)
    return re.compile(pattern), messages


if __name__ == "__main__":
    main(sys.argv[1])
