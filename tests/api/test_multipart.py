"""The multipart stream: the same parts however the bytes are cut; zip archives whole and cut off."""

import asyncio
import zipfile
from collections.abc import AsyncIterator
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from api.errors import BadRequest
from api.intake.formats import TAIL_BYTES, is_zip, zip_flaw
from api.intake.multipart import PartEnd, PartStart, boundary_of, read_parts

BOUNDARY = b"b0undary"


def parse(pieces: list[bytes]) -> list[tuple[str, bytes]]:
    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def collect() -> list[tuple[str, bytes]]:
        parts: list[tuple[str, bytes]] = []
        async for event in read_parts(stream(), BOUNDARY):
            if isinstance(event, PartStart):
                name, content = event.name, b""
            elif isinstance(event, PartEnd):
                parts.append((name, content))
            else:
                content += event
        return parts

    return asyncio.run(collect())


# Contents that look almost like the boundary are what a parser gets wrong.
contents = st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"--", BOUNDARY[:4], b"\r\n--", b"\r\n--b0", b"x", b"\0"])
    | st.binary(max_size=9)
).map(b"".join)


@limits(max_examples=200, deadline=None)
@given(st.lists(contents, min_size=1, max_size=3), st.data())
def test_parts_are_the_same_however_the_bytes_are_cut(parts, data):
    whole = b""
    for number, content in enumerate(parts):
        if b"\r\n--" + BOUNDARY in b"\r\n" + content:
            return
        head = f'Content-Disposition: form-data; name="p{number}"; filename="f"'.encode()
        whole += b"--" + BOUNDARY + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n"
    whole += b"--" + BOUNDARY + b"--\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert parse(pieces) == [(f"p{number}", content) for number, content in enumerate(parts)]


@limits(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_are_parts_or_a_problem(pieces):
    with suppress(BadRequest):
        parse([b"--" + BOUNDARY + b"\r\n", *pieces])


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data; boundary=b0undary", 'Multipart/Form-Data; charset=utf-8; boundary="b0undary"'],
)
def test_the_boundary_is_found(content_type):
    assert boundary_of(content_type) == BOUNDARY


@limits(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=4),
    st.binary(max_size=40),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.data(),
)
def test_a_whole_zip_passes_and_a_cut_one_does_not(members, comment, compression, data):
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.comment = comment.replace(b"PK", b"")
        for number, member in enumerate(members):
            archive.writestr(str(number), member.replace(b"PK", b""))
    whole = buffer.getvalue()
    assert is_zip(whole)
    assert zip_flaw(whole[-TAIL_BYTES:], len(whole)) is None
    end = whole.rfind(b"PK\x05\x06")
    cut = whole[: data.draw(st.integers(0, end + 3))]
    assert zip_flaw(cut[-TAIL_BYTES:], len(cut)) is not None
