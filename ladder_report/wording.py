"""How the report's numbers are written for people."""

import re
from collections.abc import Mapping
from typing import Any

from ladder_schema.report import SIGNIFICANCE, Accuracy, Count, Paired

# Controls and non-characters are errors in HTML; bidirectional overrides could make a text read as another.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef"
    + "".join(chr(plane * 0x10000 + last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
_MINUTE = 60
_HOUR = 3600
_LEVELS = 255
_SMALLEST_P = 0.0001
_SURE_P = 0.001


def printable(text: str) -> str:
    """Replace what no page should show: control characters, non-characters, bidirectional overrides."""
    return _UNPRINTABLE.sub("\ufffd", text)


def percent(rate: float) -> str:
    """A rate in percent, e.g. ``97.3%``."""
    return f"{100 * rate:.1f}%"


def interval(accuracy: Accuracy) -> str:
    """An accuracy's 95% interval, e.g. ``96.9-97.7%`` (with an en dash)."""
    low, high = accuracy.interval
    return f"{100 * low:.1f}\N{EN DASH}{100 * high:.1f}%"


def points(difference: float) -> str:
    """A difference of rates in percentage points, with its sign."""
    text = f"{abs(100 * difference):.1f}"
    if float(text) == 0:
        return "\N{PLUS-MINUS SIGN}0.0"
    return f"{'+' if difference > 0 else chr(0x2212)}{text}"


def points_interval(paired: Paired) -> str:
    """The 95% interval of a change, e.g. ``+7.1 to +13.4``."""
    low, high = paired.difference_interval
    return f"{points(low)} to {points(high)}"


def p_value(value: float) -> str:
    """A p-value, e.g. ``p = 0.012``; in powers of ten where it is small."""
    if value < _SMALLEST_P:
        return f"p < {_SMALLEST_P}"
    return f"p = {value:.2f}" if value >= 0.095 else f"p = {value:.2g}"


def certainty(paired: Paired) -> str:
    """What McNemar's test says of a change, in words."""
    if not paired.only_before + paired.only_after:
        return "no image changed sides"
    if paired.p_value >= SIGNIFICANCE:
        return "may be chance"
    return "hardly chance" if paired.p_value >= _SURE_P else "not chance"


def count(number: Count) -> str:
    """A count with thousands separators."""
    return f"{number:,}"


def number(value: float) -> str:
    """A measured value with four significant digits."""
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """A time span, e.g. ``0.8 s``, ``42 s``, ``3 min 12 s``, ``1 h 04 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    return f"{whole // _HOUR:,} h {whole % _HOUR // _MINUTE:02} min"


def parameter(name: str, value: object) -> str:
    """A parameter's value; an epsilon that is a whole number of grey levels is also given as such."""
    if not isinstance(value, float):
        return short(str(value))
    levels = value * _LEVELS
    if name.endswith("epsilon") and levels >= 1 and abs(levels - round(levels)) < 1e-6:
        return f"{value:.4g} = {round(levels)}/{_LEVELS}"
    return f"{value:.6g}"


def radius(epsilon: float) -> str:
    """A radius; one that is a whole number of grey levels as such, e.g. ``8/255``."""
    levels = epsilon * _LEVELS
    if 1 <= levels <= _LEVELS and abs(levels - round(levels)) < 1e-6 and round(levels) % 51:
        return f"{round(levels)}/{_LEVELS}"
    return f"{epsilon:.4g}"


def short(text: str, limit: int = 300) -> str:
    """The text, cut with an ellipsis where it is longer than a table has room for."""
    return text if len(text) <= limit else f"{text[: limit - 1]}\N{HORIZONTAL ELLIPSIS}"


def flatten(section: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Write a nested configuration as dotted names and values, in its own order."""
    rows: list[tuple[str, str]] = []
    for key, value in section.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows += flatten(value, f"{name}.")
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(parameter(key, item) for item in value)))
        else:
            rows.append((name, "not set" if value is None else parameter(key, value)))
    return rows
