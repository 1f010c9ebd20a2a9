"""Can robust accuracies be trusted, or do gradients merely mislead the attack? Pure functions over values.

After AutoAttack's flags (Croce and Hein 2020, https://arxiv.org/abs/2003.01690), the checklist of Carlini et
al. 2019 (https://arxiv.org/abs/1902.06705), and the signs of obfuscated gradients of Athalye et al. 2018
(https://arxiv.org/abs/1802.00420, section 3.1).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from ladder_core.checks.statistics import MARGIN, Contest, exceeds
from ladder_core.checks.values import Gradients, LossCurve, Repeats, Unbounded
from ladder_schema.report import Check, CheckName, EpsilonCurve, Evidence, Status

Model = Literal["original", "hardened"]

FEW, MANY = 0.01, 0.10
"""Shares of images with useless gradients that are worth a warning, and that void gradient attacks."""
UNSTABLE = 1e-4
"""Difference of logits scaled to length 1 that rounding does not explain: AutoAttack's own threshold."""
SETBACK = 0.05
"""Fall of the mean loss, as a share of its whole rise, that matters."""
GREY = 0.5
"""Linf radius within which any image can be made uniformly grey: no classifier sees anything there."""

_ADAPT = (
    "Do not rely on gradient attacks alone: attack the model through its logits before the part that hides "
    "the gradient, or through a smooth stand-in for that part (BPDA), and compare with Square."
)


def judge_black_box(of: Model, contests: Sequence[Contest]) -> Check:
    """An attack that knows less should not do better: the gradients would have misled the one that knows."""
    return _judge_contests(
        "black_box_beats_white_box",
        of,
        contests,
        sound="No attack without the model's gradients beat the attacks that use them.",
        wrong="breaks images that the model's own gradients do not lead to: they mislead white-box attacks, "
        "and robust accuracies measured with those are too high.",
        remedy=_ADAPT,
    )


def judge_one_step(of: Model, contests: Sequence[Contest]) -> Check:
    """Many steps can do whatever one step can."""
    return _judge_contests(
        "one_step_beats_many",
        of,
        contests,
        sound="The iterative attack breaks what one step breaks.",
        wrong="breaks images that many steps do not: the iterative attack gets lost, and the robust accuracy "
        "measured with it is too high.",
        remedy="Give the iterative attack more and smaller steps and several restarts, and look at its loss.",
    )


def judge_square(of: Model, contests: Sequence[Contest]) -> Check:
    """Random search should find nothing that the gradient does not point at (AutoAttack's own flag)."""
    return _judge_contests(
        "square_beats_apgd",
        of,
        contests,
        sound="Random search (Square) found nothing that gradient attacks had missed.",
        wrong="breaks images by random search alone that gradient attacks had missed: the gradients do not "
        "point at the nearest mistakes.",
        remedy="Run Square with more queries and several restarts, and an attack adapted to this model.",
    )


def judge_unbounded(of: Model, probe: Unbounded | None, curves: Sequence[EpsilonCurve] = ()) -> Check:
    """Without a bound every image can be broken, and a larger bound never protects (Carlini et al. 2019)."""
    name: CheckName = "unbounded_attack_fails"
    evidence: list[Evidence] = []
    status: Status = "not_run"
    finding = "There was no image to attack that the model is right about."
    if probe is not None and probe.images:
        evidence += [
            Evidence(name="images attacked without a bound", value=probe.images),
            Evidence(name="images that held", value=probe.held),
        ]
        status, finding = _unbounded_status(probe.held, probe.images, probe.chance)
    for curve in curves:
        evidence += _curve_evidence(of, curve)
        if (rising := _rises(of, curve)) is not None and status != "fail":
            status, finding = "warn", rising
    return _check(name, of, status, finding, evidence, _ADAPT)


def judge_zero_gradients(of: Model, probe: Gradients | None) -> Check:
    """A gradient of exactly zero tells an attack nothing; where it is lost says what hides it."""
    name: CheckName = "zero_gradients"
    if probe is None or not probe.images:
        return _not_run(name, of)
    evidence = [
        Evidence(name="images", value=probe.images),
        Evidence(name="zero gradient of the loss", value=probe.zero_loss),
        Evidence(name="zero gradient of the logits' margin", value=probe.zero_margin),
        Evidence(name="median margin of the logits", value=probe.median_margin),
        Evidence(name="output", value=probe.output),
    ]
    status = _share_status(probe.zero_loss, probe.images)
    finding = "The loss has a gradient at every image that was looked at."
    if status == "pass" and probe.zero_loss:
        finding = "The loss has a gradient at all but a few images: too few to matter."
    remedy = _ADAPT
    if status != "pass":
        finding, remedy = _where_lost(probe)
    return _check(name, of, status, finding, evidence, remedy)


