"""Training the generator with the classifier frozen: paper 3.1.3, Eq. 4."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ladder_core.batch_order import endless_batches
from ladder_core.datasets import Split
from ladder_core.errors import TrainingError
from ladder_core.generators.architectures import reconstruction_error
from ladder_core.latents import Latents
from ladder_core.training_state import TrainingState
from ladder_schema.config import GeneratorConfig
from ladder_schema.errors import ErrorCode

# Asking whether the loss is still a number waits for the device, so it is not asked at every step.
_STEPS_BETWEEN_CHECKS = 200


def begin_generator_training(
    generator: nn.Module, config: GeneratorConfig, device: torch.device
) -> TrainingState:
    """Return the training of a generator on a device, before its first step."""
    optimiser = torch.optim.Adam(generator.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=config.learning_rate, total_steps=config.steps, pct_start=0.15
    )
    return TrainingState(
        generator, optimiser, schedule, device=device, steps=config.steps, epoch_steps=None, terms=1
    )


def train_generator(
    training: TrainingState,
    latents: Latents,
    split: Split,
    config: GeneratorConfig,
    *,
    seed: int,
    on_step: Callable[[float], None],
) -> None:
    """Fit ``G = argmin (1/n) sum ||x_i - G(z_i)||_p^p`` over the split (Eq. 4), in place.

    Args:
        training: Of a generator from latents to images, which is left in evaluation mode; goes on from
            where it is.
        latents: z of every image of the split, in its order.
        split: The training images.
        config: Optimiser settings.
        seed: Of the order of the batches.
        on_step: Called after each batch with the share done; may raise to stop.

    Raises:
        TrainingError: The loss is no longer a number.
    """
    generator, device = training.module, training.device
    generator.train()
    batches = endless_batches(len(split), config.batch_size, seed, "generator", training.done)
    while training.done < training.steps:
        positions = next(batches)
        images, _ = split.batch(positions, device)
        loss = reconstruction_error(images, generator(latents.batch(positions, device)), config.norm)
        training.step(loss, loss[None])
        if training.done % _STEPS_BETWEEN_CHECKS == 0 or training.done == training.steps:
            _check_finite(training.sums, training.done, config)
        on_step(training.share)
    generator.eval()


def _check_finite(total: Tensor, step: int, config: GeneratorConfig) -> None:
    if not torch.isfinite(total):
        raise TrainingError(
            ErrorCode.TRAINING_DIVERGED,
            f"the generator's loss is not a number after {step} steps: lower generator.learning_rate "
            f"(now {config.learning_rate})",
        )
