"""Children that work for a while, and end well or when they are told."""

import os
import signal
import sys
from pathlib import Path

from protocol import DONE, greet, hear, progress, say
from results import write_results, zipped


def succeed() -> None:
    start = greet()
    progress("validate", 0.1)
    progress("retrain", 0.5)
    write_results(start)
    say(DONE)


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


def linger() -> None:
    """Say the last word, and stay."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    write_results(greet())
    say(DONE)
    while True:
        signal.pause()
