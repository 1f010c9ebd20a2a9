"""Which measured attacks are held against which."""

from typing import Any

from ladder_core.checks.measured import black_box_contests, one_step_contests, square_contests
from ladder_schema.config import ThreatModel
from ladder_schema.report import AttackResult, AutoAttackComponent, AutoAttackSummary, Measurements, Paired

THREAT = ThreatModel(epsilon=0.1)
CLEAN = Paired(both=480, only_before=5, only_after=5, neither=10)
IN_THREAT = {"norm": "linf", "epsilon": 0.1}


def result(attack: str, setting: str, before: int, after: int, **changes: Any) -> AttackResult:
    """An attack that leaves so many of 500 images right, of 485 attacked."""
    both = min(before, after)
    outcome = Paired(
        both=both, only_before=before - both, only_after=after - both, neither=500 - max(before, after)
    )
    values = {"attack": attack, "setting": setting, "parameters": IN_THREAT, "outcome": outcome}
    return AttackResult.model_validate({**values, "attacked_before": 485, "attacked_after": 485, **changes})


def measured(*attacks: AttackResult, **changes: Any) -> Measurements:
    return Measurements(clean=CLEAN, attacks=attacks, worst_case=CLEAN, **changes)


def test_a_transfer_is_held_against_the_strongest_gradient_attack() -> None:
    found = measured(
        result("fgsm", "white_box", 100, 300),
        result("pgd", "white_box", 20, 250),
        result("pgd", "transfer", 20, 150),
    )
    (contest,) = black_box_contests(found, "hardened", THREAT)
    assert (contest.challenger, contest.reference, contest.images) == ("PGD (transfer)", "PGD", 485)
    assert contest.excess == (250 - 150) / 485
    assert contest.challenger_wins
    # On the model they were made with, transferred examples are no black-box attack.
    assert black_box_contests(found, "original", THREAT) == []


def test_surrogates_and_square_are_black_boxes_for_both_models() -> None:
    found = measured(
        result("pgd", "white_box", 20, 250),
        result("pgd", "surrogate", 400, 420),
        result("square", "white_box", 60, 270),
    )
    for of in ("original", "hardened"):
        contests = black_box_contests(found, of, THREAT)
        assert [contest.challenger for contest in contests] == ["PGD (surrogate)", "SQUARE"]
        assert not any(contest.challenger_wins for contest in contests)


def test_other_threat_models_and_other_images_are_not_compared() -> None:
    fewer = Paired(both=50, only_before=0, only_after=0, neither=50)
    found = measured(
        result("pgd", "white_box", 20, 250),
        result("fgsm", "white_box", 0, 0, parameters={"norm": "linf", "epsilon": 0.3}),
        result("ladder", "fixed", 0, 0, parameters={"rho": 1.2}),
        result("pgd", "transfer", 0, 0, outcome=fewer, attacked_before=90, attacked_after=90),
    )
    assert one_step_contests(found, "hardened", THREAT) == []
    assert black_box_contests(found, "hardened", THREAT) == []


def test_one_step_is_held_against_many() -> None:
    found = measured(result("fgsm", "white_box", 100, 200), result("pgd", "white_box", 20, 300))
    assert one_step_contests(found, "hardened", THREAT)[0].challenger_wins
    assert not one_step_contests(found, "original", THREAT)[0].challenger_wins


def test_square_is_held_against_apgd_and_against_the_rest_of_autoattack() -> None:
    components = tuple(
        AutoAttackComponent(name=name, settings="", broken_before=before, broken_after=after)
        for name, before, after in (
            ("apgd-ce", 400, 100),
            ("apgd-t", 80, 50),
            ("fab-t", 0, 1),
            ("square", 0, 9),
        )
    )
    summary = AutoAttackSummary(
        version="standard",
        norm="linf",
        epsilon=0.1,
        outcome=Paired(both=5, only_before=0, only_after=325, neither=170),
        components=components,
    )
    found = measured(
        result("apgd_ce", "white_box", 20, 250), result("square", "white_box", 60, 270), autoattack=summary
    )
    alone, after_all = square_contests(found, "hardened", THREAT)
    assert (alone.challenger, alone.reference) == ("SQUARE", "APGD-CE")
    assert (after_all.only_challenger, after_all.only_reference, after_all.images) == (9, 151, 500)
    # 9 of 500 is measurably more than AutoAttack's own 0.2%.
    assert after_all.challenger_adds
    assert not square_contests(found, "original", THREAT)[1].challenger_adds
