"""Random numbers of a sample's own: what an attack draws does not depend on the batch a sample is in.

Each sample has a key; a draw mixes the key with the number of the draw and of the element (a counter-based
generator after SplitMix64: Steele, Lea and Flood 2014, https://doi.org/10.1145/2660193.2660195). So a batch
may be split, samples may leave it, and a CPU and a GPU draw the same.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

_GOLDEN = -0x61C8864680B583EB  # the 64-bit constants as torch's signed integers
_FIRST = -0x40A7B892E31B1A47
_SECOND = -0x6B2FB644ECCEEE15
_BITS = 24  # what a float32 in [0, 1) holds


@dataclass
class SampleStreams:
    """A stream a sample.

    Attributes:
        keys: (B,) int64.
        draws: How many were made.
    """

    keys: Tensor
    draws: int = 0

    @classmethod
    def begin(cls, generator: "torch.Generator | SampleStreams", count: int, device: torch.device) -> Self:
        """Give each of the samples a key, drawn in order from a CPU generator, unless they have theirs."""
        if isinstance(generator, SampleStreams):
            return cls(generator.keys, generator.draws)
        keys = torch.empty(count, dtype=torch.int64).random_(generator=generator)
        return cls(keys.to(device))

    def of(self, rows: Tensor) -> "SampleStreams":
        """Return the streams of some samples, which go on from here."""
        return SampleStreams(self.keys[rows], self.draws)

    def branch(self, number: int) -> "SampleStreams":
        """Return fresh streams for one of several purposes."""
        return SampleStreams(_mix(self.keys ^ _mix(torch.tensor(number + 1, device=self.keys.device))))

    def uniform(self, *shape: int) -> Tensor:
        """Draw (B, *shape) float32 from [0, 1)."""
        return ((self._bits(shape) >> (64 - _BITS)) & ((1 << _BITS) - 1)).float() * 2.0**-_BITS

    def uniform_at(self, numbers: Tensor, count: int) -> Tensor:
        """Draw (B, m, count) float32 from [0, 1), each sample's draws of its own numbers (B, m).

        For samples that go through their draws at a pace of their own; the count of draws stays as it is.
        """
        elements = torch.arange(count, device=self.keys.device)
        counters = _mix(elements + (numbers[:, :, None] + 1) * (1 << 40))
        bits = _mix(self.keys[:, None, None] + counters * _GOLDEN)
        return ((bits >> (64 - _BITS)) & ((1 << _BITS) - 1)).float() * 2.0**-_BITS

    def integers(self, high: int, *shape: int) -> Tensor:
        """Draw (B, *shape) int64 from 0 to high - 1; high is at most 2**24."""
        drawn = self.uniform(*shape).double() * high
        return drawn.long().clamp_max(high - 1)

    def signs(self, *shape: int) -> Tensor:
        """Draw (B, *shape) float32, each -1 or 1."""
        return (self._bits(shape) < 0).float() * 2 - 1

    def normal(self, *shape: int) -> Tensor:
        """Draw (B, *shape) float32 of mean 0 and variance 1 (Box and Muller 1958)."""
        radius = (-2 * torch.log1p(-self.uniform(*shape))).sqrt()
        return radius * torch.cos(2 * math.pi * self.uniform(*shape))

    def _bits(self, shape: tuple[int, ...]) -> Tensor:
        self.draws += 1
        elements = torch.arange(math.prod(shape), device=self.keys.device)
        counters = _mix(elements + self.draws * (1 << 40))
        return _mix(self.keys[:, None] + counters[None] * _GOLDEN).reshape(-1, *shape)


def _mix(values: Tensor) -> Tensor:
    values = (values ^ _shifted(values, 30)) * _FIRST
    values = (values ^ _shifted(values, 27)) * _SECOND
    return values ^ _shifted(values, 31)


def _shifted(values: Tensor, bits: int) -> Tensor:
    """Shift right as if unsigned."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)
