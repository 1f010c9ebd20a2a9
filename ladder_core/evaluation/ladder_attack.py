"""LADDER's own examples, made with the original model, replayed on both (paper Tables 8 and 9)."""

import torch
from torch import Tensor

from ladder_core.attacks import LadderAttacker
from ladder_core.attacks.base import full_precision
from ladder_core.counting import paired
from ladder_core.datasets.base import Indices
from ladder_core.evaluation.clean import predict
from ladder_core.evaluation.ledger import Column, Columns, Ledger
from ladder_core.evaluation.subjects import Subjects
from ladder_core.seeding import torch_stream
from ladder_schema.report import AttackResult, ExampleSummary

_BLOCK = 1024
"""Latents moved together: what is drawn must not depend on how many images fit into a batch."""
_COLUMNS = {
    "valid": Column(torch.bool, ()),
    "misclassified": Column(torch.bool, ()),
    "at_target": Column(torch.bool, ()),
    "predicted": Column(torch.int64),
}


def measure_ladder_attack(
    attacker: LadderAttacker,
    subjects: Subjects,
    ledger: Ledger,
    positions: Indices,
    clean: Tensor,
) -> tuple[AttackResult | None, ExampleSummary]:
    """Replay LADDER's examples on both models.

    Only images the attack applies to are counted: classified correctly, with a boundary ahead.

    Args:
        attacker: Built on the original model.
        subjects: Both models.
        ledger: Keeps what was measured.
        positions: (n,) of the images in the test split.
        clean: (N, 2) what both models take every test image for.

    Returns:
        How both models fare (None where the attack applies to no image), and how the examples came about.
    """
    rho, device = subjects.config.rho, subjects.device
    labels = subjects.labels(positions)

    def measure(start: int, end: int) -> Columns:
        stream = torch_stream(subjects.seed, "evaluate-ladder", start)
        with full_precision(device):
            latents = _features(subjects, positions[start:end])
            moved = attacker.perturb(latents, labels[start:end].to(device), (rho, rho), stream)
            return {
                "valid": moved.valid.cpu(),
                "misclassified": moved.misclassified.cpu(),
                "at_target": (attacker.head(moved.latents).argmax(dim=1) == moved.targets).cpu(),
                "predicted": _replay(attacker, subjects, moved.latents),
            }

    found = ledger.columns("ladder", len(positions), _COLUMNS, measure, batch_size=_BLOCK)
    valid = found["valid"]
    right = (clean[positions] == labels[:, None])[valid]
    withstood = (found["predicted"] == labels[:, None])[valid]
    count, misclassified = int(valid.sum()), int(found["misclassified"].sum())
    summary = ExampleSummary(
        rho=rho,
        considered=len(positions),
        skipped_misclassified=misclassified,
        skipped_no_crossing=len(positions) - misclassified - count,
        latents_at_target=_share(found["at_target"][valid]),
        images_fooling=_share(~withstood[:, 0]),
    )
    if not count:
        return None, summary
    attacked = right.sum(dim=0).tolist()
    result = AttackResult(
        attack="ladder",
        setting="fixed",
        parameters={"rho": rho, "targets": attacker.targets},
        outcome=paired(right & withstood),
        attacked_before=attacked[0],
        attacked_after=attacked[1],
        trained_on=True,
    )
    return result, summary


@torch.no_grad()
def _features(subjects: Subjects, positions: Indices) -> Tensor:
    """Return the original's z (n, D) of test images."""
    chosen = subjects.test.subset(positions)
    batches = chosen.batches(subjects.batch_size, subjects.device)
    return torch.cat([subjects.original.features(images).float() for _, images, _ in batches])


def _replay(attacker: LadderAttacker, subjects: Subjects, latents: Tensor) -> Tensor:
    """Return what both models take the images generated from latents (B, D) for: (B, 2)."""
    parts: list[Tensor] = []
    for part in torch.split(latents, subjects.batch_size):
        images = attacker.images(part)
        parts.append(torch.stack([predict(model, images) for model in subjects.models], dim=1).cpu())
    return torch.cat(parts)


def _share(verdicts: Tensor) -> float | None:
    return float(verdicts.double().mean()) if len(verdicts) else None
