"""The order in which a training that counts steps, not epochs, sees its samples."""

import itertools
from collections.abc import Iterator

from ladder_core.datasets.base import Indices
from ladder_core.seeding import numpy_stream


def endless_batches(count: int, batch_size: int, seed: int, purpose: str, first: int) -> Iterator[Indices]:
    """Yield full batches of positions, pass after pass, from a step on.

    What does not fill a batch waits for another pass.

    Args:
        count: Samples.
        batch_size: Samples in a batch; all of them where there are fewer.
        seed: The job's seed.
        purpose: The training's name, of which the order is a stream of its own.
        first: The step to begin with, so that a training goes on in the order it would have had.
    """
    batch_size = min(batch_size, count)
    start, skipped = divmod(first, count // batch_size)
    for number in itertools.count(start):
        order = numpy_stream(seed, purpose, number).permutation(count)
        for begin in range(skipped * batch_size, count - batch_size + 1, batch_size):
            yield order[begin : begin + batch_size]
        skipped = 0
