"""What can be killed, and how."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ladder_local.stack import LocalStack

# Whoever kills a job's child cannot be told from a job that kills it: at the third death the job would fail.
MAX_CHILD_KILLS = 2


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        at: Seconds since the start.
        target: What was killed.
        victim: Which of them.
    """

    at: float
    target: str
    victim: str


class Chaos:
    """Kills at random, with SIGKILL and nothing gentler; the stack's supervisor starts again what it started.

    Args:
        stack: What to kill in.
        workers: How many workers it has.
        rng: Chooses.
    """

    def __init__(self, stack: LocalStack, workers: int, rng: random.Random) -> None:
        self.kills: list[Kill] = []
        self._stack = stack
        self._workers = [f"worker-{number}" for number in range(1, workers + 1)]
        self._rng = rng
        self._started = time.monotonic()
        self._child_kills: Counter[str] = Counter()
        self._targets: dict[str, Callable[[], str | None]] = {
            "child": self._kill_child,
            "worker": lambda: self._kill_process(rng.choice(self._workers)),
            "worker with its child": self._kill_worker_with_child,
            "sweeper": lambda: self._kill_process("housekeeping"),
            "API": lambda: self._kill_process("api"),
            "broker": lambda: self._kill_process("valkey"),
            "Postgres": lambda: self._kill_process("postgres"),
            "object store": lambda: self._kill_process("seaweedfs"),
        }

    @property
    def targets(self) -> tuple[str, ...]:
        """What is killed, in the order of the table."""
        return tuple(self._targets)

    def kill_one(self) -> Kill:
        """Kill something that is there to be killed."""
        order = self._rng.sample(self.targets, len(self._targets))
        # Each target comes up as often as every other, whatever the dice say about a short run.
        order.sort(key=Counter(kill.target for kill in self.kills).__getitem__)
        for target in order:
            if victim := self._targets[target]():
                self.kills.append(Kill(time.monotonic() - self._started, target, victim))
                return self.kills[-1]
        raise RuntimeError("nothing runs that could be killed")

    def _kill_process(self, name: str) -> str | None:
        with suppress(ProcessLookupError):
            os.kill(self._stack.supervisor.process(name).pid, signal.SIGKILL)
            return name
        return None

    def _kill_child(self) -> str | None:
        children = self._children()
        mortal = sorted(pid for pid, job in children.items() if self._child_kills[job] < MAX_CHILD_KILLS)
        if not mortal:
            return None
        pid = self._rng.choice(mortal)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
            self._child_kills[children[pid]] += 1
            return f"of job {children[pid][:8]}"
        return None

    def _kill_worker_with_child(self) -> str | None:
        """Both at once: the worker is stopped first, so that it does not see its child's end."""
        name = self._rng.choice(self._workers)
        worker = self._stack.supervisor.process(name).pid
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGSTOP)
            for pid in self._children():
                if _parent(pid) == worker:
                    os.killpg(pid, signal.SIGKILL)
            os.kill(worker, signal.SIGKILL)
            return name
        return None

    def _children(self) -> dict[int, str]:
        """Process id of each child at work, and its job's id."""
        work_dir = self._stack.settings.work_dir
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ValueError):
                job, attempt, *_ = (entry / "cwd").readlink().relative_to(work_dir).parts
                pid = int(entry.name)
                # The leader of its group: where bubblewrap stands around the child, all of it dies together.
                if attempt.isdigit() and job != "self-test" and os.getpgid(pid) == pid:
                    found[pid] = job
        return found


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except FileNotFoundError:
        return 0
