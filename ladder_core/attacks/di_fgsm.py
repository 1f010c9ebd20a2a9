"""Iterative FGSM with input diversity, DI2-FGSM: Xie et al. 2019, https://arxiv.org/abs/1803.06978.

With momentum, as by default, it is their M-DI2-FGSM. Its examples are meant to be replayed on other models.
"""

import torch
from torch import Tensor, nn

from ladder_core.attacks.arguments import check_batch, check_radius, require
from ladder_core.attacks.base import AttackResult, Norm, Oracle, finish, succeeded
from ladder_core.attacks.losses import attack_loss
from ladder_core.attacks.pgd import Ascent
from ladder_core.attacks.samples import all_rows
from ladder_core.attacks.streams import SampleStreams


def di_fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int,
    generator: torch.Generator,
    norm: Norm = "linf",
    step: float | None = None,
    momentum: float = 1.0,
    probability: float = 0.5,
    resize_rate: float = 0.9,
    targets: Tensor | None = None,
) -> AttackResult:
    """Follow the gradients of images that are, with some probability, resized and padded at random.

    Every sample takes every step, so that examples transfer; but an image that is misclassified as it is
    (taken for its target) is returned as it is. The paper enlarges images; here, as models may take images
    of one size only, they are made smaller and padded with zeros to the size they had.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        epsilon: Radius in pixels.
        steps: Gradient steps.
        generator: CPU stream of sizes and places; a sample's do not depend on the others.
        norm: Of the ball.
        step: Length of a step in pixels; by default the steps together are as long as the radius.
        momentum: Share of the accumulated gradient that is kept, from 0 to 1.
        probability: That an image is resized in a step.
        resize_rate: Least size of a resized image, as a share of its own.
        targets: (B,) classes to be taken for; without them, any class but the label.

    Raises:
        ValueError: A parameter is out of its range.
    """
    check_batch(images, labels, targets)
    check_radius(epsilon)
    require(norm in ("linf", "l2"), "norm", norm, "give 'linf' or 'l2'")
    require(steps >= 1, "steps", steps, "give at least 1")
    require(step is None or step >= 0, "step", step, "give a length from 0 on, in pixels of [0, 1]")
    require(0 <= momentum <= 1, "momentum", momentum, "give a share from 0 to 1")
    require(0 <= probability <= 1, "probability", probability, "give one from 0 to 1")
    require(0 < resize_rate <= 1, "resize_rate", resize_rate, "give a share above 0, up to 1")
    oracle, streams = Oracle(model, images), SampleStreams.begin(generator, len(images), images.device)
    ascent = Ascent(norm, epsilon, epsilon / steps if step is None else step, momentum)
    broken = succeeded(oracle.logits(images, all_rows(images)), labels, targets)
    rows = all_rows(images)[~broken]
    originals, streams = images[rows], streams.of(rows)
    objective = attack_loss("ce", labels[rows], None if targets is None else targets[rows])
    current, velocity = originals, torch.zeros_like(originals)
    for _ in range(steps if len(rows) else 0):
        tall, wide = random_resize(originals, streams, probability, resize_rate)
        gradient, _, _ = oracle.gradient(tall @ current @ wide.mT, objective, rows)
        # Resizing is linear, so its gradient is the transposed map.
        velocity = ascent.accumulate(velocity, tall.mT @ gradient @ wide)
        current = ascent.move(current, velocity, originals)
    found = images.index_copy(0, rows, current)
    return finish(
        oracle, images, labels, found, iterations=steps, targets=targets, norm=norm, epsilon=epsilon
    )


def random_resize(
    images: Tensor, streams: SampleStreams, probability: float, resize_rate: float
) -> tuple[Tensor, Tensor]:
    """Draw for each image the matrices that resize and pad it: ``tall @ image @ wide.mT``.

    Args:
        images: (n, C, H, W).
        streams: Of the images.
        probability: That the matrices are other than the identity.
        resize_rate: Least size, as a share of the image's own.

    Returns:
        (n, 1, H, H) and (n, 1, W, W).
    """
    applies, share = streams.uniform() < probability, resize_rate + (1 - resize_rate) * streams.uniform()
    matrices = []
    for length in images.shape[2:]:
        size = torch.where(applies, (share * length).ceil(), length)
        before = (streams.uniform() * (length - size + 1)).floor()
        matrices.append(_resize_matrix(length, size, before))
    return matrices[0], matrices[1]


def _resize_matrix(length: int, size: Tensor, before: Tensor) -> Tensor:
    """Return (n, 1, length, length): bilinear resizing of a line to a size (n,), with so many zeros before.

    As ``interpolate`` with ``align_corners=False``: pixel i of the result is taken at
    ``(i + 1/2) length / size - 1/2``, between the two pixels next to it.
    """
    pixels = torch.arange(length, device=size.device)
    place = pixels - before[:, None]
    source = ((place + 0.5) * (length / size)[:, None] - 0.5).clamp(0, length - 1)
    weights = (1 - (source[:, :, None] - pixels).abs()).clamp_min(0)
    inside = (place >= 0) & (place < size[:, None])
    return (weights * inside[:, :, None])[:, None]
