"""Can the figures be trusted? The checks, those that did not pass first."""

from ladder_report import wording
from ladder_report.document.blocks import CheckLine, Checks, Section
from ladder_report.labels import CHECKED, CHECKS
from ladder_schema.report import Check

_LONGEST = 80
_LONGEST_FINDING = 1_000
_ORDER = ("fail", "warn", "not_run", "pass")


def trust_section(checks: tuple[Check, ...]) -> Section | None:
    """Each check with its evidence and, where it did not pass, its remedy; None where none was run."""
    if not checks:
        return None
    ordered = sorted(checks, key=lambda check: _ORDER.index(check.status))
    lines = tuple(
        CheckLine(
            status=check.status,
            title=CHECKS[check.name],
            of=CHECKED[check.of],
            finding=wording.short(check.finding, _LONGEST_FINDING),
            evidence=tuple((wording.short(e.name, _LONGEST), _written(e.value)) for e in check.evidence),
            remedy=None
            if check.status == "pass" or not check.remedy
            else wording.short(check.remedy, _LONGEST_FINDING),
        )
        for check in ordered
    )
    return Section(
        "trust",
        "Can these figures be trusted?",
        "A model can look robust because attacks fail on it for the wrong reasons: gradients that vanish, "
        "answers that vary, too few images. These checks look for the usual ones.",
        (Checks(lines),),
    )


def _written(value: float | str) -> str:
    return wording.number(value) if isinstance(value, float) else wording.short(str(value), _LONGEST)
