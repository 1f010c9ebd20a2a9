"""A job's progress on a terminal: a line for each finished stage, and a bar for the one that runs."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from ladder_schema.jobs import JobStatus, JobView, Stage

_STAGE_WIDTH = max(len(stage) for stage in Stage)


class LiveProgress:
    """Shows what :meth:`Client.wait <ladder_client.client.Client.wait>` reports; pass :meth:`show` to it.

    Where the output is no terminal there is no bar, only the lines.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._console = console
        self._task = self._progress.add_task("", total=1.0)
        self._current: Stage | JobStatus | None = None
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, job: JobView) -> None:
        """Bring the display up to date."""
        now = job.stage if job.status is JobStatus.RUNNING and job.stage else job.status
        if now != self._current:
            self._close_line()
            self._current, self._since = now, time.monotonic()
        self._progress.update(self._task, description=f"{now:<{_STAGE_WIDTH}}", completed=job.progress)

    def _close_line(self) -> None:
        if self._current is None:
            return
        seconds = time.monotonic() - self._since
        self._console.print(f"  {self._current:<{_STAGE_WIDTH}} {seconds:7.1f} s", highlight=False)
