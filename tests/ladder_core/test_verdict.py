"""The verdict says what the numbers say, no more."""

from typing import Any

import pytest

from ladder_core.verdict import judge
from ladder_schema.report import (
    MASKING,
    AttackResult,
    AutoAttackSummary,
    Check,
    CheckName,
    CorruptionResult,
    Measurements,
    Paired,
    Setting,
    Status,
    Verdict,
)


def paired(before: float, after: float, total: int = 10_000) -> Paired:
    """As much overlap as there can be: whatever the worse model is right about, the better one is, too."""
    first, second = round(before * total), round(after * total)
    both = min(first, second)
    return Paired(
        both=both, only_before=first - both, only_after=second - both, neither=total - max(first, second)
    )


def result(
    before: float,
    after: float,
    attack: str = "pgd",
    setting: Setting = "white_box",
    total: int = 10_000,
    **changes: Any,
) -> AttackResult:
    values = {"attack": attack, "setting": setting, "parameters": {}, "outcome": paired(before, after, total)}
    return AttackResult.model_validate(
        {**values, "attacked_before": total, "attacked_after": total, **changes}
    )


def ladder(before: float = 0.6, after: float = 0.86) -> AttackResult:
    return result(before, after, "ladder", "fixed", trained_on=True)


def check(name: CheckName, status: Status = "fail", of: str = "hardened") -> Check:
    return Check(name=name, of=of, status=status, finding=f"Found {name}.", remedy="Do this.")


def judged(
    clean_before: float, clean_after: float, *attacks: AttackResult, checks: tuple[Check, ...] = (), **more
) -> Verdict:
    """The worst case is the weakest white-box result of either model, if not given."""
    white_box = [each.outcome for each in attacks if each.setting == "white_box"]
    worst = paired(
        min(outcome.before.rate for outcome in white_box),
        min(outcome.after.rate for outcome in white_box),
        white_box[0].total,
    )
    measured = Measurements(
        **{"clean": paired(clean_before, clean_after), "attacks": attacks, "worst_case": worst, **more}
    )
    return judge(measured, checks)


@pytest.mark.parametrize(
    ("clean_after", "attacks"),
    [
        pytest.param(0.99, [result(0.12, 0.7), ladder()], id="white-box robustness gained"),
        pytest.param(0.991, [result(0.4, 0.6), result(0.5, 0.7, "fgsm")], id="clean accuracy rose"),
        pytest.param(
            0.99, [result(0.1, 0.7), result(0.54, 0.5398, "fgsm", "transfer")], id="one changed by chance"
        ),
    ],
)
def test_real_robustness_may_be_deployed(clean_after: float, attacks: list[AttackResult]) -> None:
    assert judged(0.99, clean_after, *attacks).recommendation == "deploy"


@pytest.mark.parametrize(
    ("clean_before", "clean_after", "attacks"),
    [
        pytest.param(
            0.99,
            0.99,
            [
                result(0.0, 0.0),
                result(0.3, 0.6, "fgsm", "surrogate", parameters={"surrogate accuracy": 0.98}),
            ],
            id="harder to fool for those who do not know the model",
        ),
        pytest.param(0.99, 0.99, [result(0.0, 0.105), ladder()], id="white-box gained next to nothing"),
        pytest.param(0.999, 0.9895, [result(0.1, 0.7)], id="clean accuracy measurably fell"),
        pytest.param(0.99, 0.97, [result(0.1, 0.7)], id="clean accuracy fell two points"),
        pytest.param(
            0.99, 0.99, [result(0.1, 0.7), result(0.5, 0.3, "fgsm", "transfer")], id="one got easier"
        ),
    ],
)
def test_mixed_results_ask_for_care(clean_before: float, clean_after: float, attacks: list) -> None:
    assert judged(clean_before, clean_after, *attacks).recommendation == "deploy_with_care"


