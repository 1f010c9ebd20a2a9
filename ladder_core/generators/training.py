"""Training the generator with the classifier frozen: paper 3.1.3, Eq. 4."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ladder_core.datasets import Split
from ladder_core.datasets.base import Indices
from ladder_core.errors import TrainingError
from ladder_core.generators.architectures import reconstruction_error
from ladder_core.latents import Latents
from ladder_schema.config import GeneratorConfig
from ladder_schema.errors import ErrorCode

# Asking whether the loss is still a number waits for the device, so it is not asked at every step.
_STEPS_BETWEEN_CHECKS = 200


def train_generator(
    generator: nn.Module,
    latents: Latents,
    split: Split,
    config: GeneratorConfig,
    *,
    device: torch.device,
    rng: np.random.Generator,
    on_step: Callable[[float], None],
) -> None:
    """Fit ``G = argmin (1/n) sum ||x_i - G(z_i)||_p^p`` over the split (Eq. 4), in place.

    Args:
        generator: From latents to images, already on the device; left in evaluation mode.
        latents: z of every image of the split, in its order.
        split: The training images.
        config: Optimiser settings.
        device: Where the generator is.
        rng: Order of the batches.
        on_step: Called after each batch with the share done; may raise to stop.

    Raises:
        TrainingError: The loss is no longer a number.
    """
    optimiser = torch.optim.Adam(generator.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=config.learning_rate, total_steps=config.steps, pct_start=0.15
    )
    generator.train()
    total = torch.zeros((), device=device)
    for step, positions in enumerate(_endless_batches(len(split), config.batch_size, rng), start=1):
        images, _ = split.batch(positions, device)
        loss = reconstruction_error(images, generator(latents.batch(positions, device)), config.norm)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        total += loss.detach()
        on_step(step / config.steps)
        if step == config.steps:
            break
        if step % _STEPS_BETWEEN_CHECKS == 0:
            _check_finite(total, step, config)
    _check_finite(total, config.steps, config)
    generator.eval()


def _endless_batches(count: int, batch_size: int, rng: np.random.Generator) -> Iterator[Indices]:
    """Yield full batches of positions, pass after pass; what does not fill one waits for another pass."""
    batch_size = min(batch_size, count)
    while True:
        order = rng.permutation(count)
        for start in range(0, count - batch_size + 1, batch_size):
            yield order[start : start + batch_size]


def _check_finite(total: Tensor, step: int, config: GeneratorConfig) -> None:
    if not torch.isfinite(total):
        raise TrainingError(
            ErrorCode.TRAINING_DIVERGED,
            f"the generator's loss is not a number after {step} steps: lower generator.learning_rate "
            f"(now {config.learning_rate})",
        )
