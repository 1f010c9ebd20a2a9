"""AutoAttack: Croce and Hein 2020, https://arxiv.org/abs/2003.01690, in the versions of its code.

Its components one after another, each on the samples that none before has broken.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ladder_core.attacks.apgd import apgd, apgd_targeted
from ladder_core.attacks.arguments import check_batch, check_radius, require
from ladder_core.attacks.base import AttackResult, Distances, Norm, Oracle, succeeded
from ladder_core.attacks.fab import fab, fab_targeted
from ladder_core.attacks.flags import Flags, measure_flags
from ladder_core.attacks.layout import batch_size, in_fast_layout
from ladder_core.attacks.samples import all_rows
from ladder_core.attacks.square import square
from ladder_core.attacks.streams import SampleStreams

Version = Literal["standard", "plus", "rand"]
_TARGETS = 9
_EOT = 20


@dataclass(frozen=True)
class Component:
    """What one component did.

    Attributes:
        name: "clean" for the model's own mistakes, else of the attack that ran.
        settings: Its parameters.
        attempted: Samples it was given: those still unbroken.
        broken: How many of these it broke.
        instead_of: The component in whose place it ran, which is not defined for so few classes.
    """

    name: str
    settings: dict[str, int | str]
    attempted: int
    broken: int
    instead_of: str | None = None


@dataclass(frozen=True)
class AutoAttackResult(AttackResult):
    """What AutoAttack did.

    Attributes:
        components: In their order, "clean" first.
        broken_by: (B,) int64, which of the components broke each sample; -1 where none did.
        flags: Measurements that tell whether the verdicts can be believed.
    """

    components: tuple[Component, ...]
    broken_by: Tensor
    flags: Flags


def autoattack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    generator: torch.Generator,
    norm: Norm = "linf",
    version: Version = "standard",
    at_once: int | None = None,
) -> AutoAttackResult:
    """Break every sample by the first component that can.

    ``standard``: APGD-CE, APGD-T, FAB-T (nine targets each, or as many as there are) and Square with 5000
    queries. ``plus`` adds APGD-DLR and untargeted FAB, with five restarts. ``rand``, for randomised models:
    APGD-CE and APGD-DLR with gradients averaged over 20 draws. The targeted DLR loss needs four classes, DLR
    three: with three APGD-DLR takes the place of APGD-T, with two APGD on the margin takes that of both.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        epsilon: Radius in pixels.
        generator: CPU stream of everything random; a sample's draws do not depend on the others.
        norm: Of the ball.
        version: Which components run.
        at_once: Images attacked together; by default what the device has room for.

    Raises:
        ValueError: A parameter is out of its range, or the model has a single class.
    """
    check_batch(images, labels)
    check_radius(epsilon)
    require(version in _VERSIONS, "version", repr(version), "give 'standard', 'plus' or 'rand'")
    require(at_once is None or at_once >= 1, "at_once", at_once, "give at least 1")
    require(len(images) > 0, "images' count", 0, "give at least one")
    fast = in_fast_layout(model, images)
    size = batch_size(fast, images) if at_once is None else at_once
    evaluation = _Evaluation.begin(model, images, labels, size)
    flags = measure_flags(model, images[:size], labels[:size])
    streams = SampleStreams.begin(generator, len(images), images.device)
    for number, planned in enumerate(_plan(version, flags.classes)):
        evaluation.run(planned, fast, epsilon, norm, streams.branch(number), size)
    return evaluation.result(flags)


def components(version: Version, classes: int) -> tuple[Component, ...]:
    """Return what runs on a model of that many classes, in order, before anything was attempted."""
    planned = [_Planned("clean", apgd, {}), *_plan(version, classes)]
    return tuple(Component(each.name, each.settings, 0, 0, each.instead_of) for each in planned)


@dataclass(frozen=True)
class _Planned:
    name: str
    attack: Callable[..., AttackResult]
    settings: dict[str, Any]
    instead_of: str | None = None


def _apgd(loss: str, **settings: int) -> _Planned:
    name = "apgd-margin" if loss == "cw" else f"apgd-{loss}"
    return _Planned(name, apgd, {"loss": loss, "iterations": 100, **settings})


_APGD_T = _Planned("apgd-t", apgd_targeted, {"iterations": 100, "restarts": 1, "target_classes": _TARGETS})
_FAB_T = _Planned("fab-t", fab_targeted, {"iterations": 100, "restarts": 1, "target_classes": _TARGETS})
_FAB = _Planned("fab", fab, {"iterations": 100, "restarts": 5})
_SQUARE = _Planned("square", square, {"iterations": 5000, "restarts": 1})
_VERSIONS = {
    "standard": [_apgd("ce", restarts=1), _APGD_T, _FAB_T, _SQUARE],
    "plus": [_apgd("ce", restarts=5), _apgd("dlr", restarts=5), _FAB, _SQUARE, _APGD_T, _FAB_T],
    "rand": [_apgd("ce", restarts=1, eot=_EOT), _apgd("dlr", restarts=1, eot=_EOT)],
}


def _plan(version: Version, classes: int) -> list[_Planned]:
    """Return the version's components as they are defined for so many classes, none of them twice."""
    require(classes >= 2, "the number of classes", classes, "AutoAttack needs the logits of at least two")
    planned: list[_Planned] = []
    for component in _VERSIONS[version]:
        fitting = _fitting(component, classes)
        if all((fitting.name, fitting.settings) != (other.name, other.settings) for other in planned):
            planned.append(fitting)
    return planned


