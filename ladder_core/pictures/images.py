"""Images side by side: adversarial ones, reconstructions, and walks across boundaries.

How many there are depends on their size: a report is read in a browser.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ladder_core.artifacts import ExampleSet
from ladder_core.attacks import LadderAttacker
from ladder_core.classifier import Classifier
from ladder_core.datasets import Split
from ladder_core.datasets.base import Indices
from ladder_core.perturb import Perturbation, concatenate
from ladder_core.seeding import numpy_stream, torch_stream
from ladder_core.thumbnails import affordable, thumbnails
from ladder_schema.report import AttackName, GalleryItem, Reconstruction, Walk, WalkStep

GALLERY_SIDE, GALLERY_ITEMS, _GALLERY_BYTES = 128, 24, 1_300_000
SMALL_SIDE, RECONSTRUCTIONS, _RECONSTRUCTION_BYTES = 80, 8, 250_000
WALKS, _WALK_BYTES = 10, 900_000
WALK_STEPS = (0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0)
"""Relative steps: 1 is on the head's own boundary."""
_WALK_CANDIDATES = 200


def gallery(examples: ExampleSet, attack: AttackName) -> tuple[GalleryItem, ...]:
    """Return the first examples as raw thumbnails for the report."""
    fit = affordable(examples.originals, GALLERY_SIDE, _GALLERY_BYTES) // 2
    shown = slice(min(GALLERY_ITEMS, fit, len(examples)))
    originals = thumbnails(examples.originals[shown], GALLERY_SIDE)
    adversarial = thumbnails(examples.adversarial[shown], GALLERY_SIDE)
    return tuple(
        GalleryItem(
            original=original,
            adversarial=attacked,
            label=int(examples.labels[i]),
            attack=attack,
            rho=float(examples.rho[i]) if examples.rho is not None else None,
            predicted_original=int(examples.predicted_original[i]),
            predicted_adversarial=int(examples.predicted_adversarial[i]),
            predicted_hardened=int(examples.hardened_adversarial[i]),
        )
        for i, (original, attacked) in enumerate(zip(originals, adversarial, strict=True))
    )


@torch.no_grad()
def reconstructions(
    attacker: LadderAttacker,
    original: Classifier,
    train: Split,
    test: Split,
    *,
    seed: int,
    device: torch.device,
) -> tuple[Reconstruction, ...]:
    """Return images of both splits beside what the generator makes of their latents (paper Fig. 4)."""
    shown: list[Reconstruction] = []
    for name, split in (("train", train), ("test", test)):
        chosen = split.stratified(RECONSTRUCTIONS, numpy_stream(seed, "reconstructions"))
        images, _ = chosen.batch(np.arange(len(chosen)), device)
        images = images[: affordable(images, SMALL_SIDE, _RECONSTRUCTION_BYTES) // 2]
        pairs = zip(
            thumbnails(images, SMALL_SIDE),
            thumbnails(attacker.images(original.features(images)), SMALL_SIDE),
            strict=True,
        )
        shown += [
            Reconstruction.model_validate({"original": image, "reconstructed": made, "split": name})
            for image, made in pairs
        ]
    return tuple(shown)


@torch.no_grad()
def walks(
    attacker: LadderAttacker,
    original: Classifier,
    hardened: Classifier,
    split: Split,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> tuple[Walk, ...]:
    """Return images moved across their boundaries in growing steps (paper Figs. 5, 7 and 10).

    One of each class, as far as there is room, that the attack applies to.

    Args:
        attacker: Built on the original model.
        original: The model as uploaded, in evaluation mode.
        hardened: The model after retraining, in evaluation mode.
        split: Images to choose from.
        batch_size: Images at a time.
        seed: The job's seed.
        device: Where everything is.
    """
    candidates = split.stratified(_WALK_CANDIDATES, numpy_stream(seed, "walks"))
    stream = torch_stream(seed, "walks")
    parts: list[tuple[Tensor, Perturbation]] = []
    for _, images, labels in candidates.batches(batch_size, device):
        latents = original.features(images)
        # A step of 1: what lies between, and beyond, is on the same line.
        parts.append((latents, attacker.perturb(latents, labels, (1.0, 1.0), stream)))
    crossings = concatenate([moved for _, moved in parts])
    chosen = _one_of_each_class(candidates.targets(), crossings.valid.cpu().numpy())
    images, labels = candidates.batch(chosen, device)
    room = min(WALKS, affordable(images, SMALL_SIDE, _WALK_BYTES) // (1 + len(WALK_STEPS)))
    starts = torch.cat([latents for latents, _ in parts])
    return tuple(
        _walk(
            attacker,
            (original, hardened),
            images[i],
            starts[row],
            crossings.latents[row],
            label=int(labels[i]),
            target=int(crossings.targets[row]),
        )
        for i, row in enumerate(chosen[:room].tolist())
    )


def _one_of_each_class(labels: Indices, valid: npt.NDArray[np.bool_]) -> Indices:
    """Return the position of the first valid sample of each class, in the order of classes."""
    positions = np.flatnonzero(valid)
    _, first = np.unique(labels[positions], return_index=True)
    return positions[first]


def _walk(
    attacker: LadderAttacker,
    models: tuple[Classifier, Classifier],
    image: Tensor,
    start: Tensor,
    crossing: Tensor,
    *,
    label: int,
    target: int,
) -> Walk:
    """Walk from a latent (D,) through the one on its boundary (D,), and generate images on the way."""
    steps = torch.tensor(WALK_STEPS, device=start.device)
    images = attacker.images(start + steps[:, None] * (crossing - start))
    before, after = (model(images).argmax(dim=1).tolist() for model in models)
    pictures = thumbnails(images, SMALL_SIDE)
    return Walk(
        label=label,
        target=target,
        original=thumbnails(image[None], SMALL_SIDE)[0],
        steps=tuple(
            WalkStep(rho=rho, image=picture, predicted_original=first, predicted_hardened=second)
            for rho, picture, first, second in zip(WALK_STEPS, pictures, before, after, strict=True)
        ),
    )
