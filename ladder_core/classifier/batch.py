"""The numbers of images an exported program takes at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram


@dataclass(frozen=True, slots=True)
class BatchRange:
    """How many images a program takes at once.

    Attributes:
        low: The fewest.
        high: The most; None if there is no bound.
    """

    low: int
    high: int | None

    @property
    def is_fixed(self) -> bool:
        """Whether the program takes exactly one number of images."""
        return self.low == self.high

    def run(self, call: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Call on any number of images, in batches that the program takes.

        The last image is repeated where there are too few; its repetitions are dropped from the result.
        """
        results = []
        for part in torch.split(images, self.high or len(images)):
            missing = max(self.low - len(part), 0)
            padded = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part
            results.append(call(padded)[: len(part)])
        return torch.cat(results)


def batch_range(program: ExportedProgram, images: fx.Node) -> BatchRange:
    """How many images a program takes at once.

    Args:
        program: The program.
        images: The node of its graph that stands for the images.
    """
    size = images.meta["val"].shape[0]
    if isinstance(size, int):
        return BatchRange(size, size)
    limits = program.range_constraints.get(size.node.expr)
    if limits is None:
        return BatchRange(1, None)
    low, high = limits.lower, limits.upper
    return BatchRange(max(int(low), 1), int(high) if high.is_finite and high.is_Integer else None)
