"""Cuts a stream of untrusted bytes into lines of bounded length."""

from worker.endings import ProtocolViolation


class LineBuffer:
    """Collects bytes and gives back whole lines.

    A line that is not complete after `max_bytes` is refused, so a stream without line ends cannot fill the
    memory.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Add bytes and return the lines they complete, without their line ends.

        Raises:
            ProtocolViolation: A line is longer than allowed.
        """
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if any(len(line) > self._max_bytes for line in (*lines, self._rest)):
            raise ProtocolViolation(f"a line of more than {self._max_bytes} bytes")
        return lines
