"""Makes text from an untrusted process fit to be shown."""

import re

_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")
_UNPRINTABLE = re.compile(r"[^\n\t\x20-\x7e\u00a0-\u2027\u202f-\u2065\u2070-\ud7ff\uf900-\ufffc]")


def without_controls(text: str) -> str:
    """Drop terminal escapes, control and direction-changing characters; line ends and tabs stay."""
    return _UNPRINTABLE.sub("", _ESCAPE_SEQUENCE.sub("", text))
