"""The verdict says what the numbers say, no more."""

from typing import Literal

from ladder_core.verdict import apart, judge
from ladder_schema.report import Accuracy, AttackResult


def accuracy(rate: float, total: int = 1000) -> Accuracy:
    return Accuracy(correct=round(rate * total), total=total)


def result(
    before: float,
    after: float,
    attack: Literal["fgsm", "pgd", "ladder"] = "pgd",
    setting: Literal["white_box", "transfer"] = "white_box",
    total: int = 1000,
) -> AttackResult:
    return AttackResult(
        attack=attack,
        setting=setting,
        parameters={},
        before=accuracy(before, total),
        after=accuracy(after, total),
    )


def test_everything_better_may_be_deployed() -> None:
    verdict = judge(
        accuracy(0.99), accuracy(0.988), [result(0.2, 0.7), result(0.6, 0.9, "ladder", "transfer")]
    )
    assert verdict.recommendation == "deploy"
    assert verdict.better[0] == "White-box PGD: 20.0% correct before, 70.0% after."
    assert not verdict.worse
    assert not verdict.limits


def test_a_white_box_attack_that_still_wins_is_said() -> None:
    verdict = judge(
        accuracy(0.99), accuracy(0.99), [result(0.0, 0.0), result(0.6, 0.9, "ladder", "transfer")]
    )
    assert verdict.recommendation == "deploy_with_care"
    assert "does not stop white-box PGD: 0.0%" in verdict.limits[0]


def test_an_attack_that_got_easier_is_said() -> None:
    verdict = judge(accuracy(0.99), accuracy(0.99), [result(0.5, 0.3, "fgsm"), result(0.2, 0.6)])
    assert verdict.recommendation == "deploy_with_care"
    assert verdict.worse == ("White-box FGSM: 50.0% correct before, 30.0% after.",)


def test_no_gain_is_not_to_be_deployed() -> None:
    verdict = judge(accuracy(0.99), accuracy(0.99), [result(0.5, 0.51)])
    assert verdict.recommendation == "do_not_deploy"
    assert "Within chance" in verdict.limits[-1]


def test_robustness_is_not_bought_with_more_accuracy_than_it_gains() -> None:
    verdict = judge(accuracy(0.99), accuracy(0.6), [result(0.2, 0.4)])
    assert verdict.recommendation == "do_not_deploy"
    assert "Clean accuracy: 99.0% before, 60.0% after." in verdict.worse


def test_a_loss_within_chance_asks_for_care() -> None:
    verdict = judge(
        accuracy(0.99), accuracy(0.99), [result(0.54, 0.52), result(0.3, 0.7, "ladder", "transfer")]
    )
    assert verdict.recommendation == "deploy_with_care"
    assert "white-box PGD 54.0% to 52.0%" in verdict.limits[0]


def test_a_gain_needs_enough_samples() -> None:
    assert not apart(accuracy(0.5, 20), accuracy(0.7, 20))
    assert apart(accuracy(0.5, 2000), accuracy(0.7, 2000))
