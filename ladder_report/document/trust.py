"""Can the figures be trusted? The checks, those that did not pass first."""

from collections.abc import Sequence

from ladder_report import wording
from ladder_report.document.blocks import Block, Cell, CheckLine, Checks, Column, Section, Table
from ladder_report.labels import CHECKED, CHECKS
from ladder_schema.report import Check

_LONGEST = 80
_LONGEST_FINDING = 1_000
_ORDER = ("fail", "warn", "not_run", "pass")


def trust_section(checks: tuple[Check, ...]) -> Section | None:
    """What did not pass, each with its evidence and remedy, then what did; None where nothing was checked."""
    if not checks:
        return None
    ordered = sorted(checks, key=lambda check: _ORDER.index(check.status))
    blocks: list[Block] = []
    if raised := [check for check in ordered if check.status != "pass"]:
        blocks.append(Checks(tuple(map(_line, raised))))
    if passed := [check for check in ordered if check.status == "pass"]:
        blocks.append(_passed(passed))
    return Section(
        "trust",
        "Can these figures be trusted?",
        "A model can look robust because attacks fail on it for the wrong reasons: gradients that vanish, "
        "answers that vary, too few images. These checks look for the usual ones.",
        tuple(blocks),
    )


def _line(check: Check) -> CheckLine:
    return CheckLine(
        status=check.status,
        title=CHECKS[check.name],
        of=CHECKED[check.of],
        finding=wording.short(check.finding, _LONGEST_FINDING),
        evidence=tuple((wording.short(e.name, _LONGEST), _written(e.value)) for e in check.evidence),
        remedy=wording.short(check.remedy, _LONGEST_FINDING) if check.remedy else None,
    )


def _passed(checks: Sequence[Check]) -> Table:
    lines = [_line(check) for check in checks]
    return Table(
        "Checks that passed",
        (Column("Check", is_number=False), Column("Of", is_number=False), Column("Found", is_number=False)),
        tuple(
            (
                Cell(line.title),
                Cell(line.of),
                Cell(line.finding, ("; ".join(f"{name}: {value}" for name, value in line.evidence),)),
            )
            for line in lines
        ),
        folded=f"{len(lines)} checks passed" if len(lines) > 1 else None,
    )


def _written(value: float | str) -> str:
    return wording.number(value) if isinstance(value, float) else wording.short(str(value), _LONGEST)
