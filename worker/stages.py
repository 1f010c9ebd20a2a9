"""Measures how long a child is in each stage, for the metrics and the trace."""

import time
from collections.abc import Callable

from ladder_jobs import tracing
from ladder_schema.jobs import Stage
from worker import metrics


class StageClock:
    """Runs for one stage at a time."""

    def __init__(self) -> None:
        self._stage: Stage | None = None
        self._since = 0.0
        self._end_span: Callable[[], None] | None = None

    def enter(self, stage: Stage) -> None:
        """The child is in this stage now, perhaps as before."""
        if stage is self._stage:
            return
        self.leave()
        self._stage, self._since = stage, time.monotonic()
        self._end_span = tracing.begin(f"stage {stage}", {"ladder.stage": stage.value})

    def leave(self) -> None:
        """The child is in no stage any more."""
        if self._stage is not None and self._end_span is not None:
            metrics.STAGE_SECONDS.labels(self._stage.value).observe(time.monotonic() - self._since)
            self._end_span()
        self._stage = self._end_span = None
