"""Transfers that can be broken off at any time, also while the object store answers nothing."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from typing import TypeVar

from worker.transfer import Check

_TICK_SECONDS = 0.1
_LINGER_SECONDS = 0.5

_T = TypeVar("_T")


class Grace:
    """How long something may still take once there is a hurry.

    Args:
        seconds: From the first time that it is asked in a hurry.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends_at = float("inf")

    def is_over(self, *, hurry: bool = True) -> bool:
        """Whether the time is up; without a hurry it never is."""
        now = time.monotonic()
        if hurry:
            self._ends_at = min(self._ends_at, now + self._seconds)
        return now >= self._ends_at


def breakable(
    transfer: Callable[[Check], _T], check: Check, *, linger_seconds: float = _LINGER_SECONDS
) -> _T:
    """Run a transfer until it is done or a check says otherwise, however long a request goes unanswered.

    The transfer has a thread of its own, which ends with the first chunk after it was broken off. Where none
    comes for minutes, nobody waits for that: it has hold of one file and one object, which is an orphan then.

    Args:
        transfer: What to do; it is given what to call with every chunk.
        check: Called ten times a second; what it raises ends the transfer, and comes out.
        linger_seconds: How long the transfer may take to notice, so that a store which answers is left clean.
    """
    broken_off = threading.Event()
    outcome: Future[_T] = Future()

    def go_on() -> None:
        if broken_off.is_set():
            raise _BrokenOff

    def run() -> None:
        try:
            outcome.set_result(transfer(go_on))
        except BaseException as error:
            outcome.set_exception(error)

    check()
    # A daemon: while it waits for a silent store it must not keep a stopped worker from ending.
    threading.Thread(target=copy_context().run, args=(run,), name="transfer", daemon=True).start()
    try:
        while not wait([outcome], _TICK_SECONDS).done:
            check()
    except BaseException:
        broken_off.set()
        wait([outcome], linger_seconds)
        raise
    return outcome.result()


class _BrokenOff(Exception):  # noqa: N818 - not an error
    """Nobody waits for this transfer any more."""
