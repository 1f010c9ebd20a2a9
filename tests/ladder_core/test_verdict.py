"""The verdict says what the numbers say, no more."""

from typing import Literal

import pytest

from ladder_core.verdict import judge
from ladder_schema.report import Accuracy, AttackResult


def accuracy(rate: float, total: int = 10_000) -> Accuracy:
    return Accuracy(correct=round(rate * total), total=total)


def result(
    before: float,
    after: float,
    attack: Literal["fgsm", "pgd", "ladder"] = "pgd",
    setting: Literal["white_box", "transfer"] = "white_box",
    total: int = 10_000,
) -> AttackResult:
    return AttackResult(
        attack=attack,
        setting=setting,
        parameters={},
        before=accuracy(before, total),
        after=accuracy(after, total),
    )


def ladder(before: float = 0.6, after: float = 0.86) -> AttackResult:
    return result(before, after, "ladder", "transfer")


def judged(clean_before: float, clean_after: float, *attacks: AttackResult) -> str:
    return judge(accuracy(clean_before), accuracy(clean_after), attacks).recommendation


@pytest.mark.parametrize(
    ("clean_after", "attacks"),
    [
        pytest.param(0.989, [result(0.12, 0.7), ladder()], id="white-box robustness gained"),
        pytest.param(0.991, [result(0.4, 0.6), result(0.5, 0.7, "fgsm")], id="clean accuracy rose"),
    ],
)
def test_real_robustness_may_be_deployed(clean_after: float, attacks: list[AttackResult]) -> None:
    assert judged(0.99, clean_after, *attacks) == "deploy"


@pytest.mark.parametrize(
    ("clean_before", "clean_after", "attacks"),
    [
        pytest.param(0.99, 0.99, [result(0.12, 0.12), ladder()], id="white-box unchanged"),
        pytest.param(0.99, 0.99, [result(0.0, 0.105), ladder()], id="white-box gained next to nothing"),
        pytest.param(0.999, 0.9895, [result(0.1, 0.7)], id="clean accuracy measurably fell"),
        pytest.param(0.99, 0.97, [result(0.1, 0.7)], id="clean accuracy fell two points"),
        pytest.param(
            0.99, 0.99, [result(0.1, 0.7), result(0.5, 0.3, "fgsm", "transfer")], id="one got easier"
        ),
        pytest.param(
            0.99, 0.99, [result(0.1, 0.7), result(0.54, 0.5395, "fgsm", "transfer")], id="one may have"
        ),
    ],
)
def test_mixed_results_ask_for_care(clean_before: float, clean_after: float, attacks: list) -> None:
    assert judged(clean_before, clean_after, *attacks) == "deploy_with_care"


@pytest.mark.parametrize(
    ("clean_after", "attacks"),
    [
        pytest.param(0.99, [result(0.5, 0.501)], id="nothing gained for certain"),
        pytest.param(0.75, [result(0.0, 0.0), ladder()], id="clean accuracy paid for replayed examples"),
        pytest.param(0.92, [result(0.1, 0.8)], id="clean accuracy fell too far"),
        pytest.param(0.99, [result(0.4, 0.12), ladder()], id="white-box lost"),
    ],
)
def test_bad_bargains_are_not_to_be_deployed(clean_after: float, attacks: list[AttackResult]) -> None:
    assert judged(0.99, clean_after, *attacks) == "do_not_deploy"


def test_the_verdict_names_what_changed() -> None:
    attacks = [result(0.2, 0.7), result(0.5, 0.3, "fgsm", "transfer"), ladder()]
    verdict = judge(accuracy(0.99), accuracy(0.97), attacks)
    assert verdict.better == (
        "White-box PGD: 20.0% correct before, 70.0% after.",
        "Transferred LADDER examples: 60.0% correct before, 86.0% after.",
    )
    assert verdict.worse == (
        "Transferred FGSM: 50.0% correct before, 30.0% after.",
        "Clean accuracy: 99.0% before, 97.0% after.",
    )


def test_a_white_box_attack_that_still_wins_is_said() -> None:
    verdict = judge(accuracy(0.99), accuracy(0.99), [result(0.0, 0.0), ladder()])
    assert "leaves 0.0% of images classified correctly (0.0% before)" in verdict.limits[0]
    assert "do not adapt" in verdict.limits[1]


def test_a_gain_needs_enough_samples() -> None:
    few = judge(accuracy(0.99), accuracy(0.99), [result(0.5, 0.7, total=20)])
    assert few.recommendation == "do_not_deploy"
    assert "may be chance: white-box PGD 50.0% to 70.0%" in few.limits[-1]
    assert judged(0.99, 0.99, result(0.5, 0.7, total=2000)) == "deploy"
