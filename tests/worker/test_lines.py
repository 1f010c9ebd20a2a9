import pytest

from worker.endings import ProtocolViolation
from worker.lines import LineBuffer


def test_lines_are_cut_wherever_the_chunks_end():
    buffer = LineBuffer(max_bytes=8)
    assert buffer.feed(b"one\ntw") == [b"one"]
    assert buffer.feed(b"o") == []
    assert buffer.feed(b"\n\nthree\n") == [b"two", b"", b"three"]


def test_a_line_may_be_as_long_as_allowed():
    assert LineBuffer(max_bytes=3).feed(b"abc\n") == [b"abc"]


@pytest.mark.parametrize("stream", [b"abcd\n", b"abcd", b"ab\nabcd\n", b"x" * 100])
def test_a_line_longer_than_allowed_is_refused_before_it_ends(stream):
    with pytest.raises(ProtocolViolation, match="more than 3 bytes"):
        LineBuffer(max_bytes=3).feed(stream)
