"""AutoAttack as RobustBench reports it: https://arxiv.org/abs/2010.09670."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ladder_core.attacks import AttackResult
from ladder_core.attacks.autoattack import AutoAttackResult, Component, Version, autoattack, components
from ladder_core.counting import paired
from ladder_core.datasets.base import Indices
from ladder_core.evaluation.bound import BoundAttack, Parameters
from ladder_core.evaluation.clean import predict
from ladder_core.evaluation.ledger import Column, Columns, Ledger
from ladder_core.evaluation.subjects import Subjects
from ladder_core.evaluation.white_box import both
from ladder_schema.config import ThreatModel
from ladder_schema.report import AutoAttackComponent, AutoAttackSummary

PASSES = 10_000
"""Rough number of passes that an image takes which withstands all of it."""
_HELD = -1
_COLUMNS = {"broken_by": Column(torch.int64)}
_REPLAYED = {"replayed": Column(torch.int64)}


@dataclass(frozen=True)
class AutoAttackVerdicts:
    """What AutoAttack did to each of n images, before (column 0) and after hardening (column 1); on the CPU.

    Attributes:
        attack: The attack.
        version: Which components ran.
        positions: (n,) of the images in the test split, sorted.
        right: (n, 2) bool, without an attack.
        broken_by: (n, 2) int64, which of the components broke each image; -1 where none did.
        labels: (n,) int64.
        replayed: (n, 2) int64, what both take the image made against the original for; None where that was
            not asked for.
    """

    attack: BoundAttack
    version: Version
    positions: Indices
    right: Tensor
    broken_by: Tensor
    labels: Tensor
    replayed: Tensor | None = None

    @property
    def held(self) -> Tensor:
        """(n, 2) bool: right, and not broken."""
        return self.right & (self.broken_by == _HELD)

    def summary(self, threat_model: ThreatModel, classes: int) -> AutoAttackSummary:
        """Return the figures; components that stand in for others say so."""
        ran = components(self.version, classes)
        broken = [torch.bincount(self.broken_by[:, m] + 1, minlength=len(ran) + 1)[1:] for m in (0, 1)]
        return AutoAttackSummary(
            version=self.version,
            norm=threat_model.norm,
            epsilon=threat_model.epsilon,
            outcome=paired(self.held),
            components=tuple(
                AutoAttackComponent(
                    name=component.name,
                    settings=_settings(component),
                    broken_before=int(broken[0][number]),
                    broken_after=int(broken[1][number]),
                )
                for number, component in enumerate(ran)
                if number  # the first are the models' own mistakes
            ),
            notes=tuple(
                f"{component.name} ran in place of {component.instead_of}: {classes} classes are too few."
                for component in ran
                if component.instead_of is not None
            ),
        )


def bind_autoattack(version: Version, threat_model: ThreatModel) -> BoundAttack:
    """Return AutoAttack in the threat model."""

    def run(model: nn.Module, images: Tensor, labels: Tensor, stream: torch.Generator) -> AttackResult:
        return _attack(version, threat_model, model, images, labels, stream)

    parameters: Parameters = {"norm": threat_model.norm, "epsilon": threat_model.epsilon, "version": version}
    return BoundAttack("autoattack", parameters, run, cost=PASSES, is_gradient=False, is_bounded=True)


def measure_autoattack(
    version: Version, subjects: Subjects, ledger: Ledger, positions: Indices, clean: Tensor
) -> AutoAttackVerdicts:
    """Run AutoAttack on both models and, if asked for, replay the original's examples on both.

    Args:
        version: Which components run.
        subjects: Both models.
        ledger: Keeps what was measured.
        positions: (n,) of the images in the test split.
        clean: (N, 2) what both models take every test image for.
    """
    replays = "transfer" in subjects.config.black_box

    def measure(start: int, end: int) -> Columns:
        images, labels = subjects.test.batch(positions[start:end], subjects.device)
        found = [
            _attack(
                version,
                subjects.threat_model,
                ledger.watched(model),
                images,
                labels,
                subjects.stream("evaluate-autoattack", start),
            )
            for model in subjects.models
        ]
        columns = {"broken_by": both(each.broken_by for each in found)}
        if replays:
            columns["replayed"] = both(predict(model, found[0].images) for model in subjects.models)
        return columns

    kinds = _COLUMNS | _REPLAYED if replays else _COLUMNS
    columns = ledger.columns("autoattack", len(positions), kinds, measure, batch_size=subjects.batch_size)
    labels = subjects.labels(positions)
    return AutoAttackVerdicts(
        bind_autoattack(version, subjects.threat_model),
        version,
        positions,
        clean[positions] == labels[:, None],
        labels=labels,
        **columns,
    )


def _attack(
    version: Version,
    threat_model: ThreatModel,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    stream: torch.Generator,
) -> AutoAttackResult:
    return autoattack(
        model,
        images,
        labels,
        epsilon=threat_model.epsilon,
        norm=threat_model.norm,
        version=version,
        generator=stream,
    )


def _settings(component: Component) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in component.settings.items())
