"""Reads the ``config`` part: JSON text into a complete configuration, or every reason why not."""

import json

from pydantic import ValidationError

from api.errors import FieldError, Invalid
from api.fields import config_errors
from ladder_schema.config import JobConfig, resolve_config

MAX_CONFIG_BYTES = 1 << 16


def parse_config(text: bytes, *, longest_seconds: float) -> JobConfig:
    """Complete a configuration; empty text takes every default.

    Args:
        text: JSON.
        longest_seconds: How long any job may run.

    Raises:
        Invalid: It is not JSON, not an object, or holds a key or a value that will not do.
    """
    try:
        raw = json.loads(text.decode()) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it is not readable text"
        raise Invalid.field(
            "config", f"This is not JSON: {reason}.", 'Send a JSON object, e.g. {"preset": "quick"}.'
        ) from error
    if not isinstance(raw, dict):
        raise Invalid.field(
            "config",
            f"This is JSON, but not an object: {type(raw).__name__}.",
            'Send a JSON object, e.g. {"preset": "quick"}.',
        )
    try:
        config = resolve_config(raw)
    except ValidationError as error:
        raise Invalid(config_errors(error)) from error
    if config.max_runtime is not None and config.max_runtime > longest_seconds:
        raise Invalid([_runs_too_long(config.max_runtime, longest_seconds)])
    return config


def _runs_too_long(wanted: float, longest: float) -> FieldError:
    return FieldError(
        field="config.max_runtime",
        value=wanted,
        message=f"This is more than the {longest:g} seconds that a job may run here.",
        remedy=f"Give at most {longest:g}, or leave it out to be allowed that much.",
    )
