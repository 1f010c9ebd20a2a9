"""The adversarial examples a job offers for download, made on held-out images."""

from dataclasses import replace

import torch
from torch import Tensor

from ladder_core.artifacts import ExampleSet, concatenate
from ladder_core.attacks import LadderAttacker
from ladder_core.classifier import Classifier
from ladder_core.datasets import Split
from ladder_core.evaluation import BoundAttack
from ladder_core.seeding import numpy_stream, torch_stream

# What is drawn for latents depends on those moved with them, and must not on the memory that is free.
_BLOCK = 64


def ladder_example_set(
    attacker: LadderAttacker,
    original: Classifier,
    hardened: Classifier,
    split: Split,
    rho: float,
    *,
    count: int,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> ExampleSet:
    """Make LADDER's examples from a stratified choice of held-out images.

    Args:
        attacker: Built on the original model.
        original: The model as uploaded, in evaluation mode.
        hardened: The model after retraining, in evaluation mode.
        split: Held-out images.
        rho: Relative step.
        count: Images chosen; those the attack does not apply to are left out.
        batch_size: Images at a time.
        seed: The job's seed.
        device: Where everything runs.
    """
    stream = torch_stream(seed, "examples")
    parts: list[ExampleSet] = []
    for _, images, labels in _choice(split, count, seed).batches(min(batch_size, _BLOCK), device):
        with torch.no_grad():
            moved = attacker.perturb(original.features(images), labels, (rho, rho), stream)
        if moved.valid.any():
            kept = moved[moved.valid]
            part = _predicted(
                original, hardened, images[moved.valid], attacker.images(kept.latents), labels[moved.valid]
            )
            parts.append(replace(part, rho=kept.rho.cpu(), targets=kept.targets.cpu()))
    return concatenate(parts, split.image_shape)


def attack_example_set(
    attack: BoundAttack,
    original: Classifier,
    hardened: Classifier,
    split: Split,
    *,
    count: int,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> ExampleSet:
    """Attack the original model on a stratified choice of held-out images; arguments as above.

    An image the attack could not break is among them with its last attempt, and its predictions say so.
    """
    stream = torch_stream(seed, "example-set")
    parts = [
        _predicted(original, hardened, images, attack.replayed(original, images, labels, stream), labels)
        for _, images, labels in _choice(split, count, seed).batches(batch_size, device)
    ]
    return concatenate(parts, split.image_shape)


def _choice(split: Split, count: int, seed: int) -> Split:
    return split.stratified(count, numpy_stream(seed, "examples"))


@torch.no_grad()
def _predicted(
    original: Classifier, hardened: Classifier, images: Tensor, attacked: Tensor, labels: Tensor
) -> ExampleSet:
    return ExampleSet(
        originals=images.cpu(),
        adversarial=attacked.cpu(),
        labels=labels.cpu(),
        predicted_original=original(images).argmax(dim=1).cpu(),
        predicted_adversarial=original(attacked).argmax(dim=1).cpu(),
        hardened_original=hardened(images).argmax(dim=1).cpu(),
        hardened_adversarial=hardened(attacked).argmax(dim=1).cpu(),
    )
