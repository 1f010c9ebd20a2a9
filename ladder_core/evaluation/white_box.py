"""Accuracies before and after hardening, on the same images: paper section 4.

White-box examples are made against the model they are tested on; transferred ones against the original model
and replayed on both, the paper's black-box setting with the original model as source.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ladder_core.attacks import LadderAttacker, fgsm, pgd, pgd_last_iterate
from ladder_core.attacks.pgd import step_size
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
    """An attack with its parameters bound.

    Attributes:
        name: As in the report.
        parameters: For the report.
        breaks: From model, images, labels to (B,) bool: which images the attack breaks; white-box.
        replayed: From model, images, labels to the images (B, C, H, W) to replay on other models, made with
            all the attack's strength: one that stopped where this model just gives in would spare the others.
    """

    name: Literal["fgsm", "pgd"]
    parameters: Parameters
    breaks: Callable[[nn.Module, Tensor, Tensor], Tensor]
    replayed: Callable[[nn.Module, Tensor, Tensor], Tensor]


def gradient_attacks(epsilon: float, config: EvaluationConfig, seed: int) -> tuple[GradientAttack, ...]:
    """Return the attacks of an evaluation, each in the threat model.

    Args:
        epsilon: Linf radius in pixels.
        config: Steps and restarts.
        seed: The job's seed.
    """
    stream, replay_stream = torch_stream(seed, "evaluate-pgd"), torch_stream(seed, "replay-pgd")

    def fgsm_breaks(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return fgsm(model, images, labels, epsilon=epsilon).success

    def fgsm_images(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return fgsm(model, images, labels, epsilon=epsilon).images

    def pgd_breaks(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        attacked = pgd(
            model,
            images,
            labels,
            epsilon=epsilon,
            steps=config.pgd_steps,
            restarts=config.pgd_restarts,
            generator=stream,
        )
        return attacked.success

    def pgd_images(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        step = step_size(epsilon, config.pgd_steps)
        return pgd_last_iterate(
            model, images, labels, epsilon=epsilon, steps=config.pgd_steps, step=step, generator=replay_stream
        )

    return (
        GradientAttack("fgsm", {"norm": "linf", "epsilon": epsilon}, fgsm_breaks, fgsm_images),
        GradientAttack(
            "pgd",
            {
                "norm": "linf",
                "epsilon": epsilon,
                "steps": config.pgd_steps,
                "restarts": config.pgd_restarts,
            },
            pgd_breaks,
            pgd_images,
        ),
    )


@torch.no_grad()
def clean_accuracy(
    model: Classifier,
    split: Split,
    *,
    batch_size: int,
    device: torch.device,
    on_step: Callable[[float], None],
) -> Accuracy:
    """Return the model's accuracy on a split's own images.

    Args:
        model: In evaluation mode.
        split: Images and labels.
        batch_size: Images per forward pass.
        device: Where the model is.
        on_step: Called with the share done; may raise to stop.
    """
    tally = Tally(device)
    for _, images, labels in split.batches(batch_size, device):
        tally.add(model(images).argmax(dim=1) == labels)
        on_step(tally.total / len(split))
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

    A sample counts as correct when the model is right about it before and after the attack.

    Args:
        attack: The bound attack.
        original: The model as uploaded, in evaluation mode.
        hardened: The model after retraining, in evaluation mode.
        split: Held-out images.
        batch_size: Images attacked together.
        device: Where both models are.
        on_step: Called with the share done; may raise to stop.
    """
    white_box, transfer = (Tally(device), Tally(device)), (Tally(device), Tally(device))
    done = 0.0
    for _, images, labels in split.batches(batch_size, device):
        replayed = attack.replayed(original, images, labels)
        for model, direct, replay in zip((original, hardened), white_box, transfer, strict=True):
            on_step(done / len(split))
            with torch.no_grad():
                correct = model(images).argmax(dim=1) == labels
                replay.add(correct & (model(replayed).argmax(dim=1) == labels))
            direct.add(correct & ~attack.breaks(model, images, labels))
            done += len(images) / 2
    on_step(1.0)
    return (
        _result(attack.name, "white_box", attack.parameters, *white_box),
        _result(attack.name, "transfer", attack.parameters, *transfer),
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
    before, after, at_target = Tally(device), Tally(device), Tally(device)
    misclassified = torch.zeros((), dtype=torch.int64, device=device)
    for positions, _, labels in split.batches(config.batch_size, device):
        moved = attacker.perturb(latents.batch(positions, device), labels, (config.rho, config.rho), stream)
        misclassified += moved.misclassified.sum()
        kept, sources = moved.latents[moved.valid], labels[moved.valid]
        if len(kept):
            images = attacker.images(kept)
            at_target.add(attacker.head(kept).argmax(dim=1) == moved.targets[moved.valid])
            before.add(original(images).argmax(dim=1) == sources)
            after.add(hardened(images).argmax(dim=1) == sources)
        on_step((int(positions[-1]) + 1) / len(split))
    summary = ExampleSummary(
        rho=config.rho,
        considered=len(split),
        skipped_misclassified=int(misclassified),
        skipped_no_crossing=len(split) - int(misclassified) - before.total,
        latents_at_target=at_target.accuracy().rate if before.total else None,
        images_fooling=1 - before.accuracy().rate if before.total else None,
    )
    if not before.total:
        return None, summary
    parameters: Parameters = {"rho": config.rho, "targets": attacker.targets}
    return _result("ladder", "transfer", parameters, before, after), summary
