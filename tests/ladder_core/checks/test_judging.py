"""Judgements from values alone: what passes, what is flagged, and what is said."""

from dataclasses import replace

import pytest

from ladder_core.checks.judging import (
    judge_determinism,
    judge_losses,
    judge_non_finite,
    judge_one_step,
    judge_square,
    judge_unbounded,
    judge_zero_gradients,
)
from ladder_core.checks.statistics import Contest
from ladder_core.checks.values import Gradients, LossCurve, Repeats, Unbounded
from ladder_schema.report import Check, CurvePoint, EpsilonCurve, Paired

SOUND = Gradients(images=120, zero_loss=0, zero_margin=0, non_finite=0, median_margin=6.0, output="logits")
RISING = LossCurve(
    images=120,
    steps=(0, 1, 5, 20),
    losses=(0.1, 0.5, 2.0, 3.0),
    rose=(118, 117, 70),
    fell=(2, 3, 50),
    ended_higher=119,
)


def evidence(check: Check) -> dict[str, float | int | str]:
    return {item.name: item.value for item in check.evidence}


@pytest.mark.parametrize(
    ("zero_loss", "zero_margin", "status"),
    [(0, 0, "pass"), (3, 3, "pass"), (8, 8, "warn"), (8, 0, "warn"), (30, 0, "fail"), (120, 120, "fail")],
)
def test_how_many_zero_gradients_matter(zero_loss: int, zero_margin: int, status: str) -> None:
    check = judge_zero_gradients("hardened", replace(SOUND, zero_loss=zero_loss, zero_margin=zero_margin))
    assert check.status == status
    assert (check.remedy is None) == (status == "pass")
    assert evidence(check)["zero gradient of the loss"] == zero_loss


@pytest.mark.parametrize(
    ("zero_margin", "output", "words"),
    [
        (0, "logits", "logits have one"),
        (0, "log_probabilities", "logits have one"),
        (100, "log_probabilities", "returns log-probabilities"),
        (100, "probabilities", "returns probabilities"),
        (100, "logits", "rounding"),
    ],
)
def test_where_the_gradient_is_lost_is_said(zero_margin: int, output, words: str) -> None:
    probe = replace(SOUND, zero_loss=100, zero_margin=zero_margin, output=output)
    assert words in judge_zero_gradients("original", probe).finding


@pytest.mark.parametrize(("count", "status"), [(0, "pass"), (1, "warn"), (6, "fail"), (120, "fail")])
def test_a_single_gradient_that_is_no_number_is_worth_a_warning(count: int, status: str) -> None:
    assert judge_non_finite("hardened", replace(SOUND, non_finite=count)).status == status


@pytest.mark.parametrize("judge", [judge_zero_gradients, judge_non_finite, judge_losses, judge_unbounded])
def test_nothing_to_ask_about_is_not_run(judge) -> None:
    check = judge("original", None)
    assert (check.status, check.remedy) == ("not_run", None)


@pytest.mark.parametrize(
    ("probe", "status"),
    [
        (Repeats(64, 0.0, 0, 0.0, 0), "pass"),
        (Repeats(64, 3e-6, 0, 4e-5, 0), "pass"),
        (Repeats(64, 2e-3, 0, 0.0, 0), "fail"),
        (Repeats(64, 3e-6, 1, 3e-6, 0), "fail"),
        (Repeats(64, 0.0, 0, 2e-3, 0), "fail"),
    ],
)
def test_rounding_is_no_randomness(probe: Repeats, status: str) -> None:
    assert judge_determinism("hardened", probe).status == status


@pytest.mark.parametrize(
    ("held", "chance", "status"), [(0, 0.1, "pass"), (2, 0.1, "pass"), (8, 0.1, "warn"), (60, 0.1, "fail")]
)
def test_nothing_may_hold_without_a_bound(held: int, chance: float, status: str) -> None:
    assert judge_unbounded("hardened", Unbounded(128, held, chance)).status == status


def curve(*robust: int) -> EpsilonCurve:
    """Robust images of the hardened model out of 500 at growing radii; the original falls at once."""
    points = [
        CurvePoint(
            epsilon=0.1 * number, outcome=Paired(both=0, only_before=0, only_after=count, neither=500 - count)
        )
        for number, count in enumerate(robust)
    ]
    return EpsilonCurve(attack="pgd", norm="linf", parameters={}, points=tuple(points))


@pytest.mark.parametrize(
    ("robust", "status"),
    [
        ((490, 400, 200, 60, 10, 0), "pass"),
        ((490, 400, 401, 60, 10, 0), "pass"),  # one image more is chance
        ((490, 400, 200, 330, 10, 0), "warn"),
    ],
)
def test_a_larger_radius_never_protects(robust: tuple[int, ...], status: str) -> None:
    free = Unbounded(128, 0, 0.1)
    assert judge_unbounded("hardened", free, [curve(*robust)]).status == status
    assert judge_unbounded("original", free, [curve(*robust)]).status == "pass"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "pass"),
        ({"losses": (0.1, 0.5, 2.0, 1.95), "rose": (118, 117, 20), "fell": (2, 3, 99)}, "pass"),  # a plateau
        ({"losses": (0.1, 2.5, 0.9, 1.1), "rose": (118, 20, 70), "fell": (2, 99, 50)}, "warn"),
        (
            {"losses": (0.1, 2.5, 1.9, 2.6), "rose": (118, 60, 70), "fell": (2, 60, 50)},
            "pass",
        ),  # a few images
        ({"ended_higher": 60}, "fail"),
        ({"ended_higher": 0, "rose": (0, 0, 0), "fell": (0, 0, 0), "losses": (0.1, 0.1, 0.1, 0.1)}, "fail"),
    ],
)
def test_the_loss_has_to_rise(changes, status: str) -> None:
    assert judge_losses("hardened", replace(RISING, **changes)).status == status


@pytest.mark.parametrize("judge", [judge_one_step, judge_square])
def test_the_worst_contest_decides(judge) -> None:
    even = Contest("FGSM", "PGD", 200, 1, 40)
    adding = Contest("Square", "APGD", 200, 12, 30)
    winning = Contest("Transfer", "APGD", 200, 60, 3)
    assert judge("hardened", []).status == "not_run"
    assert judge("hardened", [Contest("FGSM", "PGD", 0, 0, 0)]).status == "not_run"
    assert judge("hardened", [even]).status == "pass"
    warned = judge("hardened", [even, adding])
    assert (warned.status, warned.finding[:6]) == ("warn", "Square")
    failed = judge("hardened", [even, adding, winning])
    assert (failed.status, failed.finding[:8]) == ("fail", "Transfer")
    assert [e.value for e in failed.evidence] == [1, 40, 12, 30, 60, 3]
    assert failed.evidence[2].name == "broken by Square only, not by APGD"
