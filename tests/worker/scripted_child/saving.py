"""Children that leave checkpoints, and look for those of earlier attempts."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from protocol import DONE, greet, hear, progress, say
from results import write_results


def save_checkpoint(start: dict[str, Any], name: str, content: bytes) -> None:
    directory = Path(start["work_dir"], "checkpoints")
    directory.mkdir(exist_ok=True)
    (directory / name).write_bytes(content)
    say({"type": "checkpoint", "name": name})


def resumed(start: dict[str, Any]) -> dict[str, str]:
    """What earlier attempts left, by name."""
    names = ("latents", "boundary", "generator", "examples", "retrain", "evaluate")
    directory = start.get("resume_from")
    paths = [Path(directory, name) for name in names] if directory else []
    return {path.name: path.read_text() for path in paths if path.exists()}


def tell_what_was_left() -> None:
    """Fail, with what earlier attempts left as the message."""
    say({"type": "failed", "code": "model_unsupported", "message": json.dumps(resumed(greet()))})


def save_and_die() -> None:
    """Leave one more checkpoint, and die; at the third attempt tell of the earlier two."""
    start = greet()
    left = resumed(start)
    progress("retrain", 0.5)
    if len(left) == 2:
        say({"type": "failed", "code": "model_unsupported", "message": json.dumps(left)})
        return
    save_checkpoint(start, ("latents", "retrain")[len(left)], b"of attempt %d" % (1 + len(left)))
    os.kill(os.getpid(), signal.SIGKILL)


def save_when_stopped() -> None:
    start = greet()
    progress("retrain", 0.5)
    save_checkpoint(start, "retrain", b"an early one")
    assert hear() == {"type": "stop"}
    save_checkpoint(start, "retrain", b"the latest")
    say({"type": "stopped"})


def save_when_told() -> None:
    """Leave a checkpoint at each of two signals, and succeed at the third."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    start = greet()
    progress("retrain", 0.5)
    for share in (0.6, 0.7):
        signal.sigwait([signal.SIGUSR1])
        save_checkpoint(start, "retrain", b"saved at %.1f" % share)
        progress("retrain", share)
    signal.sigwait([signal.SIGUSR1])
    write_results(start)
    say(DONE)


def save_and_succeed() -> None:
    start = greet()
    save_checkpoint(start, "retrain", b"of no use any more")
    progress("retrain", 0.5)
    write_results(start)
    say(DONE)


def save_a_link_to_the_model() -> None:
    """Try to have the model's file taken away as a checkpoint, by a link in place of the directory."""
    start = greet()
    inputs = Path(start["model"]).parent
    (inputs / "model").rename(inputs / "retrain")
    Path(start["work_dir"], "checkpoints").symlink_to(inputs)
    say({"type": "checkpoint", "name": "retrain"})
    signal.pause()


def save_a_link() -> None:
    """The same, by a link in place of the file."""
    start = greet()
    Path(start["work_dir"], "checkpoints").mkdir()
    Path(start["work_dir"], "checkpoints", "retrain").symlink_to(start["model"])
    say({"type": "checkpoint", "name": "retrain"})
    signal.pause()
