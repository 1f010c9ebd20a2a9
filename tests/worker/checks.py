"""What tests hand to the code under test: checks that may break it off, and a fault."""

from worker.endings import Cause, Interrupted


def go_on() -> None:
    """Never does."""


class StopAt:
    """Breaks it off when it is asked for the n-th time, which is once a chunk."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self) -> None:
        self.count -= 1
        if self.count == 0:
            raise Interrupted(Cause.CANCEL)


class Fault(Exception):  # noqa: N818 - no name of an error that anybody knows
    """What nobody has thought of."""
