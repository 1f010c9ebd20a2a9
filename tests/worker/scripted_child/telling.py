"""Children that print."""

import signal
import sys
from typing import Any

from protocol import DONE, greet, progress, say
from results import write_results


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
