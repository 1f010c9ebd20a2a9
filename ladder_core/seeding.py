"""Random streams derived from a job's one seed, a fresh one for each purpose.

A stage's stream does not depend on how much randomness earlier stages used, and within a training each epoch
and batch draws from a stream of its own, so a resumed job draws the same numbers as an uninterrupted one.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(seed: int, purpose: str, *numbers: int) -> int:
    """Return a 63-bit seed that depends on the job's seed, the purpose's name, and further numbers."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *numbers])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def torch_stream(seed: int, purpose: str, *numbers: int) -> torch.Generator:
    """Return a torch generator of its own for a purpose, on the CPU: the same draws on every device."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose, *numbers))


def numpy_stream(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """Return a NumPy generator of its own for a purpose."""
    return np.random.default_rng(derive_seed(seed, purpose, *numbers))


@contextmanager
def scoped_seed(seed: int, purpose: str, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed torch's default streams inside the block only: initialisation and dropout take no generator."""
    device = torch.device(device)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_seed(seed, purpose))
        yield
