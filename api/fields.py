"""Says what pydantic found wrong so that a user can mend it: which field, what value, what would do."""

import difflib
import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from api.errors import FieldError
from ladder_schema.config import JOB_CONFIG

_MAX_ERRORS = 20
_MAX_LENGTH = 200


def config_errors(error: ValidationError) -> list[FieldError]:
    """What is wrong with a job's configuration, as far as anybody will read."""
    return [_config_error(item) for item in error.errors(include_url=False)[:_MAX_ERRORS]]


def field_errors(items: Iterable[Mapping[str, Any]], *, remedy: str = "See /docs.") -> list[FieldError]:
    """What is wrong with a request's parameters."""
    return [
        FieldError(
            field=_path(item["loc"]), value=_shown(item.get("input")), message=_said(item), remedy=remedy
        )
        for item in items
    ]


def _config_error(item: Mapping[str, Any]) -> FieldError:
    if item["type"] == "union_tag_invalid":
        tags = item["ctx"]["expected_tags"]
        return FieldError(
            field="config.method",
            value=_shown(item["ctx"]["tag"]),
            message="There is no such method.",
            remedy=f"Use one of {tags}, or leave it out.",
        )
    # The union puts its tag in front of the location; the user's JSON has no such level.
    method, *location = item["loc"] or ("",)
    siblings = _properties(str(method), location[:-1])
    name = str(location[-1])[:_MAX_LENGTH] if location else ""
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, siblings, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        message, remedy = "There is no such setting.", f"{hint}Known here: {', '.join(sorted(siblings))}."
    else:
        default = siblings.get(name, {}).get("default")
        known = isinstance(default, str | int | float) and not isinstance(default, bool)
        leave_out = f"Leave it out for the default, {default}." if known else "Leave it out for the default."
        message, remedy = _said(item), f"Change it. {leave_out}"
    return FieldError(
        field=_path(("config", *location)), value=_shown(item.get("input")), message=message, remedy=remedy
    )


def _said(item: Mapping[str, Any]) -> str:
    said = _clean(str(item["msg"])).removeprefix("Value error, ").rstrip(".") + "."
    value = _shown(item.get("input"))
    return said if value is None else f"It is {value!r}. {said}"


@cache
def _schema() -> dict[str, Any]:
    return JOB_CONFIG.json_schema()


def _properties(method: str, location: list[int | str]) -> dict[str, Any]:
    """JSON schema of the settings that stand beside each other at a place of the configuration."""
    node: dict[str, Any] = {"$ref": _schema()["discriminator"]["mapping"].get(method, "")}
    for step in location:
        node = _resolved(node).get("properties", {}).get(step, {})
    found: dict[str, Any] = _resolved(node).get("properties", {})
    return found


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    name = str(node.get("$ref", "")).rpartition("/")[2]
    found: dict[str, Any] = _schema()["$defs"].get(name, {})
    return found


def _path(location: Iterable[int | str]) -> str:
    return _clean(".".join(str(step) for step in location))


def _shown(value: object) -> str | int | float | bool | None:
    """A value short and plain enough to repeat in the answer; None for any other."""
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) >= 2**53:
        return "a very large integer"
    return value if isinstance(value, int | float) else None


def _clean(text: str) -> str:
    """Text cut to a decent length, in characters every client can decode."""
    short = text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"
    return short.encode("utf-8", "backslashreplace").decode()
