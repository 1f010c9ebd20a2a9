"""Unrestricted adversarial examples: Song et al. 2018, https://arxiv.org/abs/1805.07894.

Not an image within a radius of another, but any image of a class: the latent space of a class-conditional
GAN is searched for a code whose image the model takes for another class, while the GAN's auxiliary
classifier still says the class it was made for. What differs from the authors' code: samples that are done
leave the batch, so a search ends where it first succeeds and not after all its iterations; the objective is
a sample's own and not a mean over the batch (their step of 1 on the mean over 64 samples is 1/64 here); and
the auxiliary classifier is shown the image that is returned, where theirs is shown it without the noise.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from ladder_core.attacks.base import AttackResult, Distances, Loss, Oracle, full_precision, succeeded
from ladder_core.attacks.inversion import ConditionalGan, invert
from ladder_core.attacks.losses import cross_entropy, margin
from ladder_core.attacks.streams import SampleStreams

# Asking which samples are done waits for the device, so it is not asked at every iteration.
_ITERATIONS_BETWEEN_CHECKS = 5
_NOISE_DECAY = 0.55


@dataclass(frozen=True)
class SongSettings:
    """How codes are searched; the defaults are ours, those of the authors' code are `released`.

    Ours take small steps on the code and let the noise do the rest, from a code whose image is surely of its
    class: on MNIST other classifiers then say the class more often (``benchmarks/results/song.md``).

    Attributes:
        iterations: Most gradient steps.
        step: Their size.
        lambda1: Weight of leaving the neighbourhood of the code the search began from.
        lambda2: Weight of the auxiliary classifier's cross-entropy with the source class.
        z_epsilon: How far each element of the code may go before lambda1 counts.
        gradient_noise: Variance of the Gaussian noise added to the first step; falls as (1 + i)^-0.55.
        noise_epsilon: The image is moved by up to so much in each pixel as well; 0 for no such noise.
        noise_step: Length of the noise's own steps, before its tanh.
        candidates: Codes drawn for each sample; the search begins from the one whose image the model and the
            auxiliary classifier are surest of, so that what fools is not an image that shows nothing.
        confidence: Least probability that the auxiliary classifier must give the source class; at 0 it need
            only be its prediction.
    """

    iterations: int = 1000
    step: float = 0.01
    lambda1: float = 1.0
    lambda2: float = 1.0
    z_epsilon: float = 0.1
    gradient_noise: float = 0.0
    noise_epsilon: float = 0.1
    noise_step: float = 1.0
    candidates: int = 16
    confidence: float = 0.0

    def __post_init__(self) -> None:
        """Check what a search cannot do without.

        Raises:
            ValueError: There are no iterations.
        """
        if self.iterations < 1:
            raise ValueError(f"iterations is {self.iterations}: a search takes at least 1")

    @classmethod
    def released(cls) -> Self:
        """Return the defaults of the authors' code."""
        return cls(
            step=1 / 64, lambda1=100.0, lambda2=100.0, gradient_noise=0.01, noise_epsilon=0.0, candidates=1
        )


@dataclass(frozen=True)
class SongResult:
    """What a search found.

    Attributes:
        images: (B, C, H, W) float32 in [0, 1]; where the search failed, its last attempt.
        labels: (B,) the source classes: what the images were made to show.
        success: (B,) bool: both of the next two, by forward passes of their own in full precision.
        fooled: (B,) bool: the model does not say the source class or, targeted, says the target.
        recognised: (B,) bool: the auxiliary classifier says the source class.
        codes: (B, Z) of the images.
        references: (B, Z) where the search began.
        queries: (B,) int64, forward passes of the model each sample took, those of gradients among them.
        gradients: (B,) int64, backward passes of the model each sample took.
        iterations: Most that any sample took.
    """

    images: Tensor
    labels: Tensor
    success: Tensor
    fooled: Tensor
    recognised: Tensor
    codes: Tensor
    references: Tensor
    queries: Tensor
    gradients: Tensor
    iterations: int


