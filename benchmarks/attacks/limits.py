"""What is asked of a case: the same verdicts as the official code, and no more time or calls than it."""

import statistics
from collections import Counter
from collections.abc import Iterator

from benchmarks.attacks.autoattack import Case, Outcome, Side, mcnemar

BREAKS, HOLDS = 0.02, 0.5
"""Robust accuracy below which a model counts as broken, and above which it mostly holds."""


def exceeded(case: Case, outcome: Outcome) -> Iterator[str]:
    """Say which limits of a case are exceeded."""
    if case.attack != "standard":
        if (p := mcnemar(outcome)) < 0.05:
            yield f"verdicts differ, p = {p:.3f}"
        return
    apart = len(majority(outcome.ours) ^ majority(outcome.official))
    if apart > max(1, case.samples // 500):
        yield f"{apart} samples have another verdict"
    ratio = speed(outcome)
    if ratio < (least := least_speed(case, outcome)):
        yield f"{ratio:.2f} times as fast, asked {least:g}"
    if case.network == "resnet" and statistics.median(outcome.ours.calls) > statistics.median(
        outcome.official.calls
    ):
        yield "more model calls than the official code"


def majority(side: Side) -> set[int]:
    """Return the rows that most of the seeds broke."""
    counts = Counter(row for broken in side.broken for row in broken)
    return {row for row, count in counts.items() if 2 * count > len(side.broken)}


def speed(outcome: Outcome) -> float:
    """Return the median, over the seeds, of the official CPU time by ours."""
    return statistics.median(
        official / ours for ours, official in zip(outcome.ours.seconds, outcome.official.seconds, strict=True)
    )


def least_speed(case: Case, outcome: Outcome) -> float:
    """Return how many times as fast ours has to be: it depends on how many samples leave early."""
    robust = 1 - len(majority(outcome.official)) / case.samples
    if robust < BREAKS:
        return 3.0
    return 1.3 if robust > HOLDS and case.network.startswith("lenet") else 1.0
