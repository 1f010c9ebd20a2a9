"""The adversarial examples a job offers for download, made on held-out images."""

import torch
from torch import Tensor

from ladder_core.artifacts import ExampleSet
from ladder_core.attacks import LadderAttacker
from ladder_core.classifier import Classifier
from ladder_core.datasets import Split
from ladder_core.evaluation import GradientAttack
from ladder_core.seeding import numpy_stream, torch_stream


@torch.no_grad()
def ladder_example_set(
    attacker: LadderAttacker,
    original: Classifier,
    hardened: Classifier,
    split: Split,
    rho: float,
    *,
    count: int,
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
        seed: The job's seed.
        device: Where everything runs.
    """
    choice = split.stratified(count, numpy_stream(seed, "examples"))
    images, labels = choice.batch(range(len(choice)), device)
    moved = attacker.perturb(original.features(images), labels, (rho, rho), torch_stream(seed, "examples"))
    valid = moved.valid
    return _example_set(
        original,
        hardened,
        images[valid],
        attacker.images(moved.latents[valid]) if valid.any() else images[valid],
        labels[valid],
        moved.rho[valid],
        moved.targets[valid],
    )


def attack_example_set(
    attack: GradientAttack,
    original: Classifier,
    hardened: Classifier,
    split: Split,
    *,
    count: int,
    seed: int,
    device: torch.device,
) -> ExampleSet:
    """Attack the original model on a stratified choice of held-out images; arguments as above.

    An image the attack could not break is its own example, and its predictions say so.
    """
    choice = split.stratified(count, numpy_stream(seed, "examples"))
    images, labels = choice.batch(range(len(choice)), device)
    attacked = attack.attack(original, images, labels).images
    return _example_set(original, hardened, images, attacked, labels, None, None)


@torch.no_grad()
def _example_set(
    original: Classifier,
    hardened: Classifier,
    images: Tensor,
    attacked: Tensor,
    labels: Tensor,
    rho: Tensor | None,
    targets: Tensor | None,
) -> ExampleSet:
    def predict(model: Classifier, inputs: Tensor) -> Tensor:
        return model(inputs).argmax(dim=1).cpu() if len(inputs) else labels.cpu()

    return ExampleSet(
        originals=images.cpu(),
        adversarial=attacked.cpu(),
        labels=labels.cpu(),
        rho=rho.cpu() if rho is not None else None,
        targets=targets.cpu() if targets is not None else None,
        predicted_original=predict(original, images),
        predicted_adversarial=predict(original, attacked),
        predicted_hardened=predict(hardened, attacked),
    )