def judge_non_finite(of: Model, probe: Gradients | None) -> Check:
    """A gradient that is no number stops an attack, and a comparison with it is always false."""
    name: CheckName = "non_finite_gradients"
    if probe is None or not probe.images:
        return _not_run(name, of)
    status: Status = "pass"
    finding = "All logits and gradients are finite numbers."
    if probe.non_finite:
        status = "fail" if exceeds(probe.non_finite, probe.images, FEW) else "warn"
        finding = (
            f"At {probe.non_finite} of {probe.images} images a logit or a gradient is infinite or not a "
            "number: gradient attacks go nowhere from there."
        )
    evidence = [
        Evidence(name="images", value=probe.images),
        Evidence(name="images with a logit or gradient that is not finite", value=probe.non_finite),
    ]
    remedy = "Look for a logarithm or a division in the model whose argument can be 0, and for overflow."
    return _check(name, of, status, finding, evidence, remedy)


def judge_determinism(of: Model, probe: Repeats) -> Check:
    """A model that answers differently each time holds off an attack by luck (Athalye et al. 2018)."""
    repeats = probe.repeated > UNSTABLE or probe.repeated_changed > 0
    regroups = probe.regrouped > UNSTABLE or probe.regrouped_changed > 0
    finding = "The model gives the same answers each time, whatever other images it is asked about."
    remedy = "Switch to evaluation mode whatever normalises by the batch."
    if repeats:
        finding = (
            "The model answers the same images differently each time: an attack that fails may succeed at "
            "the next try, so robust accuracies are too high, and no figure can be repeated."
        )
        remedy = "Attack the mean of many answers (AutoAttack's version `rand`), or switch the noise off."
    elif regroups:
        finding = "What the model says of an image depends on the other images it is asked about together."
    evidence = [
        Evidence(name="images", value=probe.images),
        Evidence(name="difference of scaled logits, asked twice", value=probe.repeated),
        Evidence(name="predictions changed, asked twice", value=probe.repeated_changed),
        Evidence(name="difference of scaled logits, in other company", value=probe.regrouped),
        Evidence(name="predictions changed, in other company", value=probe.regrouped_changed),
    ]
    status: Status = "fail" if repeats or regroups else "pass"
    return _check("not_deterministic", of, status, finding, evidence, remedy)


def judge_losses(of: Model, probe: LossCurve | None) -> Check:
    """PGD climbs: where its loss does not rise with its steps, the gradient is not the loss' slope."""
    name: CheckName = "loss_not_monotone"
    if probe is None or not probe.images:
        return _not_run(name, of)
    evidence = [
        Evidence(name=f"mean loss after {step} steps", value=loss)
        for step, loss in zip(probe.steps, probe.losses, strict=True)
    ]
    evidence.append(Evidence(name="images whose loss rose", value=f"{probe.ended_higher} of {probe.images}"))
    status: Status = "pass"
    finding = "The attack's loss rises with its steps."
    if not exceeds(probe.ended_higher, probe.images, 0.5):
        status = "fail"
        finding = (
            f"After {probe.steps[-1]} steps of gradient ascent the loss rose on only {probe.ended_higher} of "
            f"{probe.images} images: the gradient does not lead upwards."
        )
    elif (fall := _setback(probe)) is not None:
        status, finding = "warn", fall
    return _check(name, of, status, finding, evidence, f"Try smaller steps. {_ADAPT}")


def _evidence(contest: Contest) -> tuple[Evidence, ...]:
    """Say in words what was compared; only of totals whose pairing was not kept, by how much one is ahead."""
    challenger, reference, images = contest.challenger, contest.reference, contest.images
    if not contest.paired:
        lead = f"{100 * contest.excess:+.1f} points"
        return (Evidence(name=f"lead of {challenger} over {reference}, {images} images", value=lead),)
    return (
        Evidence(name=f"broken by {challenger} only, not by {reference}", value=contest.only_challenger),
        Evidence(name=f"the other way round, of {images} images", value=contest.only_reference),
    )


