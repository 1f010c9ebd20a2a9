"""A network that can be cut: a TCP relay between a program and a server."""

import socket
import threading
from contextlib import suppress
from typing import Self

_CHUNK_BYTES = 1 << 16


class Cable:
    """Relays TCP to a server; a context manager.

    A cut keeps every connection open and moves nothing over it, as a network does that loses packets. What
    was sent meanwhile arrives after the mending, however late.

    Args:
        target: Where the server is, as ``host:port``.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._passable = threading.Event()
        self._passable.set()
        self._allowance = float("inf")
        self.cut_reached = threading.Event()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._passable.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.sever()

    @property
    def address(self) -> str:
        """Where the server seems to be."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Move nothing from now on."""
        self._passable.clear()

    def cut_after(self, size: int) -> None:
        """Cut as soon as so many bytes more were sent to the server; ``cut_reached`` tells when."""
        self.cut_reached.clear()
        self._allowance = size

    def mend(self) -> None:
        """Move everything again, first what has waited."""
        self._allowance = float("inf")
        self._passable.set()

    def sever(self) -> None:
        """End the connections there are; what has waited on them is lost. New ones wait for the mending."""
        while self._sockets:
            with suppress(OSError):
                self._sockets.pop().shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                self._start(self._connect, client)

    def _connect(self, client: socket.socket) -> None:
        self._passable.wait()
        try:
            server = socket.create_connection(self._target)
        except OSError:
            client.close()
            return
        self._sockets += [client, server]
        self._start(self._relay, client, server, True)
        self._relay(server, client, False)

    def _relay(self, source: socket.socket, sink: socket.socket, to_server: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(_CHUNK_BYTES):
                if to_server:
                    self._count(len(chunk))
                self._passable.wait()
                sink.sendall(chunk)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _count(self, size: int) -> None:
        self._allowance -= size
        if self._allowance < 0:
            self._allowance = float("inf")
            self.cut()
            self.cut_reached.set()

    @staticmethod
    def _start(target: object, *arguments: object) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()
