"""Starts processes as children are started, to try what the walls stop, and sees what becomes of them."""

import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from ladder_schema.protocol import Done, Hello, Message, Stop
from worker.cgroups import Cgroup, Cgroups, Limit
from worker.identity import OuterWall
from worker.process import ChildProcess
from worker.sandbox.climbs import ANSWER, HOARD_BYTES
from worker.sandbox.confinement import MAX_THREADS, Confinement
from worker.usage import deleted_bytes, memory_and_threads
from worker.workspace import Workspace

SEEN, UNSEEN = "seen", "not seen"

_COMMAND = (sys.executable, "-I", "-m", "worker.sandbox.climbs")
_SECONDS = 60.0
_TICK_SECONDS = 1.0
_MAX_LOG_BYTES = 1 << 16
_CPU_SECONDS = 1
_MAX_MEMORY_BYTES = 4 * HOARD_BYTES


class TrialError(Exception):
    """A process that was to try the walls did not do what it was to do."""


@dataclass(frozen=True)
class Outcome:
    """What came of all trials.

    Attributes:
        missing: Walls that could not be raised, each with the reason.
        climbs: What came of each attempt, by its name.
    """

    missing: Mapping[str, str]
    climbs: Mapping[str, str]


@dataclass(frozen=True)
class Trials:
    """How children of this worker are started.

    Attributes:
        workspace: An attempt's, for all of them together.
        confinement: A child's; ``writable`` lies below the workspace's output.
        cgroups: Where each gets a group, if anywhere.
        outer_wall: What each is started within, if anything.
    """

    workspace: Workspace
    confinement: Confinement
    cgroups: Cgroups | None
    outer_wall: OuterWall | None

    def run(self, outside: Path) -> Outcome:
        """Run all of them.

        Args:
            outside: A directory beside the one that a child may write to, with a ``file``, open to everybody.

        Raises:
            TrialError: One did not come to its end.
            OSError: One could not be started.
        """
        trials = {
            "compute without end": self._spin,
            "allocate without end": self._hoard,
            "outlive the worker": self._outlive,
        }
        with ThreadPoolExecutor(thread_name_prefix="trial") as pool:
            running = {name: pool.submit(trial) for name, trial in trials.items()}
        climbs = {name: trial.result() for name, trial in running.items()}
        # After the others: it starts so many threads that a container may have no room for more.
        missing, answers, is_seen = self._climb(outside)
        return Outcome(missing, {**answers, **climbs, "hide a deleted file": SEEN if is_seen else UNSEEN})

    def _climb(self, outside: Path) -> tuple[dict[str, str], dict[str, str], bool]:
        """What it says is missing, what came of its attempts, and whether what it has deleted can be seen."""
        counts_threads = self.confinement.own_user or self.cgroups is not None
        with self._started("climb", str(outside), *(["threads"] if counts_threads else [])) as child:
            _await(child, Done)
            disk, _ = deleted_bytes(
                child.pid, self.workspace.root.resolve(), largest=self.confinement.max_file_bytes
            )
            answer = json.loads((Path(self.confinement.writable) / ANSWER).read_text())
        return answer["missing"], answer["outcomes"], disk > 0

    def _spin(self) -> str:
        with self._started("spin", max_cpu_seconds=_CPU_SECONDS) as child:
            return _end_of(child)

    def _hoard(self) -> str:
        with self._started("hoard", max_memory_bytes=HOARD_BYTES // 2) as child:
            if child.cgroup is not None:
                end = _end_of(child)
                return end if child.cgroup.oom_kills else f"{end}, not for its memory"
            _await(child, Done)
            memory, _ = memory_and_threads(child.pid)
            return SEEN if memory >= HOARD_BYTES else UNSEEN

    def _outlive(self) -> str:
        """The kernel takes the thread that started a process for its parent; so a thread ends here for it."""
        with ExitStack() as leaving:
            with ThreadPoolExecutor(1) as parent:
                child = parent.submit(leaving.enter_context, self._started("wait")).result()
            return _end_of(child)

    @contextmanager
    def _started(
        self, *words: str, max_cpu_seconds: int | None = None, max_memory_bytes: int | None = None
    ) -> Iterator[ChildProcess]:
        """One that has raised its walls and goes on to its trial; it is gone at the end of the block."""
        confinement = replace(
            self.confinement, max_cpu_seconds=max_cpu_seconds or self.confinement.max_cpu_seconds
        )
        with self._group(max_memory_bytes or _MAX_MEMORY_BYTES) as cgroup:
            child = ChildProcess(
                [*_COMMAND, confinement.to_argument(), *words],
                work_dir=self.workspace.output,
                log=self.workspace.root / f"{words[0]}.log",
                max_log_bytes=_MAX_LOG_BYTES,
                identity=self.workspace.identity,
                cgroup=cgroup,
                outer_wall=self.outer_wall,
            )
            try:
                _await(child, Hello)
                child.enter_cgroup()
                child.send(Stop())
                yield child
            finally:
                child.close()

    def _group(self, memory_bytes: int) -> AbstractContextManager[Cgroup | None]:
        if self.cgroups is None:
            return nullcontext()
        return self.cgroups.group(f"self-test-{uuid4().hex}", Limit(memory_bytes, MAX_THREADS))


def _await(child: ChildProcess, kind: type[Message]) -> None:
    """Wait until it has said something."""
    deadline = time.monotonic() + _SECONDS
    while not any(isinstance(message, kind) for message in _receive(child, deadline)):
        if child.exited:
            words = child.log_tail.decode(errors="replace").strip().rpartition("\n")[2]
            raise TrialError(f"it ended with {child.close()} before it had said {kind.__name__}: {words}")


def _end_of(child: ChildProcess) -> str:
    """Wait until it has ended, and say how."""
    deadline = time.monotonic() + _SECONDS
    while not child.exited:
        _receive(child, deadline)
    returncode = child.close()
    return signal.Signals(-returncode).name if returncode < 0 else f"exit code {returncode}"


def _receive(child: ChildProcess, deadline: float) -> list[Message]:
    if time.monotonic() > deadline:
        raise TrialError(f"it did not end within {_SECONDS:.0f} s")
    return child.receive(_TICK_SECONDS)
