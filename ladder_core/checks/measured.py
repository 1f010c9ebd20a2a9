"""Which measured attacks are worth comparing: those with the same images, in the same threat model."""

from collections.abc import Callable, Iterator

from ladder_core.checks.judging import Model
from ladder_core.checks.statistics import Contest
from ladder_schema.config import ThreatModel
from ladder_schema.report import AttackName, AttackResult, Measurements

_ITERATIVE: tuple[AttackName, ...] = ("pgd", "apgd_ce", "apgd_dlr", "apgd_t", "autoattack")
_BY_GRADIENT: tuple[AttackName, ...] = ("fgsm", "di_fgsm", *_ITERATIVE)
ENSEMBLE_TOLERATED = 0.002
"""Share of images that Square may find after all of AutoAttack: AutoAttack's own threshold."""


def black_box_contests(measured: Measurements, of: Model, threat: ThreatModel) -> list[Contest]:
    """Return attacks without the model's gradients against those with them.

    Examples transferred from the original are a black-box attack on the hardened model alone.
    """

    def is_black_box(result: AttackResult) -> bool:
        if result.setting == "white_box":
            return result.attack == "square"
        return result.setting == "surrogate" or (result.setting == "transfer" and of == "hardened")

    return list(_contests(measured, of, threat, is_black_box, _white_box(_BY_GRADIENT)))


def one_step_contests(measured: Measurements, of: Model, threat: ThreatModel) -> list[Contest]:
    """Return FGSM against attacks of many steps."""
    return list(_contests(measured, of, threat, _white_box(("fgsm",)), _white_box(_ITERATIVE)))


def square_contests(measured: Measurements, of: Model, threat: ThreatModel) -> list[Contest]:
    """Return Square against APGD, and what it found after the rest of AutoAttack."""
    contests = list(
        _contests(
            measured, of, threat, _white_box(("square",)), _white_box(("apgd_ce", "apgd_dlr", "apgd_t"))
        )
    )
    summary = measured.autoattack
    for component in summary.components if summary else ():
        if summary and component.name == "square":
            found = component.broken_before if of == "original" else component.broken_after
            contests.append(
                Contest(
                    "Square",
                    "AutoAttack before it",
                    summary.outcome.total,
                    found,
                    sum(
                        other.broken_before if of == "original" else other.broken_after
                        for other in summary.components
                        if other is not component
                    ),
                    tolerated=ENSEMBLE_TOLERATED,
                )
            )
    return contests


def _white_box(names: tuple[AttackName, ...]) -> Callable[[AttackResult], bool]:
    return lambda result: result.setting == "white_box" and result.attack in names


def _contests(
    measured: Measurements,
    of: Model,
    threat: ThreatModel,
    is_challenger: Callable[[AttackResult], bool],
    is_reference: Callable[[AttackResult], bool],
) -> Iterator[Contest]:
    """Yield each challenger against the strongest reference on as many images."""
    results = [result for result in measured.attacks if _in_threat_model(result, threat)]
    for challenger in filter(is_challenger, results):
        total = challenger.outcome.total
        rivals = [result for result in filter(is_reference, results) if result.outcome.total == total]
        if rivals:
            reference = max(rivals, key=lambda result: _broken(result, of))
            yield Contest.least_favourable(
                _name(challenger),
                _name(reference),
                images=_attacked(challenger, of),
                broken_by_challenger=_broken(challenger, of),
                broken_by_reference=_broken(reference, of),
            )


def _in_threat_model(result: AttackResult, threat: ThreatModel) -> bool:
    parameters = result.parameters
    return parameters.get("norm") == threat.norm and parameters.get("epsilon") == threat.epsilon


def _attacked(result: AttackResult, of: Model) -> int:
    return result.attacked_before if of == "original" else result.attacked_after


def _broken(result: AttackResult, of: Model) -> int:
    return result.broken_before if of == "original" else result.broken_after


def _name(result: AttackResult) -> str:
    name = result.attack.replace("_", "-").upper()
    return name if result.setting == "white_box" else f"{name} ({result.setting})"
