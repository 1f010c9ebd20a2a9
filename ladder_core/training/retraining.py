"""Retraining from the original's weights: paper section 3.1.3."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ladder_core.classifier import Classifier
from ladder_core.datasets import Split
from ladder_core.datasets.base import Indices
from ladder_core.errors import TrainingError
from ladder_core.seeding import numpy_stream, torch_stream
from ladder_core.training.augmentation import Augmentation
from ladder_core.training.objectives import Objective
from ladder_core.training_state import TrainingState
from ladder_schema.config import RetrainingConfig
from ladder_schema.errors import ErrorCode
from ladder_schema.report import EpochLosses

# Examples are prepared for this many samples at a time: large enough to batch by class pair, small enough to
# keep memory flat.
BLOCK_SIZE = 8192


def begin_retraining(
    model: nn.Module, config: RetrainingConfig, objective: Objective, samples: int, device: torch.device
) -> TrainingState:
    """Return the retraining of a model on that many samples, before its first step.

    Args:
        model: Has the original's weights, on the device.
        config: Optimiser settings.
        objective: What is minimised.
        samples: How many the split has.
        device: Where the model is.
    """
    epoch_steps = -(-samples // _batch_size(config, samples))
    steps = config.epochs * epoch_steps
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )

    def rate(step: int) -> float:
        return (1 + math.cos(math.pi * step / steps)) / 2 if config.schedule == "cosine" else 1.0

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    return TrainingState(
        model,
        optimiser,
        schedule,
        device=device,
        steps=steps,
        epoch_steps=epoch_steps,
        terms=len(objective.terms),
        average_decay=config.average_decay,
        max_gradient_norm=config.max_gradient_norm,
    )


def retrain(
    model: Classifier,
    training: TrainingState,
    split: Split,
    objective: Objective,
    config: RetrainingConfig,
    *,
    seed: int,
    on_step: Callable[[float, str], None],
) -> None:
    """Minimise an objective over the split, in place.

    Args:
        model: What is trained, left in evaluation mode.
        training: Of the model on this split; goes on from where it is, and takes the mean of each of the
            objective's terms in each epoch.
        split: The clean images.
        objective: Its terms and their sources.
        config: Optimiser settings.
        seed: Of the order of the samples.
        on_step: Called after each batch with the share done; may raise to stop.

    Raises:
        TrainingError: A loss is no longer a number.
    """
    device = training.device
    epoch_steps = training.steps // config.epochs
    augment = Augmentation(config.augmentation.crop_padding, config.augmentation.flip)
    model.train(config.batch_norm == "train")
    for epoch, offset, positions in _batches(split, objective, config, seed, training.done):
        images, labels = split.batch(positions, device)
        images = augment(images, torch_stream(seed, "augment", training.done))
        training.step(*objective(model, images, labels, offset))
        if training.done % epoch_steps == 0:
            training.end_epoch(_checked(training.sums / epoch_steps, objective, epoch, config))
        on_step(training.share, f"epoch {epoch + 1}")
    training.finish()
    model.eval()


def _batch_size(config: RetrainingConfig, samples: int) -> int:
    return min(config.batch_size, samples)


def _batches(
    split: Split, objective: Objective, config: RetrainingConfig, seed: int, first: int
) -> Iterator[tuple[int, int, Indices]]:
    """Prepare each block of examples, and yield the batches from a step on.

    Yields:
        The epoch, how many samples into its block the batch starts, and the batch's positions in the split.
    """
    count, batch = len(split), _batch_size(config, len(split))
    block_steps = max(1, BLOCK_SIZE // batch)  # a batch never straddles two blocks
    epoch_steps = -(-count // batch)
    for epoch in range(first // epoch_steps, config.epochs):
        order = numpy_stream(seed, "retrain", epoch).permutation(count)
        for begin in range(0, epoch_steps, block_steps):
            skipped = max(0, first - epoch * epoch_steps - begin)
            if skipped >= block_steps:
                continue
            block = order[begin * batch : (begin + block_steps) * batch]
            objective.begin_block(block, epoch * epoch_steps + begin)
            for offset in range(skipped * batch, len(block), batch):
                yield epoch, offset, block[offset : offset + batch]


def _checked(means: Tensor, objective: Objective, epoch: int, config: RetrainingConfig) -> EpochLosses:
    values = means.tolist()
    if not np.isfinite(values).all():
        raise TrainingError(
            ErrorCode.TRAINING_DIVERGED,
            f"the retraining loss is not a number after epoch {epoch + 1}: lower retraining.learning_rate "
            f"(now {config.learning_rate})",
        )
    return EpochLosses(terms={term.name: value for term, value in zip(objective.terms, values, strict=True)})
