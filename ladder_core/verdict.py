"""What a report's numbers mean for somebody who has to decide: pure functions over the measured values.

White-box accuracy decides, at its worst over the attacks, image by image: an attack that does not adapt to
the hardened model can be held off without any robustness being there. Where the checks say that the model
misleads its attackers rather than withstands them, no figure decides.

The worst case is the primary endpoint: its gain counts when McNemar's exact test on the same images says so
at 5%. Of the single attacks, which are secondary, a gain counts when the test says so for all of them
together (Holm 1979): of twenty attacks one would else seem weaker by chance. Three kinds of examples cannot
show a gain: those made against the original, which are white-box for the original alone; those the hardening
trained on; and those of a surrogate that has not learned the task. A loss counts without correction, so that
what is uncertain errs towards care.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ladder_schema.report import (
    MASKING,
    SIGNIFICANCE,
    Accuracy,
    AttackName,
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
SOUND_SURROGATE = 0.8
"""Share of the original's clean accuracy that a surrogate has to reach for its examples to mean anything."""

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
_WORST_CASE = "the worst of all white-box attacks, image by image"
_TRAINED_ON = "on examples of the attack it was trained on, no sign that attackers are stopped"
_ITERATIVE: frozenset[AttackName] = frozenset({"pgd", "apgd_ce", "apgd_dlr", "apgd_t"})
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
    def counted(self) -> list[tuple[str, Paired]]:
        """Every attack that a gain can be seen by, with its outcome."""
        attacks = [result for result in self.measured.attacks if self._shows_gain(result)]
        found = [(describe(result), result.outcome) for result in attacks]
        if self.measured.autoattack is not None:
            found.append(("AutoAttack", self.measured.autoattack.outcome))
        return found

    @cached_property
    def gains(self) -> list[tuple[str, Paired]]:
        """The worst case, where it rose, before the attacks that measurably weakened."""
        return [
            *([(_WORST_CASE, self.measured.worst_case)] if self.measured.worst_case.improved else []),
            *_surely_improved(self.counted),
        ]

    @cached_property
    def trained_gains(self) -> list[tuple[str, Paired]]:
        """What improved on examples that do not adapt, of the attack trained on: that stops no attacker."""
        attacks = [
            result
            for result in self.measured.attacks
            if result.setting == "fixed" or (result.trained_on and result.setting == "surrogate")
        ]
        return _surely_improved([(describe(result), result.outcome) for result in attacks])

    @cached_property
    def losses(self) -> list[tuple[str, Paired]]:
        """What got easier, whatever examples show it: those that cannot show a gain can show a loss."""
        found = [(describe(result), result.outcome) for result in self.measured.attacks]
        if self.measured.autoattack is not None:
            found.append(("AutoAttack", self.measured.autoattack.outcome))
        return [(name, outcome) for name, outcome in found if outcome.worsened]

    @cached_property
    def unsure(self) -> list[str]:
        """Attacks whose outcome changed by no more than chance explains."""
        sure = [name for name, _ in (*self.gains, *self.losses)]
        return [name for name, outcome in self.counted if outcome.difference and name not in sure]

    def _shows_gain(self, result: AttackResult) -> bool:
        # Made against the hardened model itself, also the attack that was trained on is an attacker's best.
        if result.setting == "white_box":
            return True
        return result.setting == "surrogate" and not result.trained_on and self._is_sound(result)

    def _is_sound(self, result: AttackResult) -> bool:
        accuracy = result.parameters.get("surrogate accuracy")
        needed = SOUND_SURROGATE * self.measured.clean.before.rate
        return isinstance(accuracy, int | float) and accuracy >= needed

    @property
    def unsound_surrogate(self) -> float | None:
        """Accuracy of a surrogate that has not learned the task; None where there is none such."""
        for result in self.measured.attacks:
            accuracy = result.parameters.get("surrogate accuracy")
            if result.setting == "surrogate" and isinstance(accuracy, int | float):
                return None if self._is_sound(result) else float(accuracy)
        return None

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
    def doubts(self) -> list[Check]:
        """Checks of the hardened model that warn that its robust accuracies may be too high."""
        return [
            check
            for check in self.checks
            if check.of == "hardened" and check.status == "warn" and check.name in MASKING
        ]

    @property
    def distrusted(self) -> list[Check]:
        """Every check that says not to trust the hardened model's figures, the gravest first."""
        return [*self.masking, *self.failed, *self.doubts]

    @property
    def failed(self) -> list[Check]:
        """Other failed checks that bear on the hardened model's figures."""
        return [
            check
            for check in self.checks
            if check.of != "original" and check.status == "fail" and check not in self.masking
        ]

    @cached_property
    def has_iterative(self) -> bool:
        """Whether an attack of many steps took part in the worst case: withstanding one step says little."""
        white_box = {result.attack for result in self.measured.attacks if result.setting == "white_box"}
        return self.measured.autoattack is not None or bool(white_box & _ITERATIVE)

    @cached_property
    def corruption_changes(self) -> tuple[list[str], list[str]]:
        """Corruptions, at their severity, under which accuracy measurably rose and fell."""
        results = self.measured.corruptions
        adjusted = holm([result.outcome.p_value for result in results])
        sure = [r for r, p_value in zip(results, adjusted, strict=True) if p_value < SIGNIFICANCE]
        names = [(f"{r.corruption} {r.severity}", r.outcome) for r in sure]
        return [n for n, o in names if o.improved], [n for n, o in names if o.worsened]


