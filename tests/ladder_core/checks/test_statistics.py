"""Exact tests against SciPy's, and the least favourable pairing against all pairings."""

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from ladder_core.checks.statistics import LEVEL, Contest, exceeds


@given(total=st.integers(1, 300), share=st.floats(0.001, 0.999), data=st.data())
def test_exceeds_is_the_one_sided_binomial_test(total: int, share: float, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, total))
    p_value = binomtest(count, total, share, alternative="greater").pvalue
    if abs(p_value - LEVEL) > 1e-9:
        assert exceeds(count, total, share) == (p_value < LEVEL)


def test_nothing_exceeds_without_samples() -> None:
    assert not exceeds(0, 0, 0.5)


@given(images=st.integers(1, 60), data=st.data())
def test_the_least_favourable_pairing_is_least_significant(images: int, data: st.DataObject) -> None:
    challenger, reference = (data.draw(st.integers(0, images)) for _ in range(2))
    contest = Contest.least_favourable(
        "a", "b", images=images, broken_by_challenger=challenger, broken_by_reference=reference
    )
    assert contest.excess == pytest.approx((challenger - reference) / images)
    possible = range(max(0, challenger + reference - images), min(challenger, reference) + 1)
    every = [Contest("a", "b", images, challenger - both, reference - both) for both in possible]
    assert contest.only_challenger in {each.only_challenger for each in every}
    if challenger > reference:
        assert mcnemar(contest) == pytest.approx(max(map(mcnemar, every)))
    assert contest.challenger_wins <= all(each.challenger_wins for each in every)
    assert not contest.challenger_adds


def mcnemar(contest: Contest) -> float:
    """Return how likely a fair coin falls so often for the challenger, where the attacks differ."""
    total = contest.only_challenger + contest.only_reference
    return sum(comb(total, count) for count in range(contest.only_challenger, total + 1)) / 2**total


@pytest.mark.parametrize(
    ("alone", "wins", "adds"),
    [
        ((0, 30), False, False),
        ((4, 30), False, False),  # 2% of 200 are tolerated, and 4 are not measurably more
        ((12, 30), False, True),
        ((20, 2), True, True),
        ((5, 0), False, False),  # p = 1/32
        ((7, 0), True, False),
    ],
)
def test_winning_and_adding_are_told_apart(alone, wins, adds) -> None:
    contest = Contest("Square", "PGD", 200, *alone)
    assert (contest.challenger_wins, contest.challenger_adds) == (wins, adds)
