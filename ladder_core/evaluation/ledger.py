"""What an evaluation has measured so far: kept as it is made, so that another attempt goes on from there.

A measurement is either columns, with a value for each image, that fill batch by batch, or one value. Whatever
a report says of an attack is computed from columns: small, and the same however often they were interrupted.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from ladder_core.checkpoints import Keeper
from ladder_core.progress import Progress
from ladder_core.records import Record, RecordError, Stored
from ladder_core.training_state import TrainingState
from ladder_schema.protocol import CheckpointName

# An attack on one batch may take minutes.
_PULSE_SECONDS = 5.0

_log = logging.getLogger(__name__)

OnStep = Callable[[float], None]
"""Told the share of a measurement that is done; may raise to stop."""
Columns = Mapping[str, Tensor]
_Value = TypeVar("_Value", bound=BaseModel)
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Column:
    """What a column holds of each image.

    Attributes:
        dtype: Of its values.
        shape: Of one image's value; by default one for each of the two models.
    """

    dtype: torch.dtype
    shape: tuple[int, ...] = (2,)


class _Filled(BaseModel):
    """How many images of each measurement's columns are measured, or how many of its results."""

    model_config = ConfigDict(extra="forbid")

    counts: dict[str, int]


class _Held(BaseModel):
    """Says that a training's state is kept."""

    model_config = ConfigDict(extra="forbid")


@dataclass
class Ledger:
    """Measurements by name.

    Attributes:
        keeper: Keeps what was measured.
        progress: Of the run, in its evaluation.
        costs: Of every measurement to come, in any one unit: what progress is reckoned by.
    """

    keeper: Keeper
    progress: Progress
    costs: Mapping[str, float]
    _columns: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _filled: dict[str, int] = field(default_factory=dict)
    _values: dict[str, BaseModel] = field(default_factory=dict)
    _trainings: dict[str, TrainingState] = field(default_factory=dict)
    _stored: Stored | None = None
    _spent: float = 0.0
    _pulse: Callable[[], None] = lambda: None

    @classmethod
    def open(cls, keeper: Keeper, progress: Progress, costs: Mapping[str, float]) -> "Ledger":
        """Begin with what an earlier attempt measured, if that was kept."""
        stored = keeper.find(
            CheckpointName.EVALUATE, lambda found: (found.value("filled", _Filled), found)[1]
        )
        return cls(keeper, progress, costs, _stored=stored)

    def columns(
        self,
        name: str,
        count: int,
        columns: Mapping[str, Column],
        measure: Callable[[int, int], Columns],
        *,
        batch_size: int,
    ) -> Columns:
        """Return columns of ``count`` images, measuring those that are not kept.

        Args:
            name: Of the measurement.
            count: How many images it is of.
            columns: What it says of each, by the column's name.
            measure: From the first and the last place (exclusive) of a batch to its part of each column.
            batch_size: Images measured together.
        """
        shapes = {key: (count, *column.shape) for key, column in columns.items()}
        found = self._find(name, lambda stored: _read_columns(stored, name, columns, shapes))
        kept, done = found or (
            {key: torch.zeros(shapes[key], dtype=c.dtype) for key, c in columns.items()},
            0,
        )
        self._columns[name], self._filled[name] = kept, done
        on_step = self._watch(name)
        while self._filled[name] < count:
            start = self._filled[name]
            self._pulse = partial(on_step, start / count)
            self._pulse()
            end = min(start + batch_size, count)
            for key, values in measure(start, end).items():
                kept[key][start:end] = values
            self._filled[name] = end
        self._end(name, is_new=done < count)
        return kept

    def value(self, name: str, kind: type[_Value], measure: Callable[[OnStep], _Value]) -> _Value:
        """Return a value, measuring it where it is not kept.

        Args:
            name: Of the measurement.
            kind: Of the value.
            measure: Makes it; is given what to call with the share done.
        """
        kept = self._find(name, lambda stored: stored.value(name, kind) if name in stored.values else None)
        value = measure(self._watch(name)) if kept is None else kept
        self._values[name] = value
        self._end(name, is_new=kept is None)
        return value

    def results(
        self,
        name: str,
        kind: type[_Value],
        measure: Callable[[Sequence[_Value], Callable[[_Value], None], OnStep], Sequence[_Value]],
    ) -> tuple[_Value, ...]:
        """Return results that come one by one, each kept as it comes.

        Args:
            name: Of the measurement.
            kind: Of a result.
            measure: From the results that are kept, what to call with each new one, and what to call with the
                share done, to all of them.
        """
        known = self._find(name, lambda stored: _read_results(stored, name, kind)) or []
        for number, result in enumerate(known):
            self._values[f"{name}/{number}"] = result
        count = self._filled[name] = len(known)

        def keep(result: _Value) -> None:
            self._values[f"{name}/{self._filled[name]}"] = result
            self._filled[name] += 1

        measured = measure(known, keep, self._watch(name))
        self._end(name, is_new=self._filled[name] > count)
        return tuple(measured)

    def train(self, name: str, training: TrainingState, train: Callable[[OnStep], None]) -> None:
        """Finish a training, from where it was kept; its state is kept until it is released.

        Args:
            name: Of the training.
            training: Before its first step.
            train: Takes its steps; is given what to call with the share done.
        """
        self._find(name, lambda stored: training.load(_part(stored, name)) if name in stored.values else None)
        self._trainings[name] = training
        train(self._watch(name))
        self._end(name, is_new=True)

    def release(self, name: str) -> None:
        """Keep a training no longer: what it was for is measured."""
        self._trainings.pop(name, None)

    def watched(self, model: nn.Module) -> nn.Module:
        """Return the model such that, while it is being asked, a stop is honoured within a batch."""
        return _Watched(model, self._pulse)

    def _find(self, name: str, read: Callable[[Stored], _Found | None]) -> _Found | None:
        """Take a measurement from what was kept; None where it is not there, or not what it should be."""
        try:
            return None if self._stored is None else read(self._stored)
        except Exception as error:  # nothing in a foreign file may end the job
            _log.warning("kept measurement %s is not used: %s: %s", name, type(error).__name__, error)
            return None

    def _watch(self, name: str) -> OnStep:
        total = sum(self.costs.values())

        def told(done: float, detail: str) -> None:
            self.progress.update((self._spent + self.costs[name] * done) / total, detail)

        watched = self.keeper.watch(CheckpointName.EVALUATE, self._record, told)
        return lambda done: watched(done, name)

    def _end(self, name: str, *, is_new: bool) -> None:
        self._spent += self.costs[name]
        if is_new:
            self.keeper.save(CheckpointName.EVALUATE, self._record(), complete=False)

    def _record(self) -> Record:
        tensors = {
            f"{name}/{key}": column for name, found in self._columns.items() for key, column in found.items()
        }
        record = Record(tensors, {"filled": _Filled(counts=self._filled), **self._values})
        for name, training in self._trainings.items():
            state = training.record()
            record |= Record(
                {f"{name}/{key}": tensor for key, tensor in state.tensors.items()},
                {name: _Held(), **{f"{name}/{key}": value for key, value in state.values.items()}},
            )
        return record