def _fitting(component: _Planned, classes: int) -> _Planned:
    if "target_classes" in component.settings:
        count = min(component.settings["target_classes"], classes - 1)
        component = _Planned(component.name, component.attack, component.settings | {"target_classes": count})
    needed = {"apgd-t": 4, "apgd-dlr": 3}.get(component.name, 2)
    if classes >= needed:
        return component
    settings = {key: value for key, value in component.settings.items() if key != "target_classes"}
    settings["loss"] = "dlr" if classes >= 3 else "cw"
    name = "apgd-dlr" if classes >= 3 else "apgd-margin"
    return _Planned(name, apgd, settings, instead_of=component.name)


@dataclass
class _Evaluation:
    """What is known of every sample so far."""

    oracle: Oracle
    images: Tensor
    labels: Tensor
    found: Tensor
    broken_by: Tensor
    components: list[Component] = field(default_factory=list)
    iterations: int = 0

    @classmethod
    def begin(cls, model: nn.Module, images: Tensor, labels: Tensor, size: int) -> "_Evaluation":
        """Ask for the model's own mistakes."""
        broken_by = torch.full((len(images),), -1, device=images.device)
        evaluation = cls(Oracle(model, images), images, labels, images.clone(), broken_by)
        for rows in torch.split(all_rows(images), size):
            evaluation.confirm(rows, images[rows])
        evaluation.close("clean", {}, len(images))
        return evaluation

    def run(
        self,
        planned: _Planned,
        fast: nn.Module,
        epsilon: float,
        norm: Norm,
        streams: SampleStreams,
        size: int,
    ) -> None:
        """Run a component on what is not broken, in batches."""
        remaining = (self.broken_by < 0).nonzero().squeeze(1)
        for rows in torch.split(remaining, size):
            result = planned.attack(
                fast,
                self.images[rows],
                self.labels[rows],
                epsilon=epsilon,
                norm=norm,
                generator=streams.of(rows),
                **planned.settings,
            )
            self.oracle.queries[rows] += result.queries
            self.oracle.gradients[rows] += result.gradients
            self.iterations = max(self.iterations, result.iterations)
            self.found[rows] = result.images
            # The attack's own verdict is not asked for: a randomised model would have to fail twice.
            self.confirm(rows, result.images)
        self.close(planned.name, planned.settings, len(remaining), planned.instead_of)

    def confirm(self, rows: Tensor, candidates: Tensor) -> None:
        """Ask the model, in the layout in which it was given, whether the candidates (n, ...) break it."""
        if len(rows):
            broken = succeeded(self.oracle.logits(candidates, rows), self.labels[rows], None)
            self.broken_by[rows[broken]] = len(self.components)

    def close(
        self, name: str, settings: dict[str, int | str], attempted: int, instead_of: str | None = None
    ) -> None:
        """Count what the component broke that has just run."""
        broken = int((self.broken_by == len(self.components)).sum())
        self.components.append(Component(name, settings, attempted, broken, instead_of))

    def result(self, flags: Flags) -> AutoAttackResult:
        return AutoAttackResult(
            images=self.found,
            success=self.broken_by >= 0,
            distances=Distances.between(self.images, self.found),
            queries=self.oracle.queries,
            gradients=self.oracle.gradients,
            iterations=self.iterations,
            components=tuple(self.components),
            broken_by=self.broken_by,
            flags=flags,
        )
