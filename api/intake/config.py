"""Reads the ``config`` part: JSON text into a complete configuration, or every reason why not."""

import json

from pydantic import ValidationError

from api.errors import Invalid
from api.fields import config_errors
from ladder_schema.config import JobConfig, resolve_config

MAX_CONFIG_BYTES = 1 << 16


def parse_config(text: bytes) -> JobConfig:
    """Complete a configuration; empty text takes every default.

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
        return resolve_config(raw)
    except ValidationError as error:
        raise Invalid(config_errors(error)) from error