@dataclass
class _Search:
    """The samples that are still searched for.

    Attributes:
        rows: (n,) their places in the batch.
        labels: (n,) source classes.
        targets: (n,) classes to be taken for, or None.
        references: (n, Z) where they began.
        codes: (n, Z) where they are.
        noise: (n, C, H, W) before its tanh; None for none.
        streams: Of their gradient noise.
    """

    rows: Tensor
    labels: Tensor
    targets: Tensor | None
    references: Tensor
    codes: Tensor
    noise: Tensor | None
    streams: SampleStreams

    def of(self, keep: Tensor) -> Self:
        """Return the search of some of the samples."""
        return type(self)(
            rows=self.rows[keep],
            labels=self.labels[keep],
            targets=None if self.targets is None else self.targets[keep],
            references=self.references[keep],
            codes=self.codes[keep],
            noise=None if self.noise is None else self.noise[keep],
            streams=self.streams.of(keep),
        )


def song(
    model: nn.Module,
    gan: ConditionalGan,
    labels: Tensor,
    *,
    settings: SongSettings,
    generator: torch.Generator,
    targets: Tensor | None = None,
    references: Tensor | None = None,
) -> SongResult:
    """Search for images of the given classes that the model takes for another.

    Minimises, for each sample, ``min over k != y of CE(model, k) + lambda1 * mean(max((z_ref - z)^2 -
    z_epsilon^2, 0)) + lambda2 * CE(auxiliary, y)``; with targets, the cross-entropy to the target in place of
    the least.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        gan: In evaluation mode, on the model's device.
        labels: (B,) source classes.
        settings: Of the search.
        generator: CPU stream that each sample's own is drawn from.
        targets: (B,) classes to be taken for; without them, any class but the label.
        references: (B, Z) codes to begin from; without them, drawn from N(0, I).
    """
    streams = SampleStreams.begin(generator, len(labels), labels.device)
    rows = torch.arange(len(labels), device=labels.device)
    noise = labels.new_zeros((len(labels), *gan.image_shape), dtype=torch.float32)
    images = torch.empty_like(noise)
    oracle = Oracle(model, images)
    with full_precision(labels.device):
        if references is None:
            drawn = streams.branch(0).normal(settings.candidates, gan.code_dimension)
            references = _surest(oracle, gan, labels, drawn)
        codes = references.clone()
        search = _Search(
            rows=rows,
            labels=labels,
            targets=targets,
            references=references,
            codes=codes.clone(),
            noise=noise if settings.noise_epsilon else None,
            streams=streams.branch(1),
        )
        iterations = _run(search, oracle, gan, settings, images, codes)
        recognised = _recognised(gan.classify(images), labels, settings)
    fooled = succeeded(oracle.logits(images, rows), labels, targets)
    return SongResult(
        images=images,
        labels=labels,
        success=fooled & recognised,
        fooled=fooled,
        recognised=recognised,
        codes=codes,
        references=references,
        queries=oracle.queries,
        gradients=oracle.gradients,
        iterations=iterations,
    )


@torch.no_grad()
def _surest(oracle: Oracle, gan: ConditionalGan, labels: Tensor, codes: Tensor) -> Tensor:
    """Return the one (B, Z) of each sample's codes (B, n, Z) whose class both classifiers are surest of."""
    if codes.shape[1] == 1:
        return codes[:, 0]
    rows = torch.arange(len(codes), device=codes.device)
    losses = []
    for some in codes.unbind(dim=1):
        images = gan.generate(some, labels)
        losses.append(
            cross_entropy(oracle.logits(images, rows), labels) + cross_entropy(gan.classify(images), labels)
        )
    return codes[rows, torch.stack(losses, dim=1).argmin(dim=1)]


