"""What a report's numbers mean for somebody who has to decide: pure functions over the measured values.

White-box accuracy decides, at its worst over the attacks, image by image: an attack that does not adapt to
the hardened model can be held off without any robustness being there. Where the checks say that the model
misleads its attackers rather than withstands them, no figure decides.

A gain counts when McNemar's exact test on the same images says so at 5%, over all the attacks together
(Holm 1979): of twenty attacks one would else seem weaker by chance. Examples made against the original cannot
show a gain, since they are white-box for the original alone. A loss counts without that correction, so that
what is uncertain errs towards care.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ladder_schema.report import (
    SIGNIFICANCE,
    Accuracy,
    AttackResult,
    Check,
    Measurements,
    Paired,
    Verdict,
    holm,
)

FREE_CLEAN_DROP = 0.01
"""Clean accuracy worth losing for robustness without a second thought."""
MAX_CLEAN_DROP = 0.05
"""Clean accuracy not worth losing whatever is gained."""
ENOUGH = 0.5
"""Share of the clean accuracy that has to survive white-box attacks for a model to count as robust."""
ECE_RISE = 0.05
"""Rise of the expected calibration error worth a word."""
MASKING = frozenset(
    {
        "black_box_beats_white_box", "one_step_beats_many", "unbounded_attack_fails", "zero_gradients",
        "non_finite_gradients", "not_deterministic", "square_beats_apgd", "loss_not_monotone",
    }
)  # fmt: skip
"""Checks whose failure means that attacks were misled: the model's robust accuracy is too high."""

_NAMES = {
    "fgsm": "FGSM",
    "pgd": "PGD",
    "di_fgsm": "DI-FGSM",
    "cw": "CW",
    "deepfool": "DeepFool",
    "jsma": "JSMA",
    "apgd_ce": "APGD-CE",
    "apgd_dlr": "APGD-DLR",
    "apgd_t": "APGD-T",
    "fab_t": "FAB-T",
    "square": "Square",
    "autoattack": "AutoAttack",
    "song": "Song et al.",
    "ladder": "LADDER examples",
}
_SETTINGS = {
    "white_box": "white-box {}",
    "transfer": "{} made against the original",
    "surrogate": "{} made against another model",
    "fixed": "{}",
}
_TRANSFER_LIMIT = (
    "Examples made against the original are at their strongest on the original itself: any retrained model "
    "withstands some of them, so that is not counted as a gain."
)
_LADDER_LIMIT = (
    "LADDER examples are made on the original model, with the generator used in training; they do not adapt "
    "to the hardened model. Past the boundary some may truly show the other class: 100% is not the ideal."
)


@dataclass(frozen=True)
class _Findings:
    """What changed, and how surely."""

    measured: Measurements
    checks: Sequence[Check]

    @cached_property
    def compared(self) -> list[tuple[str, Paired]]:
        """Every attack that treats both models alike, with its outcome."""
        attacks = [result for result in self.measured.attacks if result.setting != "transfer"]
        found = [(describe(result), result.outcome) for result in attacks]
        if self.measured.autoattack is not None:
            found.append(("AutoAttack", self.measured.autoattack.outcome))
        return found

    @cached_property
    def gains(self) -> list[tuple[str, Paired]]:
        adjusted = holm([outcome.p_value for _, outcome in self.compared])
        return [
            (name, outcome)
            for (name, outcome), p_value in zip(self.compared, adjusted, strict=True)
            if p_value < SIGNIFICANCE and outcome.improved
        ]

    @cached_property
    def losses(self) -> list[tuple[str, Paired]]:
        """What got easier, examples made against the original among it: it should have got harder."""
        attacks = [result for result in self.measured.attacks if result.setting == "transfer"]
        transferred = [(describe(result), result.outcome) for result in attacks]
        return [(name, outcome) for name, outcome in (*self.compared, *transferred) if outcome.worsened]

    @cached_property
    def unsure(self) -> list[tuple[str, Paired]]:
        sure = [name for name, _ in (*self.gains, *self.losses)]
        return [(name, outcome) for name, outcome in self.compared if outcome.difference and name not in sure]

    @property
    def clean_drop(self) -> float:
        return -self.measured.clean.difference

    @property
    def costs_clean_accuracy(self) -> bool:
        return self.clean_drop > FREE_CLEAN_DROP or self.measured.clean.worsened

    @property
    def is_less_robust(self) -> bool:
        autoattack = self.measured.autoattack
        return self.measured.worst_case.worsened or (autoattack is not None and autoattack.outcome.worsened)

    @property
    def is_robust(self) -> bool:
        worst = self.measured.worst_case
        return worst.improved and worst.after.rate >= ENOUGH * self.measured.clean.after.rate

    @property
    def masking(self) -> list[Check]:
        """Failed checks of the hardened model that void its robust accuracies."""
        return [
            check
            for check in self.checks
            if check.of == "hardened" and check.status == "fail" and check.name in MASKING
        ]

    @property
    def failed(self) -> list[Check]:
        """Other failed checks that bear on the hardened model's figures."""
        return [
            check
            for check in self.checks
            if check.of != "original" and check.status == "fail" and check not in self.masking
        ]

    @cached_property
    def corruption_changes(self) -> tuple[list[str], list[str]]:
        """Corruptions, at their severity, under which accuracy measurably rose and fell."""
        results = self.measured.corruptions
        adjusted = holm([result.outcome.p_value for result in results])
        sure = [r for r, p_value in zip(results, adjusted, strict=True) if p_value < SIGNIFICANCE]
        names = [(f"{r.corruption} {r.severity}", r.outcome) for r in sure]
        return [n for n, o in names if o.improved], [n for n, o in names if o.worsened]


