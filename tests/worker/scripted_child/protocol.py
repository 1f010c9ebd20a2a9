"""The protocol by plain prints, so that it can also be spoken wrongly."""

import json
import os
import sys
from typing import Any

HELLO = {"type": "hello", "version": 3}
DONE = {"type": "done"}


def say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def progress(stage: str, share: float) -> None:
    say({"type": "progress", "stage": stage, "progress": share})


def hear() -> dict[str, Any]:
    line = sys.stdin.readline()
    if not line:
        os._exit(1)
    return json.loads(line)


def greet() -> dict[str, Any]:
    say(HELLO)
    order = hear()
    if order["type"] == "rehearse":
        say(DONE)
        os._exit(0)
    return order
