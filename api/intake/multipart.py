"""A multipart body as a stream of parts, each a stream of chunks; nothing is kept."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.errors import BadRequest, UnsupportedMediaType

MEDIA_TYPE = "multipart/form-data"

_MAX_HEADERS = 8
_MAX_HEADER_BYTES = 4096


@dataclass(frozen=True)
class PartStart:
    """A part begins."""

    name: str
    filename: str | None


@dataclass(frozen=True)
class PartEnd:
    """The part begun last is complete."""


Event = PartStart | bytes | PartEnd


def boundary_of(content_type: str) -> bytes:
    """What separates the parts.

    Raises:
        UnsupportedMediaType: The body is no multipart form.
        BadRequest: The boundary is missing.
    """
    media_type, options = parse_options_header(content_type)
    if media_type.decode("latin-1").lower() != MEDIA_TYPE:
        raise UnsupportedMediaType(
            f"Send the body as {MEDIA_TYPE} with the parts model, dataset and, if you like, config.",
            headers={"Accept": MEDIA_TYPE},
        )
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise BadRequest("The Content-Type header names no boundary between the parts.")
    return boundary


async def read_parts(body: AsyncIterator[bytes], boundary: bytes) -> AsyncGenerator[Event]:
    """Parse a body as it arrives, up to the boundary that closes it; what follows is not read.

    Raises:
        BadRequest: The body is no multipart form, or ends before it is complete.
    """
    parser = _Parser(boundary)
    async for chunk in body:
        for event in parser.feed(chunk):
            yield event
        if parser.complete:
            return
    raise BadRequest("The body ends in the middle of a part.")


class _Parser:
    """The push parser's callbacks, collected into events."""

    def __init__(self, boundary: bytes) -> None:
        self.complete = False
        self._events: list[Event] = []
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_begin": self._begin_header,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_data,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._start_part,
                    "on_part_data": self._data,
                    "on_part_end": lambda: self._events.append(PartEnd()),
                    "on_end": self._end,
                },
                max_header_count=_MAX_HEADERS,
                max_header_size=_MAX_HEADER_BYTES,
            )
        except FormParserError as error:
            raise BadRequest(f"The boundary cannot be used: {error}.") from error

    def feed(self, chunk: bytes) -> list[Event]:
        self._events = []
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise BadRequest(f"The body is no valid multipart form: {error}.") from error
        return self._events

    def _begin_header(self) -> None:
        self._header_name = self._header_value = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_data(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value

    def _start_part(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name, filename = options.get(b"name"), options.get(b"filename")
        if name is None:
            raise BadRequest("A part of the form has no name.")
        self._events.append(PartStart(_text(name), None if filename is None else _text(filename)))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])

    def _end(self) -> None:
        self.complete = True


def _text(raw: bytes) -> str:
    """A name somebody sent, without what could garble a log or a header."""
    return "".join(c for c in raw.decode("utf-8", "replace") if c.isprintable())[:255]
