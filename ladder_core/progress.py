"""How a run tells where it stands, and learns that it should stop."""

import time
from collections.abc import Callable, Mapping

from ladder_core.errors import StopRequested
from ladder_schema.jobs import Stage

ProgressCallback = Callable[[Stage, float, str], bool]
"""Called with the stage, the share of the whole run done (0 to 1) and a short detail; False asks to stop."""


class Progress:
    """Turns a stage's own progress into the run's, forwards it, and times the stages."""

    def __init__(self, weights: Mapping[Stage, float], callback: ProgressCallback) -> None:
        """Take the stages this run has, in order, each with its rough share of the time."""
        self._callback = callback
        total = sum(weights.values())
        self._share = {stage: weight / total for stage, weight in weights.items()}
        self._stage: Stage | None = None
        self._before = 0.0
        self._started = 0.0
        self._carried = 0.0
        self.stage_seconds: dict[Stage, float] = {}

    def enter(self, stage: Stage) -> None:
        """Begin a stage, ending the one before it."""
        self.finish()
        self._stage, self._started, self._carried = stage, time.monotonic(), 0.0
        self.update(0.0)

    def carry(self, seconds: float) -> None:
        """Count what earlier attempts spent on the current stage, which goes on from there."""
        self._started, self._carried = time.monotonic(), seconds

    @property
    def seconds(self) -> float:
        """What the current stage has taken so far, over all attempts."""
        return self._carried + time.monotonic() - self._started

    def update(self, fraction: float, detail: str = "") -> None:
        """Say that a fraction of the current stage is done.

        Raises:
            StopRequested: The callback's answer asked to stop.
        """
        if self._stage is None:
            raise RuntimeError("no stage was entered")
        overall = self._before + self._share[self._stage] * min(max(fraction, 0.0), 1.0)
        if not self._callback(self._stage, min(overall, 1.0), detail):
            raise StopRequested

    def finish(self) -> None:
        """End the current stage, if any."""
        if self._stage is not None:
            self.stage_seconds[self._stage] = self.seconds
            self._before += self._share[self._stage]
            self._stage = None
