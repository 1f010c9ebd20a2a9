"""Hands a part's bytes from the event loop, where they arrive, to the thread that stores them."""

import anyio
import anyio.from_thread

_BATCH_BYTES = 1 << 20
_BATCHES = 2


class AbortedError(Exception):
    """The upload was given up, so what was fed so far is not the whole file."""


class Feed:
    """A bounded pipe: writing waits for the reader, so a fast sender fills no memory.

    The end of the pipe tells nothing by itself; only :meth:`finish` makes what was read a whole file.
    """

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[bytes](_BATCHES)
        self._finished = False
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._unread = memoryview(b"")

    async def write(self, chunk: bytes) -> None:
        """Feed some bytes; small chunks are gathered, since every hand-over wakes a thread.

        Raises:
            anyio.BrokenResourceError: The reader has gone.
        """
        self._pending.append(chunk)
        self._pending_bytes += len(chunk)
        if self._pending_bytes >= _BATCH_BYTES:
            await self._flush()

    async def finish(self) -> None:
        """The file is whole.

        Raises:
            anyio.BrokenResourceError: The reader has gone.
        """
        await self._flush()
        self._finished = True
        self.close()

    def close(self) -> None:
        """Nothing more will be written; before :meth:`finish`, this gives the upload up."""
        self._send.close()

    def stop_reading(self) -> None:
        """Nothing more will be read."""
        self._receive.close()

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, called from the storing thread; empty at the end of the whole file.

        Raises:
            AbortedError: The upload was given up.
        """
        if not self._unread:
            try:
                self._unread = memoryview(anyio.from_thread.run(self._receive.receive))
            except anyio.EndOfStream:
                if not self._finished:
                    raise AbortedError from None
                return b""
        taken, self._unread = self._unread[:size], self._unread[size:]
        return bytes(taken)

    async def _flush(self) -> None:
        if self._pending:
            batch, self._pending, self._pending_bytes = b"".join(self._pending), [], 0
            await self._send.send(batch)
