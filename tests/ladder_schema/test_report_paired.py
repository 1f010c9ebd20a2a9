"""A change before and after hardening: how sure it is, against published figures and independent oracles."""

import itertools
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import binomtest

from ladder_schema.report import AttackResult, Paired

counts = st.integers(0, 5_000)
tables = st.tuples(counts, counts, counts, counts).filter(any)


def paired(both: int, only_before: int, only_after: int, neither: int) -> Paired:
    return Paired(both=both, only_before=only_before, only_after=only_after, neither=neither)


@pytest.mark.parametrize("table", [(0, 0, 0, 0), (-1, 1, 1, 1), (1, 1, 1, 2**54)])
def test_impossible_counts_are_refused(table: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValidationError):
        paired(*table)


def test_the_margins_are_the_models_accuracies() -> None:
    change = paired(50, 7, 13, 30)

    assert (change.before.correct, change.after.correct, change.total) == (57, 63, 100)
    assert change.difference == pytest.approx(0.06)


@settings(deadline=None)
@given(st.integers(0, 3_000), st.integers(0, 3_000), counts)
def test_the_p_value_is_mcnemars_exact(only_before: int, only_after: int, both: int) -> None:
    discordant = only_before + only_after
    expected = binomtest(only_before, discordant).pvalue if discordant else 1.0

    found = paired(both, only_before, only_after, 1).p_value

    assert found == pytest.approx(expected, rel=1e-9, abs=1e-200)


@pytest.mark.parametrize(
    ("only_before", "only_after"), [(0, 900_000), (499_000, 501_000), (9_990_000, 10_003_000)]
)
def test_the_p_value_holds_at_large_counts(only_before: int, only_after: int) -> None:
    expected = binomtest(only_before, only_before + only_after).pvalue

    assert paired(0, only_before, only_after, 0).p_value == pytest.approx(expected, rel=1e-4, abs=1e-300)


def test_the_largest_counts_take_no_time() -> None:
    began = time.process_time()

    assert paired(0, 2**51, 2**51 + 3, 0).p_value == pytest.approx(1.0, abs=1e-6)
    assert paired(0, 2**51, 2**51 + 2**28, 0).p_value < 1e-3
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("table", "improved", "worsened"),
    [
        ((10, 0, 6, 0), True, False),  # p = 0.03125
        ((10, 0, 5, 0), False, False),  # p = 0.0625
        ((10, 6, 0, 0), False, True),
        ((10, 40, 40, 0), False, False),
    ],
)
def test_a_change_counts_where_chance_is_unlikely(
    table: tuple[int, int, int, int], improved: bool, worsened: bool
) -> None:
    change = paired(*table)

    assert (change.improved, change.worsened) == (improved, worsened)


@pytest.mark.parametrize(
    ("table", "published"),
    [
        ((36, 12, 2, 0), (0.0569, 0.3404)), ((20, 12, 2, 16), (0.0562, 0.3292)),
        ((18, 12, 2, 18), (0.0562, 0.3290)), ((36, 14, 0, 0), (0.1528, 0.4167)),
        ((35, 14, 0, 1), (0.1461, 0.4175)), ((18, 14, 0, 18), (0.1441, 0.3963)),
        ((2, 97, 1, 0), (0.8721, 0.9854)), ((1, 97, 1, 1), (0.8736, 0.9850)),
        ((0, 29, 1, 0), (0.6666, 0.9882)), ((2, 98, 0, 0), (0.9178, 0.9945)),
        ((1, 98, 0, 1), (0.9171, 0.9916)), ((0, 30, 0, 0), (0.8395, 1.0000)),
        ((54, 0, 0, 0), (-0.0664, 0.0664)), ((53, 0, 0, 1), (-0.0729, 0.0729)),
        ((30, 0, 0, 24), (-0.0358, 0.0358)), ((29, 0, 0, 25), (-0.0354, 0.0354)),
        ((28, 0, 0, 26), (-0.0352, 0.0352)), ((27, 0, 0, 27), (-0.0351, 0.0351)),
    ],
)  # fmt: skip
def test_the_interval_is_newcombes_as_published(
    table: tuple[int, int, int, int], published: tuple[float, float]
) -> None:
    """Newcombe 1998, Table III, method 10: Statistics in Medicine 17, 2635-2650.

    There the first row of a pair is the one whose accuracy is higher: here, after hardening.
    """
    both, only_after, only_before, neither = table

    interval = paired(both, only_before, only_after, neither).difference_interval

    assert interval == pytest.approx(published, abs=1e-4)


@settings(deadline=None)
@given(tables)
def test_the_interval_holds_the_difference(table: tuple[int, int, int, int]) -> None:
    change = paired(*table)
    low, high = change.difference_interval

    assert -1 <= low <= change.difference <= high <= 1


@settings(deadline=None)
@given(tables)
def test_turning_before_and_after_round_turns_the_interval_round(table: tuple[int, int, int, int]) -> None:
    both, only_before, only_after, neither = table
    low, high = paired(*table).difference_interval

    turned = paired(both, only_after, only_before, neither)

    assert turned.difference_interval == pytest.approx((-high, -low), abs=1e-12)
    assert turned.p_value == pytest.approx(paired(*table).p_value, rel=1e-12)


@pytest.mark.parametrize("shares", [(0.5, 0.1, 0.2, 0.2), (0.85, 0.05, 0.05, 0.05), (0.3, 0.3, 0.05, 0.35)])
def test_the_interval_covers_the_truth_19_times_out_of_20(shares: tuple[float, ...]) -> None:
    """Exactly: over every table of 30 samples, weighted by how likely it is."""
    total, truth, covered = 30, shares[2] - shares[1], 0.0
    for first, second, third in itertools.product(range(total + 1), repeat=3):
        table = (first, second, third, total - first - second - third)
        if table[3] < 0:
            continue
        low, high = paired(*table).difference_interval
        if low <= truth <= high:
            terms = (c * math.log(s) - math.lgamma(c + 1) for c, s in zip(table, shares, strict=True))
            covered += math.exp(math.lgamma(total + 1) + sum(terms))

    assert 0.93 <= covered <= 0.995


def attack_result(outcome: Paired, attacked_before: int, attacked_after: int) -> AttackResult:
    return AttackResult(
        attack="pgd",
        setting="white_box",
        parameters={"epsilon": 0.1},
        outcome=outcome,
        attacked_before=attacked_before,
        attacked_after=attacked_after,
    )


@settings(deadline=None)
@given(tables, st.data())
def test_what_an_attack_broke_adds_up(table: tuple[int, int, int, int], data: st.DataObject) -> None:
    outcome = paired(*table)
    before = data.draw(st.integers(outcome.before.correct, outcome.total))
    after = data.draw(st.integers(outcome.after.correct, outcome.total))

    result = attack_result(outcome, before, after)

    assert result.broken_before + outcome.before.correct == before
    assert result.broken_after + outcome.after.correct == after


@pytest.mark.parametrize(
    ("before", "after"),
    [(11, 16), (21, 16), (12, 14), (12, 21)],  # of 20 samples, 12 hold before and 15 after
)
def test_an_attack_cannot_break_what_it_did_not_attack(before: int, after: int) -> None:
    outcome = paired(10, 2, 5, 3)
    attack_result(outcome, 12, 15)

    with pytest.raises(ValidationError, match="attacked images hold"):
        attack_result(outcome, before, after)
