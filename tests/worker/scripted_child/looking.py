"""Children that look around, and reach for what is not theirs."""

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from protocol import greet, say


def tell_environment() -> None:
    """Fail, with what it sees of its surroundings as the message."""
    greet()
    seen = {
        "environment": dict(os.environ),
        "cwd": str(Path.cwd()),
        "is_group_leader": os.getpgrp() == os.getpid() == os.getsid(0),
        "fds": sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir())[:-1],
        "uid": os.getuid(),
        "groups": os.getgroups(),
    }
    say({"type": "failed", "code": "model_unsupported", "message": json.dumps(seen)})


def look_around() -> None:
    """Fail, with what it sees of the machine as the message."""
    start = greet()
    attempt = Path(start["work_dir"]).parent
    try:
        Path("/written").write_bytes(b"x")
    except OSError as error:
        root = error.strerror
    else:
        root = "written to"
    seen = {
        "uid": os.getuid(),
        "processes": sum(entry.name.isdigit() for entry in Path("/proc").iterdir()),
        "networks": [name for _, name in socket.if_nameindex()],
        "passwords": Path("/etc/passwd").exists(),
        "root": root,
        "attempts": [entry.name for entry in attempt.parent.iterdir()],
        "cwd": str(Path.cwd()),
    }
    say({"type": "failed", "code": "model_unsupported", "message": json.dumps(seen)})


def attack_neighbour() -> None:
    """Reach for the files and the process of another attempt, which the model names."""
    start = greet()
    other = json.loads(Path(start["model"]).read_bytes())
    inputs = Path(other["inputs"])
    attacks: dict[str, Callable[[], object]] = {
        "list": lambda: list(inputs.iterdir()),
        "read": (inputs / "model").read_bytes,
        "signal": lambda: os.kill(other["pid"], signal.SIGKILL),
        "look into": lambda: Path(f"/proc/{other['pid']}/environ").read_bytes(),
        "list all jobs": lambda: list(inputs.parents[2].iterdir()),
    }
    outcomes: dict[str, object] = {"uid": os.getuid()}
    for name, attack in attacks.items():
        try:
            attack()
            outcomes[name] = "succeeded"
        except OSError as error:
            outcomes[name] = type(error).__name__
    say({"type": "failed", "code": "model_unsupported", "message": json.dumps(outcomes)})