class _Watched(nn.Module):
    """A model that tells, every few seconds, that it is still being asked."""

    def __init__(self, model: nn.Module, pulse: Callable[[], None]) -> None:
        super().__init__()
        self._model, self._pulse = model, pulse
        self._due = time.monotonic() + _PULSE_SECONDS

    def forward(self, images: Tensor) -> Tensor:
        if time.monotonic() >= self._due:
            self._pulse()
            self._due = time.monotonic() + _PULSE_SECONDS
        logits: Tensor = self._model(images)
        return logits


def _read_columns(
    stored: Stored, name: str, columns: Mapping[str, Column], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, Tensor], int] | None:
    filled = stored.value("filled", _Filled).counts
    if name not in filled:
        return None
    found = {
        key: stored.tensor(f"{name}/{key}", shapes[key], column.dtype).clone()
        for key, column in columns.items()
    }
    count = min(shape[0] for shape in shapes.values())
    if not 0 <= filled[name] <= count:
        raise RecordError(f"{filled[name]} of {count} images are measured")
    return found, filled[name]


def _read_results(stored: Stored, name: str, kind: type[_Value]) -> list[_Value]:
    count = stored.value("filled", _Filled).counts.get(name, 0)
    return [stored.value(f"{name}/{number}", kind) for number in range(count)]


def _part(stored: Stored, name: str) -> Stored:
    """Return what is kept under a name."""
    prefix = f"{name}/"
    return Stored(
        stored.about,
        {key.removeprefix(prefix): value for key, value in stored.tensors.items() if key.startswith(prefix)},
        {key.removeprefix(prefix): value for key, value in stored.values.items() if key.startswith(prefix)},
    )