@pytest.mark.parametrize(
    ("clean_after", "attacks"),
    [
        pytest.param(0.99, [result(0.5, 0.5004)], id="nothing gained for certain"),
        pytest.param(0.99, [result(0.12, 0.12), ladder()], id="white-box unchanged"),
        pytest.param(
            0.99,
            [
                result(0.0, 0.0),
                result(
                    0.3, 0.6, "pgd", "surrogate", parameters={"surrogate accuracy": 0.98}, trained_on=True
                ),
            ],
            id="a surrogate's examples of the attack trained on",
        ),
        pytest.param(
            0.99,
            [result(0.0, 0.0), result(0.3, 0.6, "fgsm", "surrogate", parameters={"surrogate accuracy": 0.2})],
            id="a surrogate that learned nothing",
        ),
        pytest.param(0.75, [result(0.0, 0.0), ladder()], id="clean accuracy paid for replayed examples"),
        pytest.param(0.92, [result(0.1, 0.8)], id="clean accuracy fell too far"),
        pytest.param(0.99, [result(0.4, 0.12), ladder()], id="white-box lost"),
    ],
)
def test_bad_bargains_are_not_to_be_deployed(clean_after: float, attacks: list[AttackResult]) -> None:
    assert judged(0.99, clean_after, *attacks).recommendation == "do_not_deploy"


@pytest.mark.parametrize("name", sorted(MASKING))
def test_a_model_that_misleads_attacks_is_never_to_be_deployed(name: CheckName) -> None:
    good = result(0.12, 0.7), ladder()
    verdict = judged(0.99, 0.99, *good, checks=(check(name),))
    assert verdict.recommendation == "do_not_deploy"
    assert name.replace("_", " ") in verdict.headline
    assert verdict.limits[0] == f"Found {name}. Do this."
    warned = judged(0.99, 0.99, *good, checks=(check(name, "warn"),))
    assert warned.recommendation == "deploy_with_care"
    assert "doubt" in warned.headline
    assert warned.limits[0] == f"Found {name}. Do this."
    for harmless in (check(name, "pass"), check(name, of="original"), check(name, "warn", of="original")):
        assert judged(0.99, 0.99, *good, checks=(harmless,)).recommendation == "deploy"


def test_doubtful_data_ask_for_care() -> None:
    verdict = judged(0.99, 0.99, result(0.12, 0.7), checks=(check("validation_in_training", of="data"),))
    assert verdict.recommendation == "deploy_with_care"
    assert verdict.limits[0] == "Found validation_in_training. Do this."


def test_what_falls_image_by_image_is_not_robust() -> None:
    """Each attack alone is withstood, all together are not."""
    attacks = result(0.1, 0.7), result(0.1, 0.7, "fgsm")
    verdict = judged(0.99, 0.99, *attacks, worst_case=paired(0.1, 0.4))
    assert verdict.recommendation == "deploy_with_care"
    assert "leaves 40.0% of 10000 images" in verdict.limits[0]


def test_autoattack_that_wins_more_often_is_a_loss() -> None:
    summary = AutoAttackSummary(
        version="standard", norm="linf", epsilon=0.1, outcome=paired(0.4, 0.2, 500), components=()
    )
    verdict = judged(0.99, 0.99, result(0.1, 0.7), autoattack=summary)
    assert verdict.recommendation == "do_not_deploy"
    assert verdict.worse[0].startswith("AutoAttack: 40.0% of 500 images right before, 20.0% after")
    assert not any("AutoAttack, the usual" in limit for limit in verdict.limits)


def test_robustness_must_not_cost_that_to_noise() -> None:
    corrupted = CorruptionResult(corruption="gaussian noise", severity=3, outcome=paired(0.8, 0.6, 500))
    verdict = judged(0.99, 0.99, result(0.1, 0.7), corruptions=(corrupted,))
    assert verdict.recommendation == "deploy_with_care"
    assert verdict.worse == ("Common corruptions: accuracy measurably fell under gaussian noise 3.",)


def test_the_verdict_names_what_changed() -> None:
    attacks = [result(0.2, 0.7), result(0.5, 0.3, "fgsm", "transfer"), ladder()]
    verdict = judged(0.99, 0.97, *attacks)
    worst, white_box, fixed = verdict.better
    rates = "20.0% of 10000 images right before, 70.0% after (49.0 to 51.0 points more, 19 times out of 20)."
    assert worst == f"The worst of all white-box attacks, image by image: {rates}"
    assert white_box == f"White-box PGD: {rates}"
    assert fixed.startswith("LADDER examples (on examples of the attack it was trained on, no sign that")
    assert "stopped): 60.0% of 10000 images right before, 86.0% after (25.1 to 26.9" in fixed
    assert verdict.worse[0].startswith("FGSM made against the original: 50.0% of 10000 images right before")
    assert "points fewer" in verdict.worse[0]
    assert verdict.worse[1].startswith("Images as they are: 99.0% of 10000 images right before, 97.0% after")


