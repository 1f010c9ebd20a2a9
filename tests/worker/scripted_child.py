"""A child that follows a script instead of hardening a model: `scripted_child.py BEHAVIOUR [ARGUMENT]`.

It speaks the protocol with plain prints, so that it can also speak it wrongly.
"""

import ctypes
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HELLO = {"type": "hello", "version": 2}
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


def stay_in_stage() -> None:
    """Work for ever at the stage named by the next word; stop when asked, unless the word after is `deaf`."""
    stage, hearing = sys.argv[2:4]
    if hearing == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    greet()
    progress(stage, 0.5)
    while hearing == "deaf":
        signal.pause()
    assert hear() == {"type": "stop"}
    say({"type": "stopped"})


def speak_a_later_version() -> None:
    say({**HELLO, "version": HELLO["version"] + 1})
    hear()
    signal.pause()


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


def meet_a_fault() -> None:
    """Fail for want of something that no user can give, as the real child would say it."""
    greet()
    progress("retrain", 0.5)
    print("Traceback (most recent call last):", file=sys.stderr)
    print(
        "OSError: [Errno 28] No space left on device: '/var/tmp/ladder/x/cache'", file=sys.stderr, flush=True
    )
    say({"type": "failed", "code": "internal", "message": "Our fault.", "stage": "retrain"})


def meet_a_fault_at_first() -> None:
    (succeed if int(Path.cwd().parent.name) > 1 else meet_a_fault)()


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


def leave_weights_that_are_no_numbers() -> None:
    start = greet()
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    write_results(start, weights=len(header).to_bytes(8, "little") + header + b"\x00\x00\xc0\x7f")
    say(DONE)


def leave_fifo() -> None:
    """Whoever opens it to read waits for a writer."""
    start = greet()
    write_results(start)
    Path(start["work_dir"], "model.pt").unlink()
    os.mkfifo(Path(start["work_dir"], "model.pt"))
    say(DONE)


def leave_hard_link() -> None:
    start = greet()
    write_results(start)
    Path(start["work_dir"], "model.pt").rename(Path(start["work_dir"], "another"))
    Path(start["work_dir"], "model.pt").hardlink_to(Path(start["work_dir"], "another"))
    say(DONE)


def leave_directory() -> None:
    start = greet()
    write_results(start)
    Path(start["work_dir"], "model.pt").unlink()
    Path(start["work_dir"], "model.pt").mkdir()
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


def succeed_when_allowed() -> None:
    """Succeed at once, except on a model that says to wait for SIGUSR1."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    start = greet()
    progress("validate", 0.25)
    if Path(start["model"]).read_bytes() == b"wait":
        signal.sigwait([signal.SIGUSR1])
    write_results(start)
    say(DONE)


def tell() -> None:
    """Say something before SIGUSR1 and something after; then succeed."""
    start = _tell_until_allowed()
    print("after", file=sys.stderr, flush=True)
    write_results(start)
    say(DONE)


def tell_then_fail() -> None:
    _tell_until_allowed()
    say({"type": "failed", "code": "model_near_chance", "message": "Chance.", "stage": "validate"})


def _tell_until_allowed() -> dict[str, Any]:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    start = greet()
    print("before \x1b[31m\x00", file=sys.stderr, flush=True)
    progress("validate", 0.25)
    signal.sigwait([signal.SIGUSR1])
    return start


def tell_and_fail() -> None:
    greet()
    print("a word", file=sys.stderr, flush=True)
    say({"type": "failed", "code": "model_near_chance", "message": "Chance.", "stage": "validate"})


def tell_much() -> None:
    """Write two mebibytes, then wait for SIGUSR1, then succeed."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    start = greet()
    progress("validate", 0.25)
    for number in range(1 << 15):
        print(f"{number:063}", file=sys.stderr)
    sys.stderr.flush()
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


def die_at_first_attempt() -> None:
    (succeed if int(Path.cwd().parent.name) > 1 else die)()


def main() -> None:
    # Dies with its parent, as the real one does.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    behaviour: Callable[[], None] = globals()[sys.argv[1]]
    behaviour()


if __name__ == "__main__":
    main()
