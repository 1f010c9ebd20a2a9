"""What a report's numbers mean for somebody who has to decide: pure functions over the measured values.

White-box accuracy decides, at its worst over the attacks: an attack that does not adapt to the hardened model
can be held off without any robustness being there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ladder_schema.report import Accuracy, AttackResult, Verdict

FREE_CLEAN_DROP = 0.01
"""Clean accuracy worth losing for robustness without a second thought."""
MAX_CLEAN_DROP = 0.05
"""Clean accuracy not worth losing whatever is gained."""
ENOUGH = 0.5
"""Share of the clean accuracy that has to survive white-box attacks for a model to count as robust."""

_NAMES = {"fgsm": "FGSM", "pgd": "PGD", "ladder": "LADDER examples"}
_SETTINGS = {"white_box": "white-box", "transfer": "transferred"}
_LADDER_LIMIT = (
    "LADDER examples are made on the original model, with the generator used in training; they do not adapt "
    "to the hardened model. Past the boundary some may truly show the other class: 100% is not the ideal."
)


@dataclass(frozen=True)
class _Findings:
    """What changed, and by how much."""

    clean_before: Accuracy
    clean_after: Accuracy
    gains: Sequence[AttackResult]
    losses: Sequence[AttackResult]
    unsure: Sequence[AttackResult]
    worst_before: Accuracy
    worst_after: Accuracy

    @property
    def clean_drop(self) -> float:
        return self.clean_before.rate - self.clean_after.rate

    @property
    def costs_clean_accuracy(self) -> bool:
        return self.clean_drop > FREE_CLEAN_DROP or (
            self.clean_drop > 0 and not self.clean_before.overlaps(self.clean_after)
        )

    @property
    def is_less_robust(self) -> bool:
        fell = self.worst_after.rate < self.worst_before.rate
        return fell and not self.worst_before.overlaps(self.worst_after)

    @property
    def is_robust(self) -> bool:
        gained = self.worst_after.rate > self.worst_before.rate
        enough = self.worst_after.rate >= ENOUGH * self.clean_after.rate
        return gained and enough and not self.worst_before.overlaps(self.worst_after)


def judge(clean_before: Accuracy, clean_after: Accuracy, attacks: Sequence[AttackResult]) -> Verdict:
    """Decide what to recommend.

    ``do_not_deploy``: nothing measurably improved, white-box accuracy at its worst fell measurably, or clean
    accuracy fell by more than `MAX_CLEAN_DROP`. ``deploy``: white-box accuracy at its worst rose measurably,
    to `ENOUGH` of the clean accuracy; no attack got easier, and clean accuracy did not measurably fall.
    ``deploy_with_care``: anything between.

    Args:
        clean_before: The original on the test split.
        clean_after: The hardened model on the test split.
        attacks: At least one of them white-box.
    """
    found = _findings(clean_before, clean_after, attacks)
    worse = [_change(result) for result in found.losses]
    if found.costs_clean_accuracy:
        worse.append(f"Clean accuracy: {percent(clean_before)} before, {percent(clean_after)} after.")
    recommendation, headline = _recommend(found)
    return Verdict.model_validate(
        {
            "recommendation": recommendation,
            "headline": headline,
            "better": tuple(_change(result) for result in found.gains),
            "worse": tuple(worse),
            "limits": tuple(_limits(found, attacks)),
        }
    )


def percent(accuracy: Accuracy) -> str:
    """Return a rate as people read it."""
    return f"{100 * accuracy.rate:.1f}%"


def describe(result: AttackResult) -> str:
    """Name an attack and its setting."""
    return f"{_SETTINGS[result.setting]} {_NAMES[result.attack]}"


def _findings(clean_before: Accuracy, clean_after: Accuracy, attacks: Sequence[AttackResult]) -> _Findings:
    changed = [result for result in attacks if result.after.rate != result.before.rate]
    sure = [result for result in changed if not result.before.overlaps(result.after)]
    white_box = [result for result in attacks if result.setting == "white_box"]
    return _Findings(
        clean_before=clean_before,
        clean_after=clean_after,
        gains=[result for result in sure if result.after.rate > result.before.rate],
        losses=[result for result in sure if result.after.rate < result.before.rate],
        unsure=[result for result in changed if result.before.overlaps(result.after)],
        worst_before=min((result.before for result in white_box), key=lambda accuracy: accuracy.rate),
        worst_after=min((result.after for result in white_box), key=lambda accuracy: accuracy.rate),
    )


def _recommend(found: _Findings) -> tuple[str, str]:
    if not found.gains:
        return "do_not_deploy", "Do not deploy: no attack was measurably weakened."
    if found.is_less_robust:
        return (
            "do_not_deploy",
            "Do not deploy: an attacker who knows the hardened model breaks it more easily.",
        )
    if found.clean_drop > MAX_CLEAN_DROP:
        return "do_not_deploy", "Do not deploy: clean accuracy fell too far."
    perhaps_worse = any(result.after.rate < result.before.rate for result in found.unsure)
    if found.is_robust and not (found.costs_clean_accuracy or found.losses or perhaps_worse):
        return "deploy", "More robust, also against an attacker who knows the model, at no measurable cost."
    return "deploy_with_care", "More robust in part: read what it does not stop before deploying."


def _limits(found: _Findings, attacks: Sequence[AttackResult]) -> list[str]:
    limits: list[str] = []
    if not found.is_robust:
        limits.append(
            f"An attacker who knows the hardened model leaves {percent(found.worst_after)} of images "
            f"classified correctly ({percent(found.worst_before)} before): do not count on it against such."
        )
    if any(result.attack == "ladder" for result in attacks):
        limits.append(_LADDER_LIMIT)
    if found.unsure:
        changes = "; ".join(
            f"{describe(result)} {percent(result.before)} to {percent(result.after)}"
            for result in found.unsure
        )
        limits.append(f"The 95% intervals before and after overlap, so this may be chance: {changes}.")
    return limits


def _change(result: AttackResult) -> str:
    text = f"{describe(result)}: {percent(result.before)} correct before, {percent(result.after)} after."
    return text[0].upper() + text[1:]