def test_a_white_box_attack_that_still_wins_is_said() -> None:
    verdict = judged(0.99, 0.99, result(0.0, 0.0), ladder())
    assert verdict.recommendation == "do_not_deploy"
    assert "attackers are not stopped: white-box attacks leave 0.0% of 10000 images" in verdict.headline
    assert len(verdict.better) == 1
    assert "leaves 0.0% of 10000 images classified correctly (0.0% before)" in verdict.limits[0]
    assert "AutoAttack, the usual yardstick, was not run" in verdict.limits[1]
    assert "do not adapt" in verdict.limits[-1]


def test_a_gain_needs_enough_samples() -> None:
    few = judged(0.99, 0.99, result(0.5, 0.7, total=20))
    assert few.recommendation == "do_not_deploy"
    assert few.limits[-1] == "No measurable change: white-box PGD."
    assert judged(0.99, 0.99, result(0.5, 0.7, total=2000)).recommendation == "deploy"


def test_one_of_many_attacks_that_seems_weaker_is_no_gain() -> None:
    """Six images more of 1,000 are below 5% alone (p = 0.03), not among seven attacks."""
    names = ["pgd", "fgsm", "di_fgsm", "cw", "deepfool", "jsma"]
    attacks = [result(0.1, 0.1, name, total=1000) for name in names]
    seems = result(0.1, 0.106, "square", total=1000)
    assert seems.outcome.improved
    assert judged(0.99, 0.99, *attacks, seems).better == ()
    assert judged(0.99, 0.99, attacks[0], result(0.1, 0.13, "square", total=1000)).better != ()


def test_where_white_box_attackers_win_the_headline_says_not_to_deploy_against_them() -> None:
    """Replayed examples of a sound surrogate do less; PGD on the model itself breaks every image."""
    black_box = result(0.3, 0.6, "fgsm", "surrogate", parameters={"surrogate accuracy": 0.98})
    verdict = judged(0.99, 0.99, result(0.0, 0.0), black_box, ladder())
    assert verdict.recommendation == "deploy_with_care"
    assert "do not deploy against white-box attackers" in verdict.headline
    assert "leave 0.0% of 10000 images" in verdict.headline


def test_a_gain_of_the_worst_case_counts_alone() -> None:
    """No single attack weakened for certain, all together did: the primary endpoint decides."""
    attacks = [result(0.7, 0.7, name, total=1000) for name in ("pgd", "fgsm", "di_fgsm")]
    gained = judged(0.99, 0.99, *attacks, worst_case=paired(0.6, 0.606, 1000))
    assert gained.recommendation == "deploy"
    assert [line[:9] for line in gained.better] == ["The worst"]


def test_one_step_alone_is_not_enough_to_deploy() -> None:
    verdict = judged(0.99, 0.99, result(0.1, 0.8, "fgsm"))
    assert verdict.recommendation == "deploy_with_care"
    assert "no attack of many steps was run" in verdict.headline
    assert any("fall to several" in limit for limit in verdict.limits)
    summary = AutoAttackSummary(
        version="standard", norm="linf", epsilon=0.1, outcome=paired(0.1, 0.7, 500), components=()
    )
    assert judged(0.99, 0.99, result(0.1, 0.8, "fgsm"), autoattack=summary).recommendation == "deploy"


def test_only_a_few_of_what_did_not_change_are_named() -> None:
    names = ["pgd", "fgsm", "di_fgsm", "square", "apgd_ce", "apgd_t"]
    verdict = judged(0.99, 0.99, *(result(0.5, 0.501, name, total=1000) for name in names))
    assert verdict.limits[-1] == (
        "No measurable change: white-box PGD, white-box FGSM, white-box DI-FGSM, white-box Square "
        "and 2 others."
    )


def test_the_attack_trained_on_shows_a_gain_where_it_adapts_to_the_hardened_model() -> None:
    """PGD training is judged by PGD against the hardened model itself, not by what it was trained on."""
    attacks = (result(0.1, 0.7, "pgd", trained_on=True), result(0.2, 0.75, "fgsm"))
    adaptive = judged(0.98, 0.98, *attacks)
    assert any(line.startswith("White-box PGD: 10.0%") for line in adaptive.better), adaptive.better
    assert not any("trained on" in line for line in adaptive.better)
