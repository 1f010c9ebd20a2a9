"""Retraining on pairs of clean and adversarial images: paper section 3.1.3, Eq. 6."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ladder_core.classifier import Classifier
from ladder_core.datasets import Split
from ladder_core.errors import TrainingError
from ladder_core.training.examples import ExampleSource
from ladder_schema.config import RetrainingConfig
from ladder_schema.errors import ErrorCode
from ladder_schema.report import EpochLosses

# Examples are prepared for this many samples at a time: large enough to batch by class pair, small enough to
# keep memory flat.
BLOCK_SIZE = 8192


def retrain(
    model: Classifier,
    split: Split,
    source: ExampleSource,
    config: RetrainingConfig,
    *,
    device: torch.device,
    rng: np.random.Generator,
    on_step: Callable[[float, str], None],
) -> tuple[EpochLosses, ...]:
    """Minimise ``alpha * J(x, y) + (1 - alpha) * J(x', y)``, J the cross-entropy (Eq. 6), in place.

    Args:
        model: Starts from the original's weights; left in evaluation mode.
        split: The clean images.
        source: Makes the adversarial partner of each image.
        config: Optimiser settings.
        device: Where the model is.
        rng: Order of the samples.
        on_step: Called after each batch with the share done; may raise to stop.

    Returns:
        The mean clean and adversarial loss of each epoch.

    Raises:
        TrainingError: A loss is no longer a number.
    """
    batch = min(config.batch_size, len(split))
    block_size = batch * max(1, BLOCK_SIZE // batch)  # a batch never straddles two blocks
    per_epoch = -(-len(split) // batch)
    total = config.epochs * per_epoch
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    schedule = _schedule(optimiser, config, total)
    history: list[EpochLosses] = []
    done = 0
    model.train()
    for epoch in range(config.epochs):
        order = rng.permutation(len(split))
        losses = torch.zeros(2, device=device)
        for block_start in range(0, len(order), block_size):
            block = order[block_start : block_start + block_size]
            source.begin_block(block)
            for offset in range(0, len(block), batch):
                images, labels = split.batch(block[offset : offset + batch], device)
                partners = source.partners(model, images, labels, offset)
                clean, adversarial = _pair_losses(model, images, partners.images, partners.valid, labels)
                loss = config.alpha * clean + (1 - config.alpha) * adversarial
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                losses += torch.stack([clean.detach(), adversarial.detach()])
                done += 1
                on_step(done / total, f"epoch {epoch + 1}")
        history.append(_checked(losses / per_epoch, epoch, config))
    model.eval()
    return tuple(history)


def _schedule(
    optimiser: torch.optim.Optimizer, config: RetrainingConfig, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if config.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0, total_iters=0)


def _pair_losses(
    model: Classifier, images: Tensor, partners: Tensor, valid: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return both terms of Eq. 6 from one forward pass over the pairs."""
    logits = model(torch.cat([images, partners]))
    losses = functional.cross_entropy(logits, labels.repeat(2), reduction="none")
    clean, adversarial = losses.chunk(2)
    return clean.mean(), (adversarial * valid).sum() / valid.sum().clamp_min(1)


def _checked(losses: Tensor, epoch: int, config: RetrainingConfig) -> EpochLosses:
    clean, adversarial = losses.tolist()
    if not np.isfinite([clean, adversarial]).all():
        raise TrainingError(
            ErrorCode.TRAINING_DIVERGED,
            f"the retraining loss is not a number after epoch {epoch + 1}: lower retraining.learning_rate "
            f"(now {config.learning_rate})",
        )
    return EpochLosses(clean=clean, adversarial=adversarial)