def judge(measured: Measurements, checks: Sequence[Check] = ()) -> Verdict:
    """Decide what to recommend.

    ``do_not_deploy``: nothing measurably improved; white-box accuracy at its worst fell measurably; clean
    accuracy fell by more than `MAX_CLEAN_DROP`; or a check says that the hardened model only misleads
    attacks. ``deploy``: white-box accuracy at its worst rose measurably, to `ENOUGH` of the clean accuracy;
    nothing got measurably worse, and no check of the hardened model or of the data failed.
    ``deploy_with_care``: anything between.

    Args:
        measured: Both models' outcomes.
        checks: Whether these can be trusted.
    """
    found = _Findings(measured, checks)
    recommendation, headline = _recommend(found)
    return Verdict.model_validate(
        {
            "recommendation": recommendation,
            "headline": headline,
            "better": tuple(_better(found)),
            "worse": tuple(_worse(found)),
            "limits": tuple(_limits(found)),
        }
    )


def percent(accuracy: Accuracy) -> str:
    """Return a rate as people read it."""
    return f"{100 * accuracy.rate:.1f}%"


def describe(result: AttackResult) -> str:
    """Name an attack and its setting."""
    return _SETTINGS[result.setting].format(_NAMES[result.attack])


def _recommend(found: _Findings) -> tuple[str, str]:
    if found.masking:
        names = ", ".join(check.name.replace("_", " ") for check in found.masking)
        return (
            "do_not_deploy",
            f"Do not deploy: the attacks were misled, and the model may break as easily as ever ({names}).",
        )
    if not found.gains:
        return "do_not_deploy", "Do not deploy: no attack was measurably weakened."
    if found.is_less_robust:
        return (
            "do_not_deploy",
            "Do not deploy: an attacker who knows the hardened model breaks it more easily.",
        )
    if found.clean_drop > MAX_CLEAN_DROP:
        return "do_not_deploy", "Do not deploy: clean accuracy fell too far."
    costs = found.costs_clean_accuracy or found.losses or found.corruption_changes[1]
    if found.is_robust and not costs and not found.failed:
        return "deploy", "More robust, also against an attacker who knows the model, at no measurable cost."
    return "deploy_with_care", "More robust in part: read what it does not stop before deploying."


def _better(found: _Findings) -> list[str]:
    better: list[str] = []
    if found.measured.worst_case.improved:
        better.append(_change(_WORST_CASE, found.measured.worst_case))
    better += [_change(name, outcome) for name, outcome in found.gains]
    if found.measured.clean.improved:
        better.append(_change("images as they are", found.measured.clean))
    if risen := found.corruption_changes[0]:
        better.append(f"Common corruptions: accuracy measurably rose under {_listed(risen)}.")
    return better


def _worse(found: _Findings) -> list[str]:
    worse: list[str] = []
    if found.measured.worst_case.worsened:
        worse.append(_change(_WORST_CASE, found.measured.worst_case))
    worse += [_change(name, outcome) for name, outcome in found.losses]
    if found.costs_clean_accuracy:
        worse.append(_change("images as they are", found.measured.clean))
    if fallen := found.corruption_changes[1]:
        worse.append(f"Common corruptions: accuracy measurably fell under {_listed(fallen)}.")
    calibration = found.measured.calibration
    if calibration is not None and calibration.after.ece - calibration.before.ece > ECE_RISE:
        worse.append(
            "Its confidence is less to be believed: off by "
            f"{calibration.before.ece:.1%} on average before, {calibration.after.ece:.1%} after."
        )
    return worse


_WORST_CASE = "the worst of all white-box attacks, image by image"


def _limits(found: _Findings) -> list[str]:
    limits = [f"{check.finding} {check.remedy or ''}".strip() for check in (*found.masking, *found.failed)]
    worst = found.measured.worst_case
    if not found.is_robust:
        limits.append(
            f"An attacker who knows the hardened model leaves {percent(worst.after)} of {worst.total} images "
            f"classified correctly ({percent(worst.before)} before): do not count on it against such."
        )
    if found.measured.autoattack is None:
        limits.append(
            "AutoAttack, the usual yardstick, was not run: a stronger attacker may break more than is shown."
        )
    if any(result.setting == "transfer" for result in found.measured.attacks):
        limits.append(_TRANSFER_LIMIT)
    if any(result.attack == "ladder" for result in found.measured.attacks):
        limits.append(_LADDER_LIMIT)
    if found.unsure:
        changes = "; ".join(
            f"{name} {percent(outcome.before)} to {percent(outcome.after)}" for name, outcome in found.unsure
        )
        limits.append(f"Too few images differ to tell these from chance: {changes}.")
    return limits


def _change(name: str, outcome: Paired) -> str:
    low, high = (100 * abs(bound) for bound in sorted(outcome.difference_interval, key=abs))
    sure = f"{low:.1f} to {high:.1f} points" if _same_sign(outcome) else f"up to {high:.1f} points"
    way = "more" if outcome.difference > 0 else "fewer"
    rates = (
        f"{percent(outcome.before)} of {outcome.total} images right before, {percent(outcome.after)} after"
    )
    return f"{name[0].upper()}{name[1:]}: {rates} ({sure} {way}, 19 times out of 20)."


def _same_sign(outcome: Paired) -> bool:
    low, high = outcome.difference_interval
    return low * high > 0


def _listed(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} others"
