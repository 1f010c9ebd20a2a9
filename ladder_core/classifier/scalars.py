"""Numbers, texts and lists as TorchScript computes them, where Python would compute something else.

An integer is of 64 bits and wraps around; Python's would go on growing, and so a program of a few lines could
fill any memory. A text or list is bounded, for the same reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

MAX_ITEMS = 1 << 20
"""Items of a list and characters of a text that a program may make.

Programs handle sizes, names and the odd list of coordinates, thousands of items at most; while one that
doubles a list 40 times is 40 lines long, and would take terabytes.
"""

_P = ParamSpec("_P")
_R = TypeVar("_R")
_MIN_INT = -(1 << 63)
_RANGE = 1 << 64


def wrapped(function: Callable[_P, _R]) -> Callable[_P, _R | int]:
    """The function with its integer results taken modulo 2^64, as signed; other results stay as they are."""

    @wraps(function)
    def compute(*operands: _P.args, **options: _P.kwargs) -> _R | int:
        result = function(*operands, **options)
        if isinstance(result, bool) or not isinstance(result, int):
            return result
        return _int64(result)

    return compute


def truncated(value: float | str) -> int:
    """``int``, where a number beyond 64 bits becomes the least integer, as on x86.

    Raises:
        ValueError: If a text holds no integer of 64 bits.
    """
    if isinstance(value, float):
        return int(value) if _MIN_INT <= value < -_MIN_INT else _MIN_INT
    number = int(value)
    if not _MIN_INT <= number < -_MIN_INT:
        raise ValueError(f"{str(value)[:40]} is no integer of 64 bits")
    return number


def joined(function: Callable[..., _R]) -> Callable[..., _R]:
    """The function, an addition, with texts and lists bounded that it joins."""

    @wraps(function)
    def compute(first: object, second: object) -> _R:
        if isinstance(first, (str, list)) and isinstance(second, (str, list)):
            check_items(len(first) + len(second))
        return function(first, second)

    return compute


def repeated(function: Callable[..., _R]) -> Callable[..., _R]:
    """The function, a multiplication, with lists bounded that it repeats."""

    @wraps(function)
    def compute(first: object, second: object) -> _R:
        for items, times in ((first, second), (second, first)):
            if isinstance(items, list) and isinstance(times, int):
                check_items(len(items) * times)
        return function(first, second)

    return compute


def power(base: float, exponent: float) -> float:
    """A power in double precision, as C's ``pow``; never exact, and so never large.

    Raises:
        ZeroDivisionError: As TorchScript does, for a negative power of zero.
    """
    if base == 0 and exponent < 0:
        raise ZeroDivisionError("0.0 cannot be raised to a negative power")
    base, exponent = float(base), float(exponent)
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -math.inf if base < 0 and exponent % 2 == 1 else math.inf
    except ValueError:  # a fractional power of a negative number
        return math.nan


def integer_power(base: int, exponent: int) -> int:
    """A power of integers, which TorchScript computes in double precision, too."""
    return truncated(power(base, exponent))


def extend(items: list[Any], others: Sequence[Any]) -> list[Any]:
    """Append all of ``others`` to a list in place."""
    check_items(len(items) + len(others))
    items.extend(others)
    return items


def numbers_below(stop: int) -> list[int]:
    """``list(range(stop))``."""
    check_items(stop)
    return list(range(stop))


def check_items(count: int) -> None:
    """Refuse to make what is too long.

    Raises:
        ValueError: If ``count`` items or characters are more than `MAX_ITEMS`.
    """
    if count > MAX_ITEMS:
        raise ValueError(
            f"the program makes a list or text of {count} items; at most {MAX_ITEMS} are allowed outside of "
            "tensors"
        )


def _int64(number: int) -> int:
    return number if _MIN_INT <= number < -_MIN_INT else (number - _MIN_INT) % _RANGE + _MIN_INT
