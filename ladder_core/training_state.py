"""A training between two steps: everything its next step depends on, to keep and to go on from."""

from collections.abc import Iterator

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from ladder_core.records import Record, RecordError, Stored
from ladder_schema.report import EpochLosses

# What each optimiser remembers of a parameter; a parameter without a gradient has nothing.
_REMEMBERED: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.SGD: ("momentum_buffer",),
    torch.optim.Adam: ("step", "exp_avg", "exp_avg_sq"),
}


class _Position(BaseModel):
    """How far a training has come."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    done: int = Field(ge=0)
    losses: tuple[EpochLosses, ...]


class TrainingState:
    """What a training changes: the module, its optimiser, the learning rate, and the sums of its losses.

    The order of the samples and what is drawn for their examples come from streams of the step's own (see
    `ladder_core.seeding`); the one stream that moves on is torch's default, which dropout draws from.

    Attributes:
        module: What is trained.
        device: Where it is.
        steps: How many steps the whole training has.
        epoch_steps: How many an epoch has; None where losses are not told apart by epoch.
        done: Steps taken.
        sums: (T,) float32 on the device: each term of the loss, summed since the epoch began.
        losses: Of each finished epoch.
    """

    def __init__(
        self,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        schedule: LRScheduler,
        *,
        device: torch.device,
        steps: int,
        epoch_steps: int | None,
        terms: int,
        average_decay: float | None = None,
        max_gradient_norm: float | None = None,
    ) -> None:
        """Take a training that has not begun.

        Args:
            module: What is trained, on the device.
            optimiser: Over the module's parameters, in one group; one of those listed above.
            schedule: Of the optimiser's learning rate, in closed form: it depends on the step alone.
            device: Where the module is.
            steps: How many steps the whole training has.
            epoch_steps: How many an epoch has; None where losses are not told apart by epoch.
            terms: How many terms the loss has.
            average_decay: Of the exponential moving average of the weights that is kept beside the training
                (Izmailov et al. 2018 for why, Polyak and Juditsky 1992); None for none.
            max_gradient_norm: L2 length that a step's gradient is shortened to; None for no limit.
        """
        self.module, self.device = module, device
        self.steps, self.epoch_steps = steps, epoch_steps
        self.done = 0
        self.sums = torch.zeros(terms, device=device)
        self.losses: tuple[EpochLosses, ...] = ()
        self._optimiser, self._schedule = optimiser, schedule
        self._average = None if average_decay is None else _Average(module, average_decay)
        self._max_gradient_norm = max_gradient_norm

    @property
    def share(self) -> float:
        """Share of the steps taken, 0 to 1."""
        return self.done / self.steps

    def step(self, loss: Tensor, terms: Tensor) -> None:
        """Take a step down the gradient of a loss, and add its terms (T,) to their sums."""
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._max_gradient_norm is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), self._max_gradient_norm)
        self._optimiser.step()
        self._schedule.step()
        if self._average is not None:
            self._average.update(self.done)
        self.sums += terms.detach()
        self.done += 1

    def end_epoch(self, losses: EpochLosses) -> None:
        """Note an epoch's losses, and begin the sums of the next."""
        self.losses += (losses,)
        self.sums.zero_()

    def finish(self) -> None:
        """Give the module the average of its weights, where one is kept: the end of the training."""
        if self._average is not None:
            self._average.copy_to_module()

    def record(self) -> Record:
        """Return a copy of the state."""
        tensors = {f"module.{name}": _copy(tensor) for name, tensor in self._members()}
        for number, parameter in enumerate(self._parameters()):
            for key, value in self._optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{number}.{key}"] = _copy(value)
        tensors["sums"] = _copy(self.sums)
        for kind, stream in self._streams().items():
            tensors[f"random.{kind}"] = stream.get_state()
        return Record(tensors, {"training": _Position(done=self.done, losses=self.losses)})

    def load(self, stored: Stored) -> bool:
        """Go on from a kept state; nothing is changed where it does not fit.

        Returns:
            Whether the training's stage was complete.

        Raises:
            RecordError: It is not a state of this training.
            RuntimeError: Its random stream is none.
        """
        position = self._position(stored)
        members = {
            name: stored.tensor(f"module.{name}", tuple(tensor.shape), tensor.dtype)
            for name, tensor in self._members()
        }
        remembered = self._remembered(stored)
        sums = stored.tensor("sums", tuple(self.sums.shape))
        random = self._random(stored)

        with torch.no_grad():
            for name, tensor in self._members():
                tensor.copy_(members[name])
            self.sums.copy_(sums)
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": remembered, "param_groups": groups})
        self._go_to(position.done)
        self.losses = position.losses
        for kind, stream in self._streams().items():
            if kind in random:
                stream.set_state(random[kind])
        return stored.about.complete

    def _position(self, stored: Stored) -> _Position:
        position = stored.value("training", _Position)
        if position.done > self.steps or (stored.about.complete and position.done != self.steps):
            raise RecordError(f"it is at step {position.done} of {self.steps}")
        epochs = position.done // self.epoch_steps if self.epoch_steps else 0
        if len(position.losses) != epochs:
            raise RecordError(f"it has the losses of {len(position.losses)} epochs at step {position.done}")
        return position

    def _remembered(self, stored: Stored) -> dict[int, dict[str, Tensor]]:
        keys = _REMEMBERED[type(self._optimiser)]
        found: dict[int, dict[str, Tensor]] = {}
        for number, parameter in enumerate(self._parameters()):
            names = {key: f"optimiser.{number}.{key}" for key in keys}
            if not any(name in stored.tensors for name in names.values()):
                continue
            found[number] = {
                # Adam counts in single precision, whatever the parameter's.
                key: stored.tensor(name, (), torch.float32).clone()
                if key == "step"
                else stored.tensor(name, tuple(parameter.shape), parameter.dtype).clone()
                for key, name in names.items()
            }
        return found

    def _streams(self) -> dict[str, torch.Generator]:
        """Return torch's default streams that this training may draw from, by kind of device."""
        streams = {"cpu": torch.default_generator}
        if self.device.type == "cuda":
            index = torch.cuda.current_device() if self.device.index is None else self.device.index
            streams["cuda"] = torch.cuda.default_generators[index]
        return streams

    def _random(self, stored: Stored) -> dict[str, Tensor]:
        """Return the default streams' states, each tried on a stream of no consequence."""
        states: dict[str, Tensor] = {}
        for kind, stream in self._streams().items():
            # A job that moved from a CPU to a GPU has no state for its device, and begins a new stream.
            if kind == "cpu" or f"random.{kind}" in stored.tensors:
                expected = stream.get_state()
                found = stored.tensor(f"random.{kind}", tuple(expected.shape), expected.dtype)
                states[kind] = found.clone()
                torch.Generator(stream.device).set_state(states[kind])
        return states

    def _go_to(self, step: int) -> None:
        self.done = step
        if step:
            # One step of the schedule, from the step before. The count, which only serves to warn of
            # schedules that run ahead of their optimiser, says that this one does not.
            place = {"last_epoch": step - 1, "_step_count": step + 1}
            self._schedule.load_state_dict(self._schedule.state_dict() | place)
            self._schedule.step()

    def _members(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.module.named_parameters()
        # Those outside the state_dict too: a model may count in one.
        yield from self.module.named_buffers()
        if self._average is not None:
            yield from self._average.named_tensors()

    def _parameters(self) -> list[Tensor]:
        (group,) = self._optimiser.param_groups
        parameters: list[Tensor] = group["params"]
        return parameters


class _Average:
    """The exponential moving average of a module's parameters and of its batch norms' statistics."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self._own = {
            name: tensor
            for name, tensor in (*module.named_parameters(), *module.named_buffers())
            if tensor.is_floating_point()
        }
        self._averages = {name: tensor.detach().clone() for name, tensor in self._own.items()}

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, average in self._averages.items():
            yield f"average.{name}", average

    @torch.no_grad()
    def update(self, done: int) -> None:
        # A young average would remember where the training began: its memory is as long as it is old.
        decay = min(self._decay, (1 + done) / (10 + done))
        torch._foreach_lerp_(list(self._averages.values()), list(self._own.values()), 1 - decay)

    @torch.no_grad()
    def copy_to_module(self) -> None:
        for name, tensor in self._own.items():
            tensor.copy_(self._averages[name])


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()
