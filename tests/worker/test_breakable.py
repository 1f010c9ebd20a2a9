"""What a check can break off: a transfer that goes on, and one that hears nothing from the store."""

import threading

import pytest

from tests.worker.checks import StopAt, go_on
from worker.breakable import Grace, breakable
from worker.endings import Interrupted


def test_what_a_transfer_returns_or_raises_comes_out():
    def fail(_check):
        raise TimeoutError("of the transfer's own")

    assert breakable(lambda _check: 7, go_on) == 7
    with pytest.raises(TimeoutError, match="of the transfer's own"):
        breakable(fail, go_on)


def test_a_transfer_that_nobody_wants_is_not_begun():
    begun = threading.Event()
    with pytest.raises(Interrupted):
        breakable(lambda _check: begun.set(), StopAt(1))
    assert not begun.is_set()


def test_a_silent_transfer_is_left_alone_and_ends_with_its_next_chunk():
    answered, ended = threading.Event(), threading.Event()

    def wait_for_an_answer(check):
        answered.wait()
        try:
            check()
        finally:
            ended.set()

    with pytest.raises(Interrupted):
        breakable(wait_for_an_answer, StopAt(3), linger_seconds=0.0)
    assert not ended.is_set()
    answered.set()
    assert ended.wait(60)


def test_a_grace_begins_with_the_first_hurry():
    grace = Grace(0.0)
    assert not grace.is_over(hurry=False)
    assert grace.is_over()
    assert grace.is_over(hurry=False)
    assert not Grace(600.0).is_over()
