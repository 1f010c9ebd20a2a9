"""A surrogate for black-box attacks, which the paper makes with no access to the tested models (section 4).

The paper's figures point to an independently trained model of the original's architecture. An upload has an
architecture, but nothing that would initialise it: its trained tensors are shuffled instead. Each keeps the
scale that its layer works at (the point of an initialisation: He et al. 2015, section 2.2,
https://arxiv.org/abs/1502.01852) and loses what it had learned, which lies in the places of its values.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ladder_core.batch_order import endless_batches
from ladder_core.classifier import Classifier
from ladder_core.datasets import Split
from ladder_core.errors import TrainingError
from ladder_core.seeding import torch_stream
from ladder_core.training_state import TrainingState
from ladder_schema.errors import ErrorCode

_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4
# Shuffled tensors keep each layer's scale, not how layers fit together: the first steps are small.
_WARM_UP = 0.1
# Asking whether the loss is still a number waits for the device, so it is not asked at every step.
_STEPS_BETWEEN_CHECKS = 200
_FRESH_STATISTICS = {"running_mean": 0, "running_var": 1, "num_batches_tracked": 0}


def begin_surrogate(
    original: Classifier, *, steps: int, learning_rate: float, seed: int, device: torch.device
) -> TrainingState:
    """Return the training of a surrogate of a model, before its first step.

    Args:
        original: The model as uploaded, on the device; it is not changed.
        steps: How many the training has.
        learning_rate: The highest, reached after a tenth of the steps; from there it falls along a cosine.
        seed: The job's seed.
        device: Where the model is.
    """
    surrogate = original.clone()
    forget(surrogate, torch_stream(seed, "surrogate-weights"))
    optimiser = torch.optim.SGD(
        surrogate.parameters(),
        lr=learning_rate,
        momentum=_MOMENTUM,
        weight_decay=_WEIGHT_DECAY,
        nesterov=True,
    )
    warm_up = max(1, round(_WARM_UP * steps))

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / warm_up) * (1 + math.cos(math.pi * step / steps)) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    return TrainingState(
        surrogate, optimiser, schedule, device=device, steps=steps, epoch_steps=None, terms=1
    )


@torch.no_grad()
def forget(model: nn.Module, generator: torch.Generator) -> None:
    """Shuffle every parameter's values among its places, and reset the statistics of norm layers, in place.

    Other buffers are constants of the architecture, and stay.

    Args:
        model: Its buffers of running statistics have PyTorch's names.
        generator: On the CPU, so that the order is the same on every device.
    """
    for parameter in model.parameters():
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    for name, buffer in model.named_buffers():
        fresh = _FRESH_STATISTICS.get(name.rpartition(".")[2])
        if fresh is not None:
            buffer.fill_(fresh)


def train_surrogate(
    training: TrainingState,
    train: Split,
    *,
    batch_size: int,
    seed: int,
    on_step: Callable[[float], None],
) -> None:
    """Minimise the cross-entropy on clean images, in place.

    Args:
        training: Of a surrogate, which is left in evaluation mode; goes on from where it is. Its dropout
            draws from torch's default stream.
        train: The training images.
        batch_size: Images a step.
        seed: Of the order of the images.
        on_step: Called after each batch with the share done; may raise to stop.

    Raises:
        TrainingError: The loss is no longer a number.
    """
    surrogate, device = training.module, training.device
    surrogate.train()
    batches = endless_batches(len(train), batch_size, seed, "surrogate", training.done)
    while training.done < training.steps:
        images, labels = train.batch(next(batches), device)
        loss = functional.cross_entropy(surrogate(images), labels)
        training.step(loss, loss[None])
        if training.done % _STEPS_BETWEEN_CHECKS == 0 or training.done == training.steps:
            _check_finite(training.sums, training.done)
        on_step(training.share)
    surrogate.eval()


def _check_finite(total: Tensor, step: int) -> None:
    if not torch.isfinite(total):
        raise TrainingError(
            ErrorCode.TRAINING_DIVERGED,
            f"the surrogate's loss is not a number after {step} steps: lower "
            "evaluation.surrogate_learning_rate",
        )
