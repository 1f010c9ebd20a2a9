"""A child that follows a script instead of hardening a model: `scripted_child.py BEHAVIOUR [ARGUMENT]`.

It speaks the protocol with plain prints, so that it can also speak it wrongly.
"""

import ctypes
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HELLO = {"type": "hello", "version": 1}
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
    return hear()


def report(start: dict[str, Any]) -> dict[str, Any]:
    accuracy = {"correct": 9, "total": 10}
    count_fields = {"classes": 10, "latent_dimension": 4, "parameter_count": 50}
    return {
        "created_at": datetime.now(UTC).isoformat(),
        "config": start["config"],
        "verdict": {"recommendation": "deploy", "headline": "Fine."},
        "clean_before": accuracy,
        "clean_after": accuracy,
        "attacks": [],
        "model": {"sha256": sha256(start["model"]), **count_fields, "head": "fc", "output": "logits"},
        "dataset": {
            "sha256": sha256(start["dataset"]),
            "image_shape": [1, 8, 8],
            "train_samples": 10,
            "test_samples": 10,
            "class_names": ["a", "b"],
            "train_per_class": [5, 5],
            "test_per_class": [5, 5],
        },
        "stage_seconds": {"validate": 0.1},
        "device": "cpu",
        "versions": {},
    }


def sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write_results(start: dict[str, Any], **changes: bytes) -> None:
    """Write the four files; `changes` replaces one's content, by its stem."""
    work_dir = Path(start["work_dir"])
    header = json.dumps({"w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}).encode()
    contents = {
        "model.pt": zipped({"model/data.pkl": b"a model"}),
        "weights.safetensors": len(header).to_bytes(8, "little") + header + bytes(4),
        "report.json": json.dumps(report(start)).encode(),
    }
    for name, content in contents.items():
        (work_dir / name).write_bytes(changes.get(name.partition(".")[0], content))
    (work_dir / "examples.zip").write_bytes(zipped({"index.json": b"[]"}))


def zipped(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def succeed() -> None:
    start = greet()
    progress("validate", 0.1)
    progress("retrain", 0.5)
    write_results(start)
    say(DONE)


def sleep_until_told() -> None:
    """Work until asked to stop, then stop."""
    greet()
    progress("validate", 0.25)
    assert hear() == {"type": "stop"}
    say({"type": "stopped"})


def ignore_everything() -> None:
    """Work for ever, whatever is asked."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    greet()
    progress("validate", 0.25)
    while True:
        signal.pause()


def say_nothing() -> None:
    """Not even that it is there."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


def die() -> None:
    greet()
    progress("latents", 0.3)
    print("\x1b[31mthe end is \x07near, in /home/somebody/secret/place.py\x1b[0m", file=sys.stderr)
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def abort() -> None:
    greet()
    os.abort()


def segfault() -> None:
    greet()
    os.kill(os.getpid(), signal.SIGSEGV)


def exit_quietly() -> None:
    greet()


def fail() -> None:
    greet()
    say({"type": "failed", "code": "model_near_chance", "message": "Chance.\x1b[2J", "stage": "validate"})


def blame_the_worker() -> None:
    greet()
    say({"type": "failed", "code": "worker_lost", "message": "It was not me."})


def babble() -> None:
    greet()
    print("Hello from a library that prints to standard output")
    sys.stdout.flush()
    signal.pause()


def never_end_a_line() -> None:
    greet()
    while True:
        os.write(1, b"x" * 65_536)


def flood() -> None:
    greet()
    while True:
        progress("validate", 0.1)


def go_back_and_forth() -> None:
    greet()
    while True:
        progress("validate", 0.1)
        progress("latents", 0.1)
        time.sleep(0.02)


def skip_greeting() -> None:
    progress("validate", 0.1)
    signal.pause()


def speak_after_the_end() -> None:
    write_results(greet())
    say(DONE)
    say(DONE)
    signal.pause()


def leave_nothing() -> None:
    greet()
    say(DONE)


def leave_symlink() -> None:
    start = greet()
    write_results(start)
    model = Path(start["work_dir"], "model.pt")
    model.unlink()
    model.symlink_to("/etc/passwd")
    say(DONE)


def leave_other_report() -> None:
    start = greet()
    value = report(start)
    value["model"]["sha256"] = "0" * 64
    write_results(start, report=json.dumps(value).encode())
    say(DONE)


def leave_report_with_key(key: str) -> None:
    start = greet()
    value = report(start)
    value["config"] = {**value["config"], key: 1}
    write_results(start, report=json.dumps(value).encode())
    say(DONE)


def leave_report_with_nul_key() -> None:
    leave_report_with_key("q\0kkk")


def leave_report_with_huge_key() -> None:
    leave_report_with_key("k" * 3_000_000)


def leave_bad_weights() -> None:
    start = greet()
    header = json.dumps({"w": {"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}}).encode()
    write_results(start, weights=len(header).to_bytes(8, "little") + header + bytes(4))
    say(DONE)


def linger() -> None:
    """Say the last word, and stay."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    write_results(greet())
    say(DONE)
    while True:
        signal.pause()


def eat_memory() -> None:
    greet()
    hoard = []
    while True:
        hoard.append(b"\x01" * (8 << 20))
        progress("retrain", 0.5)
        time.sleep(0.01)  # slower than the watch, so that the test needs no gigabytes


def have_offspring() -> None:
    """Start a process of its own, tell where it is, and die."""
    greet()
    offspring = subprocess.Popen(["/bin/sleep", "600"])
    print(f"offspring {offspring.pid}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(3)


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
    say({"type": "failed", "code": "internal", "message": json.dumps(seen)})


def succeed_when_allowed() -> None:
    """Succeed at once, except on a model that says to wait for SIGUSR1."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    start = greet()
    progress("validate", 0.25)
    if Path(start["model"]).read_bytes() == b"wait":
        signal.sigwait([signal.SIGUSR1])
    write_results(start)
    say(DONE)


def succeed_with_large_results() -> None:
    """As when allowed, with a model that takes a while to store."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    start = greet()
    progress("validate", 0.25)
    signal.sigwait([signal.SIGUSR1])
    write_results(start, model=zipped({"model/data.pkl": os.urandom(20 << 20)}))
    say(DONE)


def succeed_at_second_attempt() -> None:
    (succeed if int(Path.cwd().parent.name) > 1 else ignore_everything)()


def main() -> None:
    # Dies with its parent, as the real one does.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    behaviour: Callable[[], None] = globals()[sys.argv[1]]
    behaviour()


if __name__ == "__main__":
    main()