def _judge_contests(
    name: CheckName,
    of: Model,
    contests: Sequence[Contest],
    *,
    sound: str,
    wrong: str,
    remedy: str,
) -> Check:
    held = [contest for contest in contests if contest.images]
    if not held:
        return _check(name, of, "not_run", "There were no two such attacks to compare.", [], remedy)
    evidence = [piece for contest in held for piece in _evidence(contest)]
    winners = [contest for contest in held if contest.challenger_wins]
    adding = [contest for contest in held if contest.challenger_adds]
    if winners or adding:
        first = (winners or adding)[0]
        return _check(
            name, of, "fail" if winners else "warn", f"{first.challenger} {wrong}", evidence, remedy
        )
    return _check(name, of, "pass", sound, evidence, remedy)


def _unbounded_status(held: int, images: int, chance: float) -> tuple[Status, str]:
    if not exceeds(held, images, MARGIN):
        return "pass", "An attack without a bound breaks every image, as it must."
    finding = (
        f"{held} of {images} images hold against an attack that may change them into any other image: it is "
        "the attack that fails here, so robust accuracies are too high at every radius."
    )
    return ("fail" if exceeds(held, images, chance) else "warn"), finding


def _curve_evidence(of: Model, curve: EpsilonCurve) -> list[Evidence]:
    last = curve.points[-1]
    if curve.norm != "linf" or last.epsilon < GREY:
        return []
    robust = last.outcome.before if of == "original" else last.outcome.after
    return [Evidence(name=f"accuracy under {curve.attack} at radius {last.epsilon:g}", value=robust.rate)]


def _rises(of: Model, curve: EpsilonCurve) -> str | None:
    """Say where a larger radius measurably protects; it never does."""
    for smaller, larger in pairwise(sorted(curve.points, key=lambda point: point.epsilon)):
        near, far = (
            point.outcome.before if of == "original" else point.outcome.after for point in (smaller, larger)
        )
        contest = Contest.least_favourable(
            "smaller",
            "larger",
            images=near.total,
            broken_by_challenger=near.total - near.correct,
            broken_by_reference=far.total - far.correct,
        )
        if near.total == far.total and contest.challenger_wins:
            return (
                f"{curve.attack} breaks fewer images at radius {larger.epsilon:g} than at "
                f"{smaller.epsilon:g}, though it may do all it could there."
            )
    return None


def _where_lost(probe: Gradients) -> tuple[str, str]:
    """Say where in the model the gradient is lost, and what to do about it."""
    lost = f"At {probe.zero_loss} of {probe.images} images the loss has no gradient at all"
    if probe.zero_margin < 0.5 * probe.zero_loss:
        finding = (
            f"{lost}, though the logits have one: they are so large (median margin "
            f"{probe.median_margin:.3g}) that the softmax saturates in float32."
        )
        remedy = (
            "Divide the logits by a constant before the loss, or attack with the DLR or margin loss, which "
            "no softmax flattens."
        )
    elif probe.output != "logits":
        kind = probe.output.replace("_", "-")
        finding = f"{lost}: the model returns {kind} that have saturated, so its output is flat."
        remedy = "Upload the model with its logits as output, before softmax, rounding or clipping."
    else:
        finding = (
            f"{lost}, nor have the logits: something inside the model is flat, such as rounding, "
            "quantisation or a threshold."
        )
        remedy = _ADAPT
    return finding, remedy


def _setback(probe: LossCurve) -> str | None:
    """Say between which steps the loss measurably falls."""
    rise = max(probe.losses) - probe.losses[0]
    for index, (before, after) in enumerate(pairwise(probe.losses)):
        moved = probe.rose[index] + probe.fell[index]
        if before - after > SETBACK * rise and exceeds(probe.fell[index], moved, 0.5):
            return (
                f"The attack's mean loss falls from {before:.3g} after {probe.steps[index]} steps to "
                f"{after:.3g} after {probe.steps[index + 1]}."
            )
    return None


def _share_status(count: int, total: int) -> Status:
    if exceeds(count, total, MANY):
        return "fail"
    return "warn" if exceeds(count, total, FEW) else "pass"


def _not_run(name: CheckName, of: Model) -> Check:
    return _check(
        name, of, "not_run", "There was no image to ask about that the model is right about.", [], None
    )


def _check(
    name: CheckName,
    of: Model,
    status: Status,
    finding: str,
    evidence: Sequence[Evidence],
    remedy: str | None,
) -> Check:
    flagged = status in ("warn", "fail")
    return Check(
        name=name,
        of=of,
        status=status,
        finding=finding,
        evidence=tuple(evidence[:30]),
        remedy=remedy if flagged else None,
    )
