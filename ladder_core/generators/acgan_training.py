"""Training an AC-GAN: its two players in turn, as one training that can be kept and gone on from."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ladder_core.datasets import Split
from ladder_core.errors import TrainingError
from ladder_core.generators.acgan import AcGan, AcGanSettings, Critic
from ladder_core.seeding import numpy_stream, scoped_seed, torch_stream
from ladder_core.training_state import TrainingState
from ladder_schema.errors import ErrorCode

_BETAS = (0.0, 0.9)
# Asking whether a loss is still a number waits for the device, so it is not asked at every turn.
_TURNS_BETWEEN_CHECKS = 200


def begin_acgan_training(
    image_shape: tuple[int, int, int],
    classes: int,
    settings: AcGanSettings,
    *,
    seed: int,
    device: torch.device,
) -> TrainingState:
    """Return the training of an `AcGan` on a device, before its first turn.

    One optimiser serves both players: Adam passes over parameters without a gradient, and counts the steps of
    each by itself, so a turn moves just the player whose turn it is.

    Args:
        image_shape: Channels, height, width.
        classes: Number of classes K.
        settings: Of the networks and the training.
        seed: Of the initial weights.
        device: Where to train.

    Raises:
        ValueError: The images are too small.
    """
    with scoped_seed(seed, "acgan"):
        gan = AcGan(image_shape, classes, settings).to(device)
    optimiser = torch.optim.Adam(gan.parameters(), lr=settings.learning_rate, betas=_BETAS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda turn: 1 - turn / settings.turns)
    return TrainingState(
        gan, optimiser, schedule, device=device, steps=settings.turns, epoch_steps=None, terms=1
    )


def train_acgan(
    training: TrainingState, split: Split, *, seed: int, on_step: Callable[[float], None]
) -> AcGan:
    """Train both players in turn, in place.

    Args:
        training: Of an AC-GAN, which is left in evaluation mode; goes on from where it is.
        split: Images and labels to learn from.
        seed: Of the batches, codes and interpolations; each turn has a stream of its own.
        on_step: Called after each turn with the share done; may raise to stop.

    Returns:
        The trained AC-GAN.

    Raises:
        TrainingError: A loss is no longer a number.
        TypeError: The training is of something else.
    """
    gan = training.module
    if not isinstance(gan, AcGan):
        raise TypeError(f"the training is of a {type(gan).__name__}, not of an AcGan")
    gan.train()
    while training.done < training.steps:
        loss = _turn(gan, split, training.done, seed, training.device)
        training.step(loss, loss[None])
        if training.done % _TURNS_BETWEEN_CHECKS == 0 or training.done == training.steps:
            _check_finite(training.sums, training.done, gan.settings)
        on_step(training.share)
    gan.requires_grad_(requires_grad=False).eval()
    return gan


def _turn(gan: AcGan, split: Split, turn: int, seed: int, device: torch.device) -> Tensor:
    """Return the loss of the player whose turn it is; only its parameters take a gradient from it."""
    settings = gan.settings
    round_number, place = divmod(turn, settings.critic_turns + 1)
    critics = place < settings.critic_turns
    gan.critic.requires_grad_(critics)
    gan.generator.requires_grad_(not critics)
    positions = numpy_stream(seed, "acgan batch", turn).integers(len(split), size=settings.batch_size)
    stream = torch_stream(seed, "acgan codes", turn)
    codes = torch.randn(settings.batch_size, settings.code_dimension, generator=stream).to(device)
    if not critics:
        labels = torch.from_numpy(split.labels[split.indices[positions]]).to(device)
        return _generator_loss(gan, codes, labels)
    images, labels = split.batch(positions, device)
    fakes = gan.generate(codes, labels)
    loss = _critic_loss(gan, images, fakes, labels)
    if (round_number * settings.critic_turns + place) % settings.penalty_every == 0:
        mix = torch.rand(len(images), 1, 1, 1, generator=stream).to(device)
        weight = settings.penalty * settings.penalty_every
        loss = loss + weight * _gradient_penalty(gan.critic, torch.lerp(images, fakes, mix))
    return loss


def _generator_loss(gan: AcGan, codes: Tensor, labels: Tensor) -> Tensor:
    scores, logits = gan.critic(gan.generate(codes, labels))
    loss: Tensor = gan.settings.class_weight * functional.cross_entropy(logits, labels) - scores.mean()
    return loss


def _critic_loss(gan: AcGan, images: Tensor, fakes: Tensor, labels: Tensor) -> Tensor:
    """Wasserstein loss, and the cross-entropy on the real images alone, as Song et al.'s code has it."""
    scores, logits = gan.critic(torch.cat([images, fakes]))
    real, fake = scores.chunk(2)
    classification = functional.cross_entropy(logits[: len(images)], labels)
    loss: Tensor = fake.mean() - real.mean() + gan.settings.class_weight * classification
    return loss


def _gradient_penalty(critic: Critic, images: Tensor) -> Tensor:
    """Mean of ``(|grad critic(x)| - 1)^2`` between real and generated images."""
    images = images.detach().requires_grad_()
    scores, _ = critic(images)
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty


def _check_finite(total: Tensor, turn: int, settings: AcGanSettings) -> None:
    if not torch.isfinite(total):
        raise TrainingError(
            ErrorCode.TRAINING_DIVERGED,
            f"the AC-GAN's loss is not a number after {turn} turns: lower its learning_rate "
            f"(now {settings.learning_rate})",
        )
