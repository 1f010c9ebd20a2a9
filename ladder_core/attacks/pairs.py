"""Attacks that try several target classes on a sample: all pairs of one sample run together.

The official code tries one target after another, on ever fewer samples. Together they fill the device, and as
soon as one succeeds the sample's others stop.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ladder_core.attacks.samples import Samples
from ladder_core.attacks.streams import SampleStreams


@dataclass(frozen=True)
class Pairs(Samples):
    """Samples (n,), each as often as it has targets.

    Attributes:
        images: (n, C, H, W) originals.
        labels: (n,) true classes.
        aims: (n,) classes whose logits are raised; None for an attack that only leads away from the label.
        ranks: (n,) which of its sample's pairs this is, from 0.
        keys: (n,) of each pair's own random stream.
    """

    images: Tensor
    labels: Tensor
    aims: Tensor | None
    ranks: Tensor
    keys: Tensor


def single(
    rows: Tensor, images: Tensor, labels: Tensor, aims: Tensor | None, streams: SampleStreams
) -> Pairs:
    """Take the given rows of a batch (B, C, H, W), one pair each."""
    return Pairs(
        rows=rows,
        images=images[rows],
        labels=labels[rows],
        aims=None if aims is None else aims[rows],
        ranks=torch.zeros_like(rows),
        keys=streams.keys[rows],
    )


def several(
    rows: Tensor, images: Tensor, labels: Tensor, aims: Tensor, streams: SampleStreams
) -> Iterator[Pairs]:
    """Take the given rows with all of their targets (B, T), in parts of no more pairs than the batch has.

    What becomes of a sample does not depend on the parts.
    """
    count = aims.shape[1]
    keys = torch.stack([streams.branch(rank).keys for rank in range(count)], dim=1)
    for part in torch.split(rows, max(1, len(images) // count)):
        repeated = part.repeat_interleave(count)
        yield Pairs(
            rows=repeated,
            images=images[repeated],
            labels=labels[repeated],
            aims=aims[part].flatten(),
            ranks=torch.arange(count, device=rows.device).repeat(len(part)),
            keys=keys[part].flatten(),
        )


def siblings_of(hit: Tensor, rows: Tensor, count: int) -> Tensor:
    """Return (n,) bool: the pair's sample, of ``count`` in the batch, has a pair that hit (n,)."""
    samples = torch.zeros(count, dtype=torch.bool, device=rows.device)
    samples.index_put_((rows,), hit, accumulate=True)
    return samples[rows]


def first_of_each(pairs: Pairs, count: int) -> Tensor:
    """Return (n,) bool: of the given pairs of its sample, of ``count`` in the batch, it has the lowest rank.

    What is written by sample is then written once: a GPU mixes several writes to one place.
    """
    beyond = torch.iinfo(torch.int64).max
    lowest = torch.full((count,), beyond, device=pairs.rows.device)
    lowest.scatter_reduce_(0, pairs.rows, pairs.ranks, "amin")
    return pairs.ranks == lowest[pairs.rows]
