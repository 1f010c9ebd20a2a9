"""Names out of a stranger's file, made fit for a message."""

from collections.abc import Iterable
from itertools import islice

MAX_NAME_LENGTH = 200


def shown(name: str) -> str:
    r"""Return a name without what a terminal or a page might obey, and not too long.

    >>> shown("cat\x1b[2J.png")
    'cat?[2J.png'
    """
    # Not printable: control characters, line separators, bidirectional overrides, lone surrogates.
    clean = "".join(c if c.isprintable() else "?" for c in name[: MAX_NAME_LENGTH + 1])
    return clean if len(clean) <= MAX_NAME_LENGTH else clean[: MAX_NAME_LENGTH - 1] + "…"


def quoted(name: str) -> str:
    r"""Return a name as `shown` does, in quotes.

    >>> print(quoted("cat.png"))
    'cat.png'
    """
    return repr(shown(name))


def shown_list(names: Iterable[str], limit: int) -> str:
    """Return the first names, and whether there are more.

    >>> shown_list(["a", "b", "c"], 2)
    'a, b, ...'
    """
    first = [shown(name) for name in islice(names, limit + 1)]
    return ", ".join(first[:limit]) + (", ..." if len(first) > limit else "")
