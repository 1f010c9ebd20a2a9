"""Children that break the protocol."""

import os
import signal
import sys
import time

from protocol import DONE, HELLO, greet, hear, progress, say
from results import write_results


def speak_a_later_version() -> None:
    say({**HELLO, "version": HELLO["version"] + 1})
    hear()
    signal.pause()


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
