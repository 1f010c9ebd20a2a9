"""What a run keeps so that another attempt at the same job goes on where it ended.

Each stage has one checkpoint: its output, or for a training that is under way its state. An attempt is given
what earlier attempts saved. Those may have been another version of this service or may have run a hostile
model, so a checkpoint that does not fit is as good as none: its stage runs afresh.

A checkpoint fits one run (configuration, model, dataset) and the very checkpoints of earlier stages it was
built on. Where a stage had to be repeated, what was made from its first result is not mixed with the second:
on a GPU the two differ in their last bits.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError

from ladder_core.errors import StopRequested
from ladder_core.progress import Progress
from ladder_core.records import FORMAT, About, Record, RecordError, Stored, load_record, save_record
from ladder_schema.config import LadderConfig, PgdTrainingConfig
from ladder_schema.protocol import CheckpointName

_log = logging.getLogger(__name__)

_Output = TypeVar("_Output")


@dataclass(frozen=True)
class Checkpoints:
    """Where a run keeps its checkpoints.

    Attributes:
        directory: Takes one file for each `CheckpointName`.
        resume_from: Holds the files that an earlier attempt saved, each under its name; None for none. They
            stay mapped, and must not be changed before the run ends.
        every_seconds: How often a training is saved.
        on_saved: Told of each file once it is complete; may move it away within the file system.
    """

    directory: Path
    resume_from: Path | None
    every_seconds: float
    on_saved: Callable[[CheckpointName], None]


def fingerprint(config: LadderConfig | PgdTrainingConfig, model_sha256: str, dataset_sha256: str) -> str:
    """Return what tells runs apart: equal where one may go on from another's checkpoints."""
    content = [FORMAT, config.model_dump(mode="json"), model_sha256, dataset_sha256]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Keeper:
    """Saves and finds one run's checkpoints, stage by stage."""

    def __init__(self, checkpoints: Checkpoints | None, run: str, progress: Progress) -> None:
        """Take where to keep them (None for nowhere), the run's `fingerprint`, and its progress."""
        self._checkpoints = checkpoints
        self._run = run
        self._progress = progress
        self._built_on: tuple[str, ...] = ()

    def output(
        self,
        name: CheckpointName,
        *,
        make: Callable[[], _Output],
        write: Callable[[_Output], Record],
        read: Callable[[Stored], _Output],
    ) -> _Output:
        """Return a stage's output: as it was kept, or made now and kept."""
        found = self.find(name, read)
        if found is not None:
            return found
        made = make()
        self.save(name, write(made), complete=True)
        return made

    def find(self, name: CheckpointName, read: Callable[[Stored], _Output]) -> _Output | None:
        """Return what ``read`` makes of the current stage's checkpoint; None where there is none that fits.

        Args:
            name: Which checkpoint.
            read: Changes nothing before everything it takes was found to be right; may raise anything.

        Raises:
            StopRequested: The progress callback asked to stop while the file was read.
        """
        if self._checkpoints is None or self._checkpoints.resume_from is None:
            return None
        path = self._checkpoints.resume_from / name
        if not path.exists():
            return None
        try:
            stored = load_record(path, on_chunk=self._reading)
            self._check(name, stored.about)
            found = read(stored)
        except StopRequested:
            raise
        except Exception as error:  # nothing in a foreign file may end the job
            _log.warning("checkpoint %s is not used: %s: %s", name, type(error).__name__, error)
            return None
        self._progress.carry(stored.about.seconds)
        if stored.about.complete:
            self._built_on += (stored.about.id,)
            self._progress.update(1.0, "kept from an earlier attempt")
        else:
            self._progress.update(0.0, "goes on from a checkpoint")
        return found

    def _reading(self) -> None:
        self._progress.update(0.0, "reading a checkpoint")

    def _check(self, name: CheckpointName, about: About) -> None:
        if about.name is not name:
            raise RecordError(f"it is a checkpoint of {about.name}")
        if about.fingerprint != self._run:
            raise RecordError("it is of another configuration, model or dataset")
        if about.built_on != self._built_on:
            raise RecordError("an earlier stage was done again since")

    def save(self, name: CheckpointName, record: Record, *, complete: bool) -> None:
        """Keep the current stage's output or state; what cannot be kept is logged, and the run goes on."""
        if self._checkpoints is None:
            return
        about = About(
            name=name,
            fingerprint=self._run,
            built_on=self._built_on,
            complete=complete,
            seconds=self._progress.seconds,
        )
        if complete:
            self._built_on += (about.id,)
        try:
            self._checkpoints.directory.mkdir(parents=True, exist_ok=True)
            save_record(self._checkpoints.directory / name, about, record)
        except (OSError, SafetensorError) as error:
            _log.warning("checkpoint %s was not saved: %s: %s", name, type(error).__name__, error)
            return
        self._checkpoints.on_saved(name)

    def watch(
        self,
        name: CheckpointName,
        state: Callable[[], Record],
        on_step: Callable[[float, str], None],
    ) -> Callable[[float, str], None]:
        """Return ``on_step`` for a training whose state is kept: when due, and before a stop is honoured.

        Args:
            name: The training's checkpoint.
            state: Returns its state; called between two steps.
            on_step: Passes on the share done and a detail; raises `StopRequested` to stop.
        """
        if self._checkpoints is None:
            return on_step
        every = self._checkpoints.every_seconds
        due = time.monotonic() + every

        def watched(done: float, detail: str) -> None:
            nonlocal due
            try:
                on_step(done, detail)
            except StopRequested:
                self.save(name, state(), complete=False)
                raise
            if time.monotonic() >= due:
                self.save(name, state(), complete=False)
                due = time.monotonic() + every

        return watched
