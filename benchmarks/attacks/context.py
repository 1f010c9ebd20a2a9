"""What every case of the comparison is given, and the row it answers with."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Context:
    """What is attacked.

    Attributes:
        networks: By name ("lenet", "resnet"): a model in evaluation mode, images (N, C, H, W) in [0, 1] and
            labels (N,), on one device.
        seeds: Of the random streams; a case without randomness runs once.
    """

    networks: dict[str, tuple[nn.Module, Tensor, Tensor]]
    seeds: tuple[int, ...] = (0, 1, 2)


@dataclass(frozen=True)
class Row:
    """One comparison of the table.

    Attributes:
        name: Of the attack.
        network: One of the context's.
        setting: Norm, radius, steps, number of samples.
        ours: Our figure, as printed.
        peer: The peer's name and figure.
        verdict: The ratio or the disagreement that is judged.
        passed: Whether it is within the limit.
        note: The limit, and what explains a disagreement.
    """

    name: str
    network: str
    setting: str
    ours: str
    peer: str
    verdict: str
    passed: bool
    note: str = ""


def cpu_seconds(*runs: Callable[[], object], repeats: int = 3) -> list[float]:
    """Return the median CPU time of each run, in seconds; they take turns, so all meet the same noise."""
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for times, run in zip(taken, runs, strict=True):
            start = time.process_time()
            run()
            times.append(time.process_time() - start)
    return [statistics.median(times) for times in taken]
