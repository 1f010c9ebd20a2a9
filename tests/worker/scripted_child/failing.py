"""Children that die, or fail, of themselves."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from protocol import DONE, HELLO, greet, hear, progress, say
from results import write_results
from working import succeed


def die() -> None:
    greet()
    progress("latents", 0.3)
    print("\x1b[31mthe end is \x07near, in /home/somebody/secret/place.py\x1b[0m", file=sys.stderr)
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_first_attempt() -> None:
    (succeed if int(Path.cwd().parent.name) > 1 else die)()


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


def lose_the_card() -> None:
    """Fail at any task, a job or a rehearsal, while there is the file that the next word names."""
    say(HELLO)
    task = hear()
    if Path(sys.argv[2]).exists():
        say({"type": "failed", "code": "internal", "message": "No card."})
        return
    if task["type"] == "start":
        write_results(task)
    say(DONE)


def die_and_never_rehearse() -> None:
    """Die of a job, and keep who wants to see a rehearsal waiting."""
    say(HELLO)
    if hear()["type"] == "start":
        os.kill(os.getpid(), signal.SIGKILL)
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
