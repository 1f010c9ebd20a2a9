"""Accuracies before and after hardening, on the same images: paper section 4, PAPER's protocols.

White-box examples are made against the model they are tested on; transferred ones against the original model and
replayed on both, the paper's black-box setting with the original model as source.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ladder_core.attacks import AdversarialExamples, LadderAttacker, fgsm, pgd
from ladder_core.classifier import Classifier
from ladder_core.datasets import Split
from ladder_core.latents import Latents
from ladder_core.seeding import torch_stream
from ladder_schema.config import EvaluationConfig
from ladder_schema.report import Accuracy, AttackResult, ExampleSummary

GradientAttack = Callable[[nn.Module, Tensor, Tensor], AdversarialExamples]


class Tally:
    """Counts kept on the device, so that no batch waits for it."""

    def __init__(self, device: torch.device) -> None:
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._total = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, correct: Tensor) -> None:
        """Count a batch of verdicts (B,) bool."""
        self._correct += correct.sum()
        self._total += correct.numel()

    def accuracy(self) -> Accuracy | None:
        """Return the counts; None where nothing was counted."""
        total = int(self._total)
        return Accuracy(correct=int(self._correct), total=total) if total else None


@torch.no_grad()
def clean_accuracy(
    model: Classifier,
    split: Split,
    *,
    batch_size: int,
    device: torch.device,
    on_step: Callable[[float], None] = lambda _: None,
) -> Accuracy:
    """Return the model's accuracy on a split's own images."""
    tally = Tally(device)
    for positions, images, labels in split.batches(batch_size, device):
        tally.add(model(images).argmax(dim=1) == labels)
        on_step((int(positions[-1]) + 1) / len(split))
    accuracy = tally.accuracy()
    if accuracy is None:
        raise ValueError("an empty split has no accuracy")
    return accuracy


def evaluate_gradient_attack(
    name: str,
    attack: GradientAttack,
    original: Classifier,
    hardened: Classifier,
    split: Split,
    parameters: dict[str, float | int | str],
    *,
    batch_size: int,
    device: torch.device,
    on_step: Callable[[float], None],
) -> tuple[AttackResult, AttackResult]:
    """Attack both models on the same images; return the white-box and the transfer result.

    A sample counts as correct when the model is right about it after the attack; one it gets wrong from the
    start is counted as broken.
    """
    before, after, transferred = Tally(device), Tally(device), Tally(device)
    for positions, images, labels in split.batches(batch_size, device):
        against_original = attack(original, images, labels)
        before.add(~against_original.success)
        on_step((int(positions[0]) + len(positions) / 2) / len(split))
        after.add(~attack(hardened, images, labels).success)
        with torch.no_grad():
            transferred.add(hardened(against_original.images).argmax(dim=1) == labels)
        on_step((int(positions[-1]) + 1) / len(split))
    return (
        _result(name, "white_box", parameters, before, after),
        _result(name, "transfer", parameters, before, transferred),
    )


def _result(
    name: str, setting: str, parameters: dict[str, float | int | str], before: Tally, after: Tally
) -> AttackResult:
    return AttackResult.model_validate(
        {
            "attack": name,
            "setting": setting,
            "parameters": parameters,
            "before": before.accuracy(),
            "after": after.accuracy(),
        }
    )


@dataclass(frozen=True)
class LadderEvaluation:
    """LADDER's examples on held-out images: how both models fare, and how the examples came about."""

    result: AttackResult | None
    summary: ExampleSummary


@torch.no_grad()
def evaluate_ladder_attack(
    attacker: LadderAttacker,
    original: Classifier,
    hardened: Classifier,
    latents: Latents,
    split: Split,
    config: EvaluationConfig,
    *,
    seed: int,
    device: torch.device,
    on_step: Callable[[float], None],
) -> LadderEvaluation:
    """Replay LADDER's examples, made with the original model, on both models.

    Only samples the attack applies to are counted: classified correctly, with a boundary ahead.

    Args:
        attacker: Built on the original model.
        original: The model as uploaded.
        hardened: The model after retraining.
        latents: z of every image of the split under the original model.
        split: Held-out images.
        config: Relative step and batch size.
        seed: The job's seed.
        device: Where everything runs.
        on_step: Called with the share done.
    """
    stream = torch_stream(seed, "evaluate-ladder")
    before, after, crossed = Tally(device), Tally(device), Tally(device)
    misclassified = torch.zeros((), dtype=torch.int64, device=device)
    for positions, _, labels in split.batches(config.batch_size, device):
        moved = attacker.perturb(latents.batch(positions, device), labels, (config.rho, config.rho), stream)
        misclassified += moved.misclassified.sum()
        images, labels = attacker.images(moved.latents[moved.valid]), labels[moved.valid]
        head = torch.addmm(attacker.head_bias, moved.latents[moved.valid], attacker.head_weight.T)
        crossed.add(head.argmax(dim=1) != labels)
        if len(images):
            before.add(original(images).argmax(dim=1) == labels)
            after.add(hardened(images).argmax(dim=1) == labels)
        on_step((int(positions[-1]) + 1) / len(split))
    accuracy = before.accuracy()
    made = accuracy.total if accuracy else 0
    crossings = crossed.accuracy()
    summary = ExampleSummary(
        rho=config.rho,
        considered=len(split),
        skipped_misclassified=int(misclassified),
        skipped_no_crossing=len(split) - int(misclassified) - made,
        latents_crossed=crossings.rate if crossings else 0.0,
        images_fooling=1 - accuracy.rate if accuracy else 0.0,
    )
    if accuracy is None:
        return LadderEvaluation(None, summary)
    parameters: dict[str, float | int | str] = {"rho": config.rho, "targets": attacker.targets}
    return LadderEvaluation(_result("ladder", "transfer", parameters, before, after), summary)


def fgsm_attack(epsilon: float) -> GradientAttack:
    """Return FGSM with its radius bound."""
    return lambda model, images, labels: fgsm(model, images, labels, epsilon=epsilon)


def pgd_attack(epsilon: float, config: EvaluationConfig, seed: int) -> GradientAttack:
    """Return PGD with its parameters bound; both models of a batch get starts from the same stream."""
    stream = torch_stream(seed, "evaluate-pgd")
    return lambda model, images, labels: pgd(
        model,
        images,
        labels,
        epsilon=epsilon,
        steps=config.pgd_steps,
        restarts=config.pgd_restarts,
        generator=stream,
    )
