"""Attacks made against the model they are tested on; the original's examples are replayed on both.

An image counts as right when the model is right about it before and after the attack.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ladder_core.counting import paired
from ladder_core.datasets.base import Indices
from ladder_core.evaluation.bound import BoundAttack
from ladder_core.evaluation.clean import predict
from ladder_core.evaluation.ledger import Column, Columns, Ledger
from ladder_core.evaluation.subjects import Subjects
from ladder_schema.report import AttackResult, Setting

_COLUMNS = {
    "success": Column(torch.bool),
    "within": Column(torch.bool),
    "predicted": Column(torch.int64),
    "l2": Column(torch.float32),
    "queries": Column(torch.int64),
}
_REPLAYED = {"replayed": Column(torch.int64)}


@dataclass(frozen=True)
class Verdicts:
    """What an attack did to each of n images, before (column 0) and after hardening (column 1); on the CPU.

    Attributes:
        attack: The attack.
        positions: (n,) of the images in the test split, sorted.
        right: (n, 2) bool, without an attack.
        success: (n, 2) bool, the attack ended with an image that is misclassified.
        within: (n, 2) bool, and with one within the threat model.
        predicted: (n, 2) int64, what that image is taken for.
        l2: (n, 2) how far it is from the original, in pixels.
        queries: (n, 2) int64, forward passes.
        labels: (n,) int64.
        replayed: (n, 2) int64, what both take the image made against the original for; None where that was
            not asked for.
    """

    attack: BoundAttack
    positions: Indices
    right: Tensor
    success: Tensor
    within: Tensor
    predicted: Tensor
    l2: Tensor
    queries: Tensor
    labels: Tensor
    replayed: Tensor | None = None

    @property
    def held(self) -> Tensor:
        """(n, 2) bool: right before and after the attack."""
        return self.right & ~self.success

    @property
    def held_within(self) -> Tensor:
        """(n, 2) bool: right, and not broken by an example within the threat model."""
        return self.right & ~self.within


def measure_attack(
    attack: BoundAttack, subjects: Subjects, ledger: Ledger, positions: Indices, clean: Tensor
) -> Verdicts:
    """Attack both models on the same images and, if asked for, replay the original's examples on both.

    Args:
        attack: The bound attack.
        subjects: Both models.
        ledger: Keeps what was measured.
        positions: (n,) of the images in the test split.
        clean: (N, 2) what both models take every test image for.
    """
    replays = "transfer" in subjects.config.black_box

    def measure(start: int, end: int) -> Columns:
        images, labels = subjects.test.batch(positions[start:end], subjects.device)
        found = [
            attack.run(ledger.watched(m), images, labels, subjects.stream(f"evaluate-{attack.name}", start))
            for m in subjects.models
        ]
        near = [subjects.within(each.distances.linf, each.distances.l2) for each in found]
        columns = {
            "success": both(each.success for each in found),
            "within": both(each.success & close for each, close in zip(found, near, strict=True)),
            "predicted": both(
                predict(m, each.images) for m, each in zip(subjects.models, found, strict=True)
            ),
            "l2": both(each.distances.l2 for each in found),
            "queries": both(each.queries for each in found),
        }
        if replays:
            replayed = found[0].images
            if attack.replay is not None:
                stream = subjects.stream(f"evaluate-{attack.name}", start)
                replayed = attack.replay(ledger.watched(subjects.original), images, labels, stream)
            columns["replayed"] = both(predict(model, replayed) for model in subjects.models)
        return columns

    kinds = _COLUMNS | _REPLAYED if replays else _COLUMNS
    columns = ledger.columns(attack.name, len(positions), kinds, measure, batch_size=subjects.batch_size)
    labels = subjects.labels(positions)
    return Verdicts(attack, positions, clean[positions] == labels[:, None], labels=labels, **columns)


def white_box_result(verdicts: Verdicts, *, trained_on: bool) -> AttackResult:
    """Return the attack's result against the model it was made on."""
    attacked, broken = verdicts.right.sum(dim=0).tolist(), verdicts.right & verdicts.success
    medians = [_median(verdicts.l2[broken[:, model], model]) for model in (0, 1)]
    return AttackResult(
        attack=verdicts.attack.name,
        setting="white_box",
        parameters=verdicts.attack.parameters,
        outcome=paired(verdicts.held),
        attacked_before=attacked[0],
        attacked_after=attacked[1],
        median_l2_before=medians[0] if verdicts.attack.is_minimal else None,
        median_l2_after=medians[1] if verdicts.attack.is_minimal else None,
        mean_queries=float(verdicts.queries.sum(dim=1).double().mean()),
        trained_on=trained_on,
    )


def replayed_result(
    attack: BoundAttack,
    setting: Setting,
    right: Tensor,
    replayed: Tensor,
    labels: Tensor,
    *,
    trained_on: bool,
) -> AttackResult:
    """Return how both models fare on one set of examples.

    Args:
        attack: That made them.
        setting: Against what.
        right: (n, 2) bool, which images each model is right about without an attack.
        replayed: (n, 2) int64, what each takes the example for.
        labels: (n,) int64.
        trained_on: Whether the hardening trained on such examples.
    """
    attacked = right.sum(dim=0).tolist()
    return AttackResult(
        attack=attack.name,
        setting=setting,
        parameters=attack.parameters,
        outcome=paired(right & (replayed == labels[:, None])),
        attacked_before=attacked[0],
        attacked_after=attacked[1],
        trained_on=trained_on,
    )


def both(values: Iterable[Tensor]) -> Tensor:
    """Put the values (B,) of the original and of the hardened model side by side, on the CPU."""
    return torch.stack(tuple(values), dim=1).cpu()


def _median(values: Tensor) -> float | None:
    return float(values.median()) if len(values) else None
