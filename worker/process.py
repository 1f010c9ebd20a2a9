"""A child process in a process group of its own, and the pipes to it."""

import os
import select
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Never

import structlog
from pydantic import ValidationError

from ladder_schema.protocol import FROM_CHILD, MAX_LINE_BYTES, Message, Order
from worker.cgroups import Cgroup
from worker.endings import ProtocolViolation
from worker.environment import child_environment
from worker.identity import Identity, OuterWall, start_as
from worker.lines import LineBuffer
from worker.usage import family

log = structlog.get_logger(__name__)

# Isolated mode: neither the current directory nor any PYTHON* variable decides what is imported.
CHILD_COMMAND = (sys.executable, "-I", "-m", "worker.child")

_CHUNK_BYTES = 1 << 16
_TAIL_BYTES = 1 << 13
_LOG_DRAIN_SECONDS = 1.0
_GONE_SECONDS = 120.0  # to give back a large model's memory takes seconds, a driver's included
_SHELLS_SIGNALS = 128  # and above: how bubblewrap, like a shell, reports that a signal ended a program


class ChildProcess:
    """One child: started on construction, killed with its whole process group by `close`.

    What has left the group (`setsid`) may outlive it, until whatever contains the worker ends.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        work_dir: Path,
        log: Path,
        max_log_bytes: int,
        identity: Identity | None,
        cgroup: Cgroup | None = None,
        outer_wall: OuterWall | None = None,
    ) -> None:
        self._process = start_as(
            identity,
            command,
            work_dir.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=work_dir,
            env=child_environment(work_dir),
            outer_wall=outer_wall,
        )
        self.pid = self._process.pid
        self.cgroup = cgroup
        self._has_outer_wall = outer_wall is not None
        with ExitStack() as undo:
            undo.callback(self._abandon)
            self.enter_cgroup()
            self._stdin, self._stdout = _pipe(self._process.stdin), _pipe(self._process.stdout)
            os.set_blocking(self._stdin.fileno(), False)
            os.set_blocking(self._stdout.fileno(), False)
            self._log = _LogCopy(_pipe(self._process.stderr), log, max_log_bytes)
            self._lines = LineBuffer(MAX_LINE_BYTES)
            self._pidfd = os.pidfd_open(self.pid)
            self._selector = selectors.DefaultSelector()
            self._selector.register(self._pidfd, selectors.EVENT_READ)
            self._selector.register(self._stdout, selectors.EVENT_READ)
            undo.pop_all()
        self.exited = False

    def enter_cgroup(self) -> None:
        """Move all there is of the child into its group; within an outer wall there is more of it later."""
        if self.cgroup is None:
            return
        try:
            self.cgroup.add(family(self.pid))
        except BaseException:
            self._abandon()
            raise

    def send(self, message: Order) -> None:
        """Write a message; a child that has gone, or does not read, is noticed elsewhere."""
        with suppress(BrokenPipeError, BlockingIOError):
            self._stdin.write(message.model_dump_json().encode() + b"\n")

    def receive(self, timeout: float) -> list[Message]:
        """Wait for messages or the child's end, whichever comes first, but no longer than `timeout` seconds.

        `exited` is set once the child is gone and everything it said has been given out.

        Raises:
            ProtocolViolation: What it said is no message.
        """
        ready = {key.fd for key, _ in self._selector.select(timeout)}
        chunk = self._read() if self._stdout.fileno() in ready else None
        if chunk == b"":
            self._selector.unregister(self._stdout)
        if self._pidfd in ready and not chunk:
            self.exited = True
        return [_parse(line) for line in self._lines.feed(chunk or b"")]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child's whole process group.

        The group's id cannot belong to anybody else: the child is not reaped before `close`.
        """
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def close(self) -> int:
        """Kill what is left of the group and give back the pipes; once is enough, and twice does no harm.

        It is gone when this returns: its memory is free, a GPU's too, before the next job is claimed. Where
        no signal ends it, as in a call into a driver that does not return, this worker ends instead.

        Returns:
            The child's exit code, negative for a signal.
        """
        if self._process.returncode is not None:
            return self._process.returncode
        # Within an outer wall the process that holds the model is not the one that is reaped here.
        pidfds = list(_opened(family(self.pid)))
        self.signal(signal.SIGKILL)
        deadline = time.monotonic() + _GONE_SECONDS
        for pidfd in pidfds:
            if not select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                _leave_behind(self.pid)
            os.close(pidfd)
        try:
            returncode = self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _leave_behind(self.pid)
        if self._has_outer_wall and returncode > _SHELLS_SIGNALS:
            returncode = _SHELLS_SIGNALS - returncode
        self._log.join(_LOG_DRAIN_SECONDS)
        self._selector.close()
        os.close(self._pidfd)
        self._stdin.close()
        self._stdout.close()
        return returncode

    @property
    def log_tail(self) -> bytes:
        """The last of what the child wrote to its standard error."""
        return self._log.tail

    def _abandon(self) -> None:
        """End a child that nobody would watch."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> bytes | None:
        try:
            return os.read(self._stdout.fileno(), _CHUNK_BYTES)
        except BlockingIOError:
            return None


class _LogCopy(threading.Thread):
    """Copies a pipe to a file up to a size, reads the rest and forgets it, and remembers the last bytes."""

    def __init__(self, source: IO[bytes], target: Path, max_bytes: int) -> None:
        super().__init__(name="child-log", daemon=True)
        self.tail = b""
        self._source = source
        self._target = target
        self._left = max_bytes
        self.start()

    def run(self) -> None:
        with self._source, self._opened() as file:
            while chunk := self._source.read(_CHUNK_BYTES):
                self.tail = (self.tail + chunk)[-_TAIL_BYTES:]
                try:
                    file.write(chunk[: self._left])
                    self._left -= min(self._left, len(chunk))
                except OSError:
                    # A full disk: without somebody who reads, the child would stand still.
                    self._left = 0

    def _opened(self) -> IO[bytes]:
        try:
            return self._target.open("wb", buffering=0)
        except OSError:
            log.warning("child_log_lost", path=str(self._target), exc_info=True)
            self._left = 0
            return BytesIO()


def _leave_behind(pid: int) -> Never:
    """End this worker, as one that is killed: its lease runs out, and what started it starts it anew.

    It must not claim again: what the child has, a GPU perhaps, is not free.
    """
    states = {member: _state(member) for member in family(pid)}
    log.critical("child_not_gone", pid=pid, seconds=_GONE_SECONDS, states=states)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(os.EX_OSERR)


def _state(pid: int) -> str:
    """Its state, and where in the kernel it waits, as far as the kernel says."""
    words = []
    for name in ("stat", "wchan"):
        with suppress(OSError):
            words.append(Path(f"/proc/{pid}/{name}").read_text().rpartition(") ")[2].partition(" ")[0])
    return " ".join(words)


def _opened(pids: Iterable[int]) -> Iterator[int]:
    for pid in pids:
        with suppress(ProcessLookupError):
            yield os.pidfd_open(pid)


def _parse(line: bytes) -> Message:
    try:
        return FROM_CHILD.validate_json(line)
    except ValidationError as error:
        raise ProtocolViolation(f"a line that is no message ({error.errors()[0]['type']})") from error


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("the child was started without its pipes")
    return stream
