"""Cells that several tables share."""

from ladder_report import wording
from ladder_report.document.blocks import HEAT_LEVELS, SHIFT_LEVELS, Cell
from ladder_schema.report import Accuracy, Count, Paired

_FULL_SHIFT = 0.25
"""A change of this rate or more has the strongest colour."""


def accuracy_cell(accuracy: Accuracy, *extra: str) -> Cell:
    """Rate, count and interval."""
    counts = f"{wording.count(accuracy.correct)} of {wording.count(accuracy.total)}"
    return Cell(wording.percent(accuracy.rate), (counts, wording.interval(accuracy), *extra))


def rate_cell(accuracy: Accuracy) -> Cell:
    """A rate on the colours of its size."""
    return Cell(wording.percent(accuracy.rate), heat=round(HEAT_LEVELS * accuracy.rate))


def change_cell(paired: Paired, *, is_counted: bool = True) -> Cell:
    """The change in percentage points with its interval; coloured where it is measured and counts."""
    text = wording.points(paired.difference)
    tone = {"+": "up", "\N{MINUS SIGN}": "down"}.get(text[0], "same")
    if not is_counted or not (paired.improved or paired.worsened):
        tone = "same"
    return Cell(text, (wording.points_interval(paired),), tone=tone)  # type: ignore[arg-type]


def certainty_cell(paired: Paired) -> Cell:
    """What McNemar's test says, in words and as a number."""
    return Cell(wording.certainty(paired), (wording.p_value(paired.p_value),))


def shift_cell(paired: Paired, *, is_measured: bool) -> Cell:
    """Before and after, on the colours of the change where it is more than chance."""
    share = max(-1.0, min(1.0, paired.difference / _FULL_SHIFT))
    change = (
        f"{wording.percent(paired.before.rate)} \N{RIGHTWARDS ARROW} {wording.percent(paired.after.rate)}"
    )
    return Cell(change, shift=round(SHIFT_LEVELS * share) if is_measured else 0)


def count_cell(count: Count) -> Cell:
    """A count."""
    return Cell(wording.count(count))


def left_out(shown: int, total: int, what: str) -> str | None:
    """Say how many of a long list are shown and where all of it is; None where all of it is shown."""
    if shown >= total:
        return None
    return f"{wording.count(shown)} of {wording.count(total)} {what} are shown; the JSON report has all."
