"""Turns a stream of bytes that nobody vouches for into text that a terminal can be shown."""

import codecs
from collections.abc import Iterable, Iterator

from ladder_schema.text import without_controls

# A line longer than this is shown in pieces; an escape sequence cut in two loses its control character all
# the same.
_MAX_PIECE = 1 << 16


def printable(chunks: Iterable[bytes]) -> Iterator[str]:
    """Whole lines as they come, without control characters; bytes that are no UTF-8 are replaced."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    pending = ""
    for chunk in chunks:
        pending += decoder.decode(chunk)
        lines, end, pending = pending.rpartition("\n")
        if len(pending) > _MAX_PIECE:
            lines, end, pending = lines + end + pending, "", ""
        if text := without_controls(lines + end):
            yield text
    if text := without_controls(pending + decoder.decode(b"", final=True)):
        yield text
