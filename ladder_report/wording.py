"""How the report's numbers are written for people."""

import re
from collections.abc import Mapping
from typing import Any

from ladder_schema.report import Accuracy, AttackResult, Count

RECOMMENDATIONS: Mapping[str, str] = {
    "deploy": "Deploy",
    "deploy_with_care": "Deploy with care",
    "do_not_deploy": "Do not deploy",
}
METHODS: Mapping[str, str] = {
    "ladder": "LADDER, latent boundary-guided adversarial training",
    "pgd": "PGD adversarial training",
}
ATTACKS: Mapping[str, str] = {"fgsm": "FGSM", "pgd": "PGD", "ladder": "LADDER"}
SETTINGS: Mapping[str, str] = {"white_box": "white-box", "transfer": "transfer"}

# Controls and non-characters are errors in HTML; bidirectional overrides could make a text read as another.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef"
    + "".join(chr(plane * 0x10000 + last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
_MINUTE = 60
_HOUR = 3600
_LEVELS = 255


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


def points(before: Accuracy, after: Accuracy) -> str:
    """The change between two accuracies in percentage points, with its sign."""
    change = 100 * (after.rate - before.rate)
    text = f"{abs(change):.1f}"
    if float(text) == 0:
        return "\N{PLUS-MINUS SIGN}0.0"
    return f"{'+' if change > 0 else chr(0x2212)}{text}"


def direction(before: Accuracy, after: Accuracy) -> str:
    """Whether an accuracy went ``up``, ``down`` or, to the decimal shown, stayed the ``same``."""
    return {"+": "up", "\N{MINUS SIGN}": "down"}.get(points(before, after)[0], "same")


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
        return str(value)
    levels = value * _LEVELS
    if name.endswith("epsilon") and levels >= 1 and abs(levels - round(levels)) < 1e-6:
        return f"{value:.4g} = {round(levels)}/{_LEVELS}"
    return f"{value:.6g}"


def attack_label(result: AttackResult) -> str:
    """Name of an attack in its setting, e.g. ``PGD, white-box``."""
    return f"{ATTACKS[result.attack]}, {SETTINGS[result.setting]}"


def class_label(names: tuple[str, ...], index: int) -> str:
    """Name of a class, or its number where the dataset has no name for it."""
    return names[index] if index < len(names) and names[index].strip() else f"class {index}"


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
