"""Makes text from an untrusted process fit to be shown."""

import re

from ladder_schema.text import without_controls

_DIRECTORIES = re.compile(r"(?:/[\w.+@~-]+)+/(?=[\w.+@~-])")

MAX_LAST_WORDS = 1_000


def printable(text: str, limit: int) -> str:
    """Drop terminal escapes, control and direction-changing characters, and cut to a length."""
    cleaned = without_controls(text).strip()
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1] + "…"


def last_words(log_tail: bytes, *, lines: int = 5) -> str:
    """The last lines of a log: printable, and without the directories that would describe this machine."""
    text = _DIRECTORIES.sub("", printable(log_tail.decode(errors="replace"), len(log_tail) + 1))
    kept = [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]
    return "\n".join(kept)[-MAX_LAST_WORDS:]