def _surely_improved(found: Sequence[tuple[str, Paired]]) -> list[tuple[str, Paired]]:
    """Return those whose accuracy rose by more than chance explains, for all of them together."""
    adjusted = holm([outcome.p_value for _, outcome in found])
    return [
        (name, outcome)
        for (name, outcome), p_value in zip(found, adjusted, strict=True)
        if p_value < SIGNIFICANCE and outcome.improved
    ]


def judge(measured: Measurements, checks: Sequence[Check] = ()) -> Verdict:
    """Decide what to recommend.

    ``do_not_deploy``: neither the worst case nor an attack that can show a gain measurably improved;
    white-box accuracy at its worst fell measurably; clean accuracy fell by more than `MAX_CLEAN_DROP`; or a
    check says that the hardened model only misleads attacks. ``deploy``: white-box accuracy at its worst,
    with an attack of many steps taking part, rose measurably, to `ENOUGH` of the clean accuracy; nothing got
    measurably worse, no check of the hardened model or of the data failed, and none warns of misled attacks.
    ``deploy_with_care``: anything between; the headline says where white-box attackers are not stopped.

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
    worst = found.measured.worst_case
    if found.masking:
        names = ", ".join(check.name.replace("_", " ") for check in found.masking)
        return (
            "do_not_deploy",
            f"Do not deploy: the attacks were misled, and the model may break as easily as ever ({names}).",
        )
    if not found.gains:
        return "do_not_deploy", _no_gain(found)
    if found.is_less_robust:
        return (
            "do_not_deploy",
            "Do not deploy: an attacker who knows the hardened model breaks it more easily.",
        )
    if found.clean_drop > MAX_CLEAN_DROP:
        return "do_not_deploy", "Do not deploy: clean accuracy fell too far."
    if not found.is_robust:
        return (
            "deploy_with_care",
            (
                "More robust in part, but do not deploy against white-box attackers: those who know it "
                f"leave {percent(worst.after)} of {worst.total} images classified correctly."
            ),
        )
    if not found.has_iterative:
        return (
            "deploy_with_care",
            "More robust against a single step, which says little: no attack of many steps was run.",
        )
    if found.failed or found.doubts:
        return (
            "deploy_with_care",
            "More robust as measured, but the checks cast doubt on the figures: read them before deploying.",
        )
    if found.costs_clean_accuracy or found.losses or found.corruption_changes[1]:
        return (
            "deploy_with_care",
            "More robust, also against an attacker who knows the model, at a cost: read what got worse.",
        )
    return "deploy", "More robust, also against an attacker who knows the model, at no measurable cost."


def _no_gain(found: _Findings) -> str:
    worst = found.measured.worst_case
    if found.trained_gains:
        return (
            "Do not deploy: it withstands more of the examples it was trained on, but attackers are not "
            f"stopped: white-box attacks leave {percent(worst.after)} of {worst.total} images classified "
            f"correctly ({percent(worst.before)} before)."
        )
    return "Do not deploy: no attack was measurably weakened."


def _better(found: _Findings) -> list[str]:
    better = [_change(name, outcome) for name, outcome in found.gains]
    better += [_change(f"{name} ({_TRAINED_ON})", outcome) for name, outcome in found.trained_gains]
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


def _limits(found: _Findings) -> list[str]:
    limits = [f"{check.finding} {check.remedy or ''}".strip() for check in found.distrusted]
    worst = found.measured.worst_case
    if not found.is_robust:
        limits.append(
            f"An attacker who knows the hardened model leaves {percent(worst.after)} of {worst.total} images "
            f"classified correctly ({percent(worst.before)} before): do not deploy against white-box attacks."
        )
    if not found.has_iterative:
        limits.append(
            "No white-box attack of many steps was run (PGD, APGD or AutoAttack): a model may withstand one "
            "step and fall to several. Add `pgd` to the attacks, or switch AutoAttack on."
        )
    if found.measured.autoattack is None:
        limits.append(
            "AutoAttack, the usual yardstick, was not run: a stronger attacker may break more than is shown."
        )
    if any(result.setting == "transfer" for result in found.measured.attacks):
        limits.append(_TRANSFER_LIMIT)
    if any(result.attack == "ladder" for result in found.measured.attacks):
        limits.append(_LADDER_LIMIT)
    if (accuracy := found.unsound_surrogate) is not None:
        limits.append(
            f"The surrogate is right about {accuracy:.1%} of the images only: its examples mean little, and "
            "withstanding them is not counted as a gain. Train it for more steps, or at another rate."
        )
    if found.unsure:
        limits.append(f"No measurable change: {_listed(found.unsure, most=4)}.")
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
    rest = len(names) - most
    return shown if rest <= 0 else f"{shown} and {rest} {'other' if rest == 1 else 'others'}"
