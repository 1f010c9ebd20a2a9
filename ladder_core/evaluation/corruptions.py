"""Both models under common corruptions: Hendrycks and Dietterich 2019, https://arxiv.org/abs/1903.12261.

Robustness to an attack that costs robustness to noise, blur or weather is no gain to somebody who deploys.
"""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import nn

from ladder_core.attacks.streams import SampleStreams
from ladder_core.corruptions import SEVERITIES, corrupt, suitable
from ladder_core.counting import PairedTally
from ladder_core.datasets import Split
from ladder_core.evaluation.clean import predict
from ladder_core.seeding import torch_stream
from ladder_schema.report import CorruptionResult


def evaluate_corruptions(
    original: nn.Module,
    hardened: nn.Module,
    split: Split,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    known: Iterable[CorruptionResult] = (),
    on_result: Callable[[CorruptionResult], None],
    on_step: Callable[[float], None],
) -> tuple[CorruptionResult, ...]:
    """Measure both models under every corruption that the images can have, at every severity.

    Args:
        original: The model as uploaded, in evaluation mode.
        hardened: The model after retraining, in evaluation mode.
        split: Held-out images.
        batch_size: Images corrupted and classified together; the results do not depend on it.
        seed: The job's seed.
        device: Where both models are.
        known: Results of an earlier attempt at the same evaluation; they are not measured again.
        on_result: Called with each result that is new, so that it can be kept; may raise to stop.
        on_step: Called with the share done; may raise to stop.

    Returns:
        In the order of `ladder_core.corruptions.CORRUPTIONS`, the mildest severity of each first.
    """
    found = {(result.corruption, result.severity): result for result in known}
    wanted = [(name, severity) for name in suitable(split.image_shape[0]) for severity in SEVERITIES]
    for number, (name, severity) in enumerate(wanted):
        if (name, severity) in found:
            continue
        result = evaluate_corruption(
            name,
            severity,
            original,
            hardened,
            split,
            batch_size=batch_size,
            seed=seed,
            device=device,
            on_step=partial(_share, on_step, number, len(wanted)),
        )
        found[name, severity] = result
        on_result(result)
    return tuple(found[key] for key in wanted)


def _share(on_step: Callable[[float], None], number: int, count: int, done: float) -> None:
    on_step((number + done) / count)


@torch.no_grad()
def evaluate_corruption(
    name: str,
    severity: int,
    original: nn.Module,
    hardened: nn.Module,
    split: Split,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    on_step: Callable[[float], None],
) -> CorruptionResult:
    """Measure both models on the same images under one corruption at one severity.

    Args:
        name: One of `ladder_core.corruptions.suitable`.
        severity: 1 to 5.
        original: The model as uploaded, in evaluation mode.
        hardened: The model after retraining, in evaluation mode.
        split: Held-out images.
        batch_size: Images corrupted and classified together; the result does not depend on it.
        seed: The job's seed.
        device: Where both models are.
        on_step: Called with the share done; may raise to stop.

    Raises:
        ValueError: There is no such corruption or severity for images of this shape.
    """
    generator, tally = torch_stream(seed, f"corrupt-{name}", severity), PairedTally(device)
    for _, images, labels in split.batches(batch_size, device):
        corrupted = corrupt(images, name, severity, SampleStreams.begin(generator, len(images), device))
        before, after = (predict(model, corrupted) == labels for model in (original, hardened))
        tally.add(before, after)
        on_step(tally.total / len(split))
    return CorruptionResult(corruption=name, severity=severity, outcome=tally.paired())
