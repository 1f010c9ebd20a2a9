"""Accuracies before and after hardening, on the same images: paper section 4.

White-box examples are made against the model they are tested on; transferred ones against the original model
and replayed on both, the paper's black-box setting with the original model as source.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ladder_core.attacks import AdversarialExamples, LadderAttacker, fgsm, pgd
from ladder_core.classifier import Classifier
from ladder_core.counting import Tally
from ladder_core.datasets import Split
from ladder_core.latents import Latents
from ladder_core.seeding import torch_stream
from ladder_schema.config import EvaluationConfig
from ladder_schema.report import Accuracy, AttackResult, ExampleSummary

Parameters = dict[str, float | int | str]


@dataclass(frozen=True)
class GradientAttack:
    """An attack with its parameters bound, and the parameters themselves for the report."""

    name: Literal["fgsm", "pgd"]
    parameters: Parameters
    attack: Callable[[nn.Module, Tensor, Tensor], AdversarialExamples]


def gradient_attacks(epsilon: float, config: EvaluationConfig, seed: int) -> tuple[GradientAttack, ...]:
    """Return the attacks of an evaluation, each in the threat model.

    Args:
        epsilon: Linf radius in pixels.
        config: Steps and restarts.
        seed: The job's seed.
    """
    stream = torch_stream(seed, "evaluate-pgd")

    def bound_fgsm(model: nn.Module, images: Tensor, labels: Tensor) -> AdversarialExamples:
        return fgsm(model, images, labels, epsilon=epsilon)

    def bound_pgd(model: nn.Module, images: Tensor, labels: Tensor) -> AdversarialExamples:
        return pgd(
            model,
            images,
            labels,
            epsilon=epsilon,
            steps=config.pgd_steps,
            restarts=config.pgd_restarts,
            generator=stream,
        )

    return (
        GradientAttack("fgsm", {"norm": "linf", "epsilon": epsilon}, bound_fgsm),
        GradientAttack(
            "pgd",
            {
                "norm": "linf",
                "epsilon": epsilon,
                "steps": config.pgd_steps,
                "restarts": config.pgd_restarts,
            },
            bound_pgd,
        ),
    )


@torch.no_grad()
def clean_accuracy(model: Classifier, split: Split, *, batch_size: int, device: torch.device) -> Accuracy:
    """Return the model's accuracy on a split's own images.

    Args:
        model: In evaluation mode.
        split: Images and labels.
        batch_size: Images per forward pass.
        device: Where the model is.
    """
    tally = Tally(device)
    for _, images, labels in split.batches(batch_size, device):
        tally.add(model(images).argmax(dim=1) == labels)
    return tally.accuracy()


def evaluate_gradient_attack(
    attack: GradientAttack,
    original: Classifier,
    hardened: Classifier,
    split: Split,
    *,
    batch_size: int,
    device: torch.device,
    on_step: Callable[[float], None],
) -> tuple[AttackResult, AttackResult]:
    """Attack both models on the same images; return the white-box and the transfer result.

    A sample counts as correct when the model is right about it after the attack; one it gets wrong from the
    start counts as broken.

    Args:
        attack: The bound attack.
        original: The model as uploaded, in evaluation mode.
        hardened: The model after retraining, in evaluation mode.
        split: Held-out images.
        batch_size: Images attacked together.
        device: Where both models are.
        on_step: Called with the share done; may raise to stop.
    """
    before, after, transferred = Tally(device), Tally(device), Tally(device)
    done = 0
    for _, images, labels in split.batches(batch_size, device):
        against_original = attack.attack(original, images, labels)
        before.add(~against_original.success)
        on_step((done + len(images) / 2) / len(split))
        after.add(~attack.attack(hardened, images, labels).success)
        with torch.no_grad():
            transferred.add(hardened(against_original.images).argmax(dim=1) == labels)
        done += len(images)
        on_step(done / len(split))
    return (
        _result(attack.name, "white_box", attack.parameters, before, after),
        _result(attack.name, "transfer", attack.parameters, before, transferred),
    )


def _result(
    name: Literal["fgsm", "pgd", "ladder"],
    setting: Literal["white_box", "transfer"],
    parameters: Parameters,
    before: Tally,
    after: Tally,
) -> AttackResult:
    return AttackResult(
        attack=name,
        setting=setting,
        parameters=parameters,
        before=before.accuracy(),
        after=after.accuracy(),
    )


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
) -> tuple[AttackResult | None, ExampleSummary]:
    """Replay LADDER's examples, made with the original model, on both models.

    Only samples the attack applies to are counted: classified correctly, with a boundary ahead.

    Args:
        attacker: Built on the original model.
        original: The model as uploaded, in evaluation mode.
        hardened: The model after retraining, in evaluation mode.
        latents: z of every image of the split under the original model.
        split: Held-out images.
        config: Relative step and batch size.
        seed: The job's seed.
        device: Where everything runs.
        on_step: Called with the share done; may raise to stop.

    Returns:
        How both models fare (None where the attack applies to no sample), and how the examples came about.
    """
    stream = torch_stream(seed, "evaluate-ladder")
    before, after, crossed = Tally(device), Tally(device), Tally(device)
    misclassified = torch.zeros((), dtype=torch.int64, device=device)
    for positions, _, labels in split.batches(config.batch_size, device):
        moved = attacker.perturb(latents.batch(positions, device), labels, (config.rho, config.rho), stream)
        misclassified += moved.misclassified.sum()
        kept, sources = moved.latents[moved.valid], labels[moved.valid]
        if len(kept):
            images = attacker.images(kept)
            crossed.add(attacker.head(kept).argmax(dim=1) != sources)
            before.add(original(images).argmax(dim=1) == sources)
            after.add(hardened(images).argmax(dim=1) == sources)
        on_step((int(positions[-1]) + 1) / len(split))
    summary = ExampleSummary(
        rho=config.rho,
        considered=len(split),
        skipped_misclassified=int(misclassified),
        skipped_no_crossing=len(split) - int(misclassified) - before.total,
        latents_crossed=crossed.accuracy().rate if crossed.total else 0.0,
        images_fooling=1 - before.accuracy().rate if before.total else 0.0,
    )
    if not before.total:
        return None, summary
    parameters: Parameters = {"rho": config.rho, "targets": attacker.targets}
    return _result("ladder", "transfer", parameters, before, after), summary