def _run(
    search: _Search,
    oracle: Oracle,
    gan: ConditionalGan,
    settings: SongSettings,
    images: Tensor,
    codes: Tensor,
) -> int:
    """Search until all are done or time is up; writes what was found, and returns how long it took."""
    done = torch.zeros_like(search.rows, dtype=torch.bool)
    best_images, best_codes = images, codes
    for iteration in range(settings.iterations):
        before = search.codes
        tried, hit = _advance(search, oracle, gan, settings, iteration)
        best_images = torch.where(done[:, None, None, None], best_images, tried)
        best_codes = torch.where(done[:, None], best_codes, before)
        done = done | hit
        last = iteration == settings.iterations - 1
        if last or iteration % _ITERATIONS_BETWEEN_CHECKS == _ITERATIONS_BETWEEN_CHECKS - 1:
            images[search.rows], codes[search.rows] = best_images, best_codes
            keep = ~done
            search = search.of(keep)
            best_images, best_codes, done = best_images[keep], best_codes[keep], done[keep]
            if len(search.rows) == 0:
                break
    return iteration + 1


def _advance(
    search: _Search, oracle: Oracle, gan: ConditionalGan, settings: SongSettings, iteration: int
) -> tuple[Tensor, Tensor]:
    """Take a step; returns the images (n, C, H, W) before it, and which of them (n,) succeed."""
    with torch.enable_grad():
        codes = search.codes.detach().requires_grad_()
        inputs = [codes]
        images = gan.generate(codes, search.labels)
        if search.noise is not None:
            noise = search.noise.detach().requires_grad_()
            inputs.append(noise)
            images = (images + settings.noise_epsilon * noise.tanh()).clamp(0, 1)
        by_image, _, logits = oracle.gradient(images, _objective(search), search.rows)
        auxiliary = gan.classify(images)
        far = ((search.references - codes).square() - settings.z_epsilon**2).clamp_min(0).mean(dim=1)
        rest = settings.lambda1 * far + settings.lambda2 * cross_entropy(auxiliary, search.labels)
        # The model's part enters as the gradient by the image, which the oracle has counted.
        gradients = torch.autograd.grad((images * by_image).sum() + rest.sum(), inputs)
    deviation = math.sqrt(settings.gradient_noise / (1 + iteration) ** _NOISE_DECAY)
    search.codes = search.codes - settings.step * gradients[0]
    search.codes -= deviation * search.streams.normal(search.codes.shape[1])
    if search.noise is not None:
        length = gradients[1].flatten(1).norm(dim=1)[:, None, None, None]
        search.noise = search.noise - settings.noise_step * gradients[1] / length.clamp_min(1e-30)
    hit = succeeded(logits, search.labels, search.targets)
    return images.detach(), hit & _recognised(auxiliary.detach(), search.labels, settings)


def _objective(search: _Search) -> Loss:
    """Return the model's part: the cross-entropy to the target, or the least to any class but the label."""
    labels, targets = search.labels, search.targets
    if targets is not None:
        return lambda logits: cross_entropy(logits, targets)
    # CE(y) less the margin of the best other class k is CE(k).
    return lambda logits: cross_entropy(logits, labels) - margin(logits, labels)


def _recognised(logits: Tensor, labels: Tensor, settings: SongSettings) -> Tensor:
    """Return (B,) bool: the auxiliary classifier says the source class, with confidence enough."""
    probability = logits.softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
    return (logits.argmax(dim=1) == labels) & (probability >= settings.confidence)


def song_near(
    model: nn.Module,
    gan: ConditionalGan,
    images: Tensor,
    labels: Tensor,
    *,
    settings: SongSettings,
    generator: torch.Generator,
    targets: Tensor | None = None,
) -> AttackResult:
    """Search from each image's own code.

    No radius bounds it: the distances are those of the example from the image, the GAN's error in rebuilding
    the image among them. Success asks the auxiliary classifier too, as `SongResult` does.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        gan: In evaluation mode, on the model's device.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes, the source classes.
        settings: Of the search.
        generator: CPU stream that each sample's own are drawn from.
        targets: (B,) classes to be taken for; without them, any class but the label.
    """
    references = invert(gan, images, labels, generator=generator)
    found = song(
        model, gan, labels, settings=settings, generator=generator, targets=targets, references=references
    )
    return AttackResult(
        images=found.images,
        success=found.success,
        distances=Distances.between(images, found.images),
        queries=found.queries,
        gradients=found.gradients,
        iterations=found.iterations,
    )
