"""The child's end of the pipes to its parent."""

import os
import threading
from typing import BinaryIO, Never

from ladder_schema.protocol import MAX_LINE_BYTES, TO_CHILD, Message, Rehearse, Start, Stop

_STDIN, _STDOUT, _STDERR = 0, 1, 2


class Channel:
    """Speaks the protocol over what were standard input and output.

    Both move to private descriptors, so nothing a library or the model prints can become a message: standard
    output is the log from now on, and standard input is empty.
    """

    def __init__(self) -> None:
        self._source: BinaryIO = os.fdopen(os.dup(_STDIN), "rb")
        self._target = os.dup(_STDOUT)
        os.dup2(_STDERR, _STDOUT)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, _STDIN)
        os.close(nothing)
        self.stop_requested = threading.Event()

    def receive_task(self) -> Start | Rehearse:
        """Wait for the task, then listen for requests to stop in the background."""
        message = TO_CHILD.validate_json(self._read_line())
        if isinstance(message, Stop):
            raise TypeError("the first line is a stop message, not a task")
        threading.Thread(target=self._listen, name="orders", daemon=True).start()
        return message

    def send(self, message: Message) -> None:
        """Write a message."""
        line = memoryview(message.model_dump_json().encode() + b"\n")
        try:
            while line:
                line = line[os.write(self._target, line) :]
        except BrokenPipeError:
            _follow_parent()

    def _listen(self) -> None:
        while True:
            self._read_line()
            self.stop_requested.set()

    def _read_line(self) -> bytes:
        line = self._source.readline(MAX_LINE_BYTES)
        if not line.endswith(b"\n"):
            _follow_parent()
        return line


def _follow_parent() -> Never:
    """Exit at once: the parent is gone, and nobody is left to take a result."""
    os._exit(1)
