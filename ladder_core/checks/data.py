"""What the checks ask of the data: images in both splits, and labels that two models contradict."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ladder_core.checks.values import Contradictions, Duplicates
from ladder_core.datasets import Split
from ladder_core.datasets.base import Indices

CODE_SIDE = 16
"""Images are compared at this size first, for speed, then as they are."""
_LIKELY = 0.98
NEARLY_THE_SAME = 0.995
"""Correlation of pixels: what is lost by saving a photo as a middling JPEG, or by a change of brightness."""


@torch.no_grad()
def find_duplicates(
    test: Split,
    train: Split,
    *,
    compared: Indices,
    given: bool,
    batch_size: int,
    device: torch.device,
    on_step: Callable[[float], None],
) -> Duplicates:
    """Look test images up among training images: by a digest of their bytes, and by their likeness.

    Memory grows with neither image size nor the training split: a digest of 8 bytes a test image, and a code
    for each of those compared.

    Args:
        test: All of it is looked up by digest.
        train: Searched.
        compared: (n,) positions of the test images that are compared for near duplicates.
        given: Whether the upload said which images are for testing.
        batch_size: Images at a time.
        device: Where images are compared.
        on_step: Called with the share done; may raise to stop.
    """
    chosen = test.subset(compared)
    codes = torch.cat([_codes(images) for _, images, _ in chosen.batches(batch_size, device)])
    digests = np.concatenate([_digests(images) for _, images, _ in test.batches(batch_size)])
    best = torch.full((len(codes),), -1.0, device=device)
    nearest = torch.zeros(len(codes), dtype=torch.int64, device=device)
    exact = np.zeros(len(test), dtype=bool)
    for places, images, _ in train.batches(batch_size):
        exact |= np.isin(digests, _digests(images))
        likeness, which = (codes @ _codes(images.to(device)).T).max(dim=1)
        nearest = torch.where(likeness > best, which + int(places[0]), nearest)
        best = torch.maximum(best, likeness)
        on_step((int(places[-1]) + 1) / len(train))
    likely = (best > _LIKELY).cpu().numpy() & ~exact[compared]
    partners = train.subset(nearest.cpu().numpy()[likely])
    near = _near(chosen.subset(np.flatnonzero(likely)), partners, batch_size, device)
    return Duplicates(len(test), len(train), int(exact.sum()), len(compared), near, given)


def _near(test: Split, train: Split, batch_size: int, device: torch.device) -> int:
    """Count the pairs of images, at the same positions, that are nearly the same."""
    near = torch.zeros((), dtype=torch.int64, device=device)
    for places, images, _ in test.batches(batch_size, device):
        others, _ = train.batch(places, device)
        near += ((_unit(images) * _unit(others)).sum(dim=1) > NEARLY_THE_SAME).sum()
    return int(near)


def _codes(images: Tensor) -> Tensor:
    """Return unit vectors (B, d) whose inner products are the images' correlations at a small size."""
    if max(images.shape[2:]) > CODE_SIDE:
        images = functional.adaptive_avg_pool2d(images, CODE_SIDE)
    return _unit(images)


def _unit(images: Tensor) -> Tensor:
    """Return each image's pixels (B, C H W) less their mean, of length 1; of a flat image 0."""
    pixels = images.flatten(1)
    return functional.normalize(pixels - pixels.mean(dim=1, keepdim=True), dim=1)


def _digests(images: Tensor) -> npt.NDArray[Any]:
    """Return a digest (B,) uint64 of each image at 8 bits a pixel."""
    pixels = (images * 255).round().to(torch.uint8).numpy()
    digests = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in pixels]
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


@torch.no_grad()
def find_contradictions(
    models: tuple[nn.Module, nn.Module],
    train: Split,
    test: Split,
    *,
    classes: int,
    batch_size: int,
    device: torch.device,
    on_step: Callable[[float], None],
) -> Contradictions:
    """Count labels that both models contradict with the same class, and confidently (confident learning).

    A model is sure of a class where it gives the class at least the mean probability that it gives it on
    images of that label (Northcutt et al. 2021, https://arxiv.org/abs/1911.00068, Eq. 2). A model's own
    mistakes look the same as wrong labels; that two models make the same one is less likely.

    Args:
        models: In evaluation mode.
        train: Training images to look at.
        test: Test images to look at.
        classes: K.
        batch_size: Images at a time.
        device: Where the models are.
        on_step: Called with the share done; may raise to stop.
    """
    total, done = 2 * (len(train) + len(test)), 0
    counts = []
    for split in (train, test):
        thresholds = torch.zeros(2, classes, device=device)
        for _, images, labels in split.batches(batch_size, device):
            for number, model in enumerate(models):
                own = model(images).softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
                thresholds[number].index_add_(0, labels, own)
            done += len(images)
            on_step(done / total)
        members = torch.from_numpy(np.bincount(split.targets(), minlength=classes)).to(device)
        # Of a class without images nothing is known: nobody is sure of it.
        thresholds = torch.where(members > 0, thresholds / members.clamp_min(1), torch.inf)
        contradicted = torch.zeros((), dtype=torch.int64, device=device)
        for _, images, labels in split.batches(batch_size, device):
            named = [_sure(model(images), own) for model, own in zip(models, thresholds, strict=True)]
            contradicted += ((named[0] == named[1]) & (named[0] >= 0) & (named[0] != labels)).sum()
            done += len(images)
            on_step(done / total)
        counts += [len(split), int(contradicted)]
    return Contradictions(*counts)


def _sure(logits: Tensor, thresholds: Tensor) -> Tensor:
    """Return the most likely class (B,) among those a model is sure of; -1 where there is none."""
    probabilities = logits.softmax(dim=1)
    likely, named = torch.where(probabilities >= thresholds, probabilities, -1.0).max(dim=1)
    return torch.where(likely >= 0, named, -1)
