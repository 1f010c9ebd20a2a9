"""What a report's numbers mean for somebody who has to decide: pure functions over the measured values."""

from collections.abc import Sequence

from ladder_schema.report import Accuracy, AttackResult, Verdict

MAX_CLEAN_DROP = 0.01
"""Clean accuracy worth losing for robustness without a second thought."""
BROKEN_BELOW = 0.1
"""A robust accuracy under which an attack counts as not stopped."""

_NAMES = {"fgsm": "FGSM", "pgd": "PGD", "ladder": "LADDER examples"}
_SETTINGS = {"white_box": "white-box", "transfer": "transferred"}


def percent(accuracy: Accuracy) -> str:
    """Return a rate as people read it."""
    return f"{100 * accuracy.rate:.1f}%"


def describe(result: AttackResult) -> str:
    """Name an attack and its setting."""
    if result.attack == "ladder":
        return _NAMES["ladder"]
    return f"{_SETTINGS[result.setting]} {_NAMES[result.attack]}"


def apart(before: Accuracy, after: Accuracy) -> bool:
    """Whether the 95% intervals of two accuracies don't touch: a change that is more than chance."""
    (low_before, high_before), (low_after, high_after) = before.interval, after.interval
    return low_after > high_before or high_after < low_before


def judge(clean_before: Accuracy, clean_after: Accuracy, attacks: Sequence[AttackResult]) -> Verdict:
    """Decide what to recommend.

    ``do_not_deploy``: nothing measurably improved, or clean accuracy fell by more than robustness gained.
    ``deploy_with_care``: something improved, but clean accuracy fell by more than a point, an attack got
    easier (be it within chance), or a white-box attack still breaks the model. ``deploy``: neither.
    """
    gains = [r for r in attacks if r.after.rate > r.before.rate and apart(r.before, r.after)]
    losses = [r for r in attacks if r.after.rate < r.before.rate and apart(r.before, r.after)]
    open_attacks = [r for r in attacks if r.setting == "white_box" and r.after.rate < BROKEN_BELOW]
    unsure = [r for r in attacks if r.after.rate != r.before.rate and not apart(r.before, r.after)]
    perhaps_worse = [r for r in unsure if r.after.rate < r.before.rate]
    drop = clean_before.rate - clean_after.rate
    best_gain = max((r.after.rate - r.before.rate for r in gains), default=0.0)

    better = [_change(r) for r in gains]
    worse = [_change(r) for r in losses]
    if drop > MAX_CLEAN_DROP:
        worse.append(f"Clean accuracy: {percent(clean_before)} before, {percent(clean_after)} after.")
    limits = [
        f"It does not stop {describe(r)}: {percent(r.after)} are still classified correctly."
        for r in open_attacks
    ]
    limits += _unsure_limits(unsure)
    if not gains or drop > best_gain:
        recommendation = "do_not_deploy"
        headline = (
            "Do not deploy: no attack was measurably weakened."
            if not gains
            else "Do not deploy: clean accuracy fell by more than robustness gained."
        )
    elif drop > MAX_CLEAN_DROP or losses or perhaps_worse or open_attacks:
        recommendation = "deploy_with_care"
        headline = "More robust, with limits: read what it does not stop before deploying."
    else:
        recommendation = "deploy"
        headline = "More robust at no measurable cost in clean accuracy."
    return Verdict.model_validate(
        {
            "recommendation": recommendation,
            "headline": headline,
            "better": tuple(better),
            "worse": tuple(worse),
            "limits": tuple(limits),
        }
    )


def _change(result: AttackResult) -> str:
    text = f"{describe(result)}: {percent(result.before)} correct before, {percent(result.after)} after."
    return text[0].upper() + text[1:]


def _unsure_limits(unsure: Sequence[AttackResult]) -> list[str]:
    """Say where too few samples were attacked to tell a change from chance."""
    if not unsure:
        return []
    changes = "; ".join(f"{describe(r)} {percent(r.before)} to {percent(r.after)}" for r in unsure)
    return [f"Within chance at 95%, so neither better nor worse for certain: {changes}."]
