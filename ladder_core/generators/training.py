"""Training the generator with the classifier frozen: paper 3.1.3, Eq. 4."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from ladder_core.datasets import Split
from ladder_core.errors import TrainingError
from ladder_core.generators.architectures import reconstruction_error
from ladder_core.latents import Latents
from ladder_schema.config import GeneratorConfig
from ladder_schema.errors import ErrorCode


def train_generator(
    generator: nn.Module,
    latents: Latents,
    split: Split,
    config: GeneratorConfig,
    *,
    device: torch.device,
    rng: np.random.Generator,
    on_step: Callable[[float, str], None],
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
    batch = min(config.batch_size, len(split))
    per_epoch = max(len(split) // batch, 1)
    optimiser = torch.optim.Adam(generator.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=config.learning_rate, total_steps=config.epochs * per_epoch, pct_start=0.15
    )
    generator.train()
    for epoch in range(config.epochs):
        order = rng.permutation(len(split))
        total = torch.zeros((), device=device)
        for step in range(per_epoch):
            positions = order[step * batch : (step + 1) * batch]
            images, _ = split.batch(positions, device)
            loss = reconstruction_error(images, generator(latents.batch(positions, device)), config.norm)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.detach()
            on_step((epoch * per_epoch + step + 1) / (config.epochs * per_epoch), f"epoch {epoch + 1}")
        if not torch.isfinite(total):
            raise TrainingError(
                ErrorCode.TRAINING_DIVERGED,
                f"the generator's loss is not a number after epoch {epoch + 1}: lower generator.learning_rate"
                f" (now {config.learning_rate})",
            )
    generator.eval()
