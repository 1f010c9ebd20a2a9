"""Counts, and how sure they make one: what every measurement of a report is made of."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, computed_field, model_validator

MAX_CLASSES = 25_000
SIGNIFICANCE = 0.05
"""A change less likely than this by chance alone counts as measured."""
_Z_95 = 1.959963984540054
# Beyond, the normal approximation is as exact as a float's logarithms are, and takes no time: a report that
# claims 2**53 samples would otherwise keep its reader summing.
_MOST_EXACT = 10_000_000

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0, le=2**53)]  # what every JSON reader and every float can hold exactly
Length = Annotated[float, Field(ge=0.0, le=1e9)]
Text = Annotated[str, Field(max_length=2_000)]
# Room for every time zone on both sides: a date a page cannot print is no date.
Timestamp = Annotated[
    AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), le=datetime(9000, 1, 1, tzinfo=UTC))
]
# The report comes from a process that is not trusted: what a reader has to scroll past is bounded.
Texts = Annotated[tuple[Text, ...], Field(max_length=100)]


class Value(BaseModel):
    """A part of the report: immutable; what a later version adds is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Accuracy(Value):
    """Correct predictions out of a number of samples, with Wilson's 95% interval.

    The interval covers, 19 times out of 20, the accuracy on the population the samples were drawn from.
    """

    correct: Count
    total: Annotated[Count, Field(ge=1)]

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.correct > self.total:
            raise ValueError(f"{self.correct} correct predictions out of {self.total}")
        return self

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rate(self) -> float:
        """Share of correct predictions."""
        return self.correct / self.total

    @computed_field  # type: ignore[prop-decorator]
    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval at 95%."""
        n, p, z2 = self.total, self.correct / self.total, _Z_95**2
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = _Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
        return max(0.0, centre - half), min(1.0, centre + half)


class Paired(Value):
    """Which samples two models are right about, before and after hardening; the same samples for both.

    Pairing tells a change from chance where two separate intervals could not: only the samples on which the
    models differ carry information about which is better.
    """

    both: Count = Field(description="Right before and after.")
    only_before: Count = Field(description="Right before, wrong after.")
    only_after: Count = Field(description="Wrong before, right after.")
    neither: Count = Field(description="Wrong before and after.")

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if not self.total:
            raise ValueError("no sample was counted")
        return self

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> int:
        """Samples."""
        return self.both + self.only_before + self.only_after + self.neither

    @computed_field  # type: ignore[prop-decorator]
    @property
    def before(self) -> Accuracy:
        """The original model."""
        return Accuracy(correct=self.both + self.only_before, total=self.total)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def after(self) -> Accuracy:
        """The hardened model."""
        return Accuracy(correct=self.both + self.only_after, total=self.total)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def difference(self) -> float:
        """Rate after minus rate before."""
        return (self.only_after - self.only_before) / self.total

    @computed_field  # type: ignore[prop-decorator]
    @property
    def difference_interval(self) -> tuple[float, float]:
        """The difference's 95% interval: Newcombe's hybrid score for paired rates (1998, method 10)."""
        (low_1, high_1), (low_2, high_2) = self.after.interval, self.before.interval
        p_1, p_2, phi = self.after.rate, self.before.rate, self._correlation()

        def half(a: float, b: float) -> float:
            return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))

        below, above = half(p_1 - low_1, high_2 - p_2), half(high_1 - p_1, p_2 - low_2)
        return max(-1.0, self.difference - below), min(1.0, self.difference + above)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def p_value(self) -> float:
        """McNemar's exact test, two-sided: how likely so uneven a change is by chance alone."""
        return _binomial_test(self.only_before, self.only_after)

    @property
    def improved(self) -> bool:
        """Whether the accuracy measurably rose."""
        return self.only_after > self.only_before and self.p_value < SIGNIFICANCE

    @property
    def worsened(self) -> bool:
        """Whether the accuracy measurably fell."""
        return self.only_before > self.only_after and self.p_value < SIGNIFICANCE

    def _correlation(self) -> float:
        """Return phi, with Newcombe's continuity correction where it is positive."""
        right_1, right_2 = self.both + self.only_after, self.both + self.only_before
        margins = right_1 * (self.total - right_1) * right_2 * (self.total - right_2)
        if not margins:
            return 0.0
        excess = float(self.both * self.neither - self.only_before * self.only_after)
        if excess > 0:
            excess = max(0.0, excess - self.total / 2)
        return excess / math.sqrt(margins)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values corrected for their number, in their own order.

    Holm 1979, https://www.jstor.org/stable/4615733: calling those below 5% real is wrong about any of them at
    most 5% of the time.

    Args:
        p_values: Each in [0, 1]; none gives none.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, floor = [0.0] * len(p_values), 0.0
    for rank, position in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = floor
    return tuple(adjusted)


def _binomial_test(first: int, second: int) -> float:
    """Return the two-sided exact p-value of a fair coin that fell ``first`` and ``second`` times."""
    smaller, total = min(first, second), first + second
    if 2 * smaller >= total - 1:
        return 1.0
    if total > _MOST_EXACT:
        return math.erfc((total - 2 * smaller - 1) / math.sqrt(2 * total))
    logarithm = math.lgamma(total + 1) - math.lgamma(smaller + 1) - math.lgamma(total - smaller + 1)
    term = math.exp(logarithm - total * math.log(2))
    tail = 0.0
    for count in range(smaller, -1, -1):  # the terms fall: most of the tail lies next to the count
        tail += term
        if term <= tail * 1e-17:
            break
        term *= count / (total - count + 1)
    return min(1.0, 2 * tail)
