"""Watches one child from its start to its end, and says how the attempt ended."""

import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from ladder_jobs import health
from ladder_jobs.claims import Answer
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import MAX_MESSAGE_LENGTH, JobError, Stage
from ladder_schema.protocol import (
    PROTOCOL_VERSION,
    Checkpoint,
    CheckpointName,
    Done,
    Failed,
    Hello,
    Message,
    Progress,
    Start,
    Stop,
    Stopped,
)
from worker import metrics
from worker.endings import (
    Cause,
    Died,
    Dropped,
    Ending,
    Finished,
    NotStarted,
    OtherVersion,
    ProtocolViolation,
    Refused,
)
from worker.lease import STUCK_SECONDS, Lease
from worker.limits import Limits, too_much_memory
from worker.process import ChildProcess
from worker.runtime import Runtime
from worker.settings import WorkerSettings
from worker.stages import StageClock
from worker.text import last_words, printable

log = structlog.get_logger(__name__)

_TICK_SECONDS = 0.1

# A child speaks of stages and percents: more than this is an attempt to keep its supervisor busy.
_MESSAGE_ALLOWANCE = 1_000
_MESSAGES_PER_SECOND = 100

# The job is somebody else's, or will be before a child could comply.
_NOT_OURS = frozenset({Cause.LOST, Cause.BROKEN})

# Only who stands outside the child can know these.
_NOT_THE_CHILDS = frozenset(
    {
        ErrorCode.TIME_LIMIT,
        ErrorCode.IDLE_LIMIT,
        ErrorCode.DISK_LIMIT,
        ErrorCode.CHILD_CRASHED,
        ErrorCode.PROTOCOL_VIOLATION,
        ErrorCode.WORKER_LOST,
        ErrorCode.QUEUE_TIMEOUT,
    }
)


class Supervisor:
    """Turns messages, orders, limits and the child's end into an `Ending`."""

    def __init__(
        self,
        child: ChildProcess,
        lease: Lease,
        shutdown: threading.Event,
        settings: WorkerSettings,
        runtime: Runtime,
        root: Path,
        on_checkpoint: Callable[[CheckpointName], None],
    ) -> None:
        self._child = child
        self._lease = lease
        self._shutdown = shutdown
        self._settings = settings
        self._on_checkpoint = on_checkpoint
        self._started = time.monotonic()
        self._oom_kills = _oom_kills()
        self._limits = Limits(settings, runtime, child.pid, root, watches_memory=child.cgroup is None)
        self._messages = 0
        self._stage: Stage | None = None
        self._clock = StageClock()
        self._last: Done | Failed | Stopped | None = None
        self._cause: Cause | None = None
        self._term_at = float("inf")
        self._kill_at = float("inf")

    def run(self, start: Start) -> Ending:
        """Send the child its task and stay with it; when this returns, its process group is gone.

        Raises:
            OtherVersion: The child does not speak as this worker does, whatever the job is.
        """
        self._child.send(start)
        metrics.watch_child(self._child.pid)
        try:
            ending = self._watch()
        except ProtocolViolation as violation:
            ending = Refused(violation.as_job_error(self._stage))
        finally:
            metrics.watch_child(None)
            self._clock.leave()
            returncode = self._child.close()
            health.rest("supervisor")
            log.info("child_exited", pid=self._child.pid, returncode=returncode)
        ending = ending or self._judge(returncode)
        metrics.count_exit(ending, returncode)
        return ending

    def _watch(self) -> Ending | None:
        """Returns an ending decided here, or None where the child came to its own."""
        while not self._child.exited:
            health.beat("supervisor", within=STUCK_SECONDS)
            for message in self._child.receive(_TICK_SECONDS):
                self._hear(message)
            self._heed_orders()
            if self._cause in _NOT_OURS:
                return Dropped(self._cause)
            if exceeded := self._limits.exceeded():
                code, reason = exceeded
                return Refused(JobError(code=code, message=reason, stage=self._stage))
            self._escalate()
        return None

    def _hear(self, message: Message) -> None:
        self._messages += 1
        self._check_order(message)
        match message:
            case Hello():
                self._child.enter_cgroup()
            case Progress(stage=stage, progress=progress):
                self._stage = stage
                self._clock.enter(stage)
                self._limits.note_progress()
                self._lease.report(stage, progress)
            case Checkpoint(name=name):
                self._on_checkpoint(name)
            case Done() | Failed() | Stopped():
                self._last = message
                self._kill_at = time.monotonic() + self._settings.stop_grace_seconds

    def _check_order(self, message: Message) -> None:
        """Make sure that this may be said, and now."""
        if self._messages > _MESSAGE_ALLOWANCE + _MESSAGES_PER_SECOND * self._seconds():
            raise ProtocolViolation("too many messages")
        if isinstance(message, Hello) != (self._messages == 1):
            raise ProtocolViolation("a greeting that is missing or repeated")
        if self._last is not None:
            raise ProtocolViolation("a message after the last one")
        match message:
            case Hello(version=version) if version != PROTOCOL_VERSION:
                raise OtherVersion.of_child(version, PROTOCOL_VERSION)
            case Progress(stage=stage) if self._stage is not None and stage.precedes(self._stage):
                raise ProtocolViolation(f"{stage} after {self._stage}")
            case Stopped() if self._cause is None:
                raise ProtocolViolation("it stopped without being asked")
            case Failed(code=code) if code in _NOT_THE_CHILDS:
                raise ProtocolViolation(f"it blames {code}")

    def _heed_orders(self) -> None:
        if self._lease.answer is Answer.LOST:
            self._cause = Cause.LOST
        elif self._lease.is_broken:
            self._cause = Cause.BROKEN
        elif self._lease.answer is Answer.CANCEL:
            self._ask_to_stop(Cause.CANCEL)
        elif self._shutdown.is_set():
            self._ask_to_stop(Cause.SHUTDOWN)

    def _ask_to_stop(self, cause: Cause) -> None:
        if self._cause is None:
            self._child.send(Stop())
        if self._cause is cause:
            return
        self._cause = cause
        # Who cancels is waiting; who stops a worker wants the work kept.
        is_cancel = cause is Cause.CANCEL
        grace = self._settings.stop_grace_seconds if is_cancel else self._settings.shutdown_grace_seconds
        self._term_at = min(self._term_at, time.monotonic() + grace)
        self._kill_at = min(self._kill_at, self._term_at + self._settings.term_grace_seconds)

    def _escalate(self) -> None:
        now = time.monotonic()
        if now >= self._kill_at:
            self._child.signal(signal.SIGKILL)
        elif now >= self._term_at:
            self._child.signal(signal.SIGTERM)

    def _judge(self, returncode: int) -> Ending:
        if self._cause is Cause.CANCEL:
            return Dropped(Cause.CANCEL)
        match self._last:
            case Done():
                return Finished()
            case Failed(code=ErrorCode.INTERNAL, message=message, stage=stage):
                # A full disk, a card that failed: it was not the upload, and another attempt may fare better.
                return Died(self._as_error(ErrorCode.INTERNAL, message, stage, last_lines=1))
            case Failed(code=code, message=message, stage=stage):
                return Refused(self._as_error(code, message, stage))
        if self._cause is not None:
            return Dropped(self._cause)
        if not self._messages:
            words = last_words(self._child.log_tail, lines=1)
            return NotStarted(
                f"a process that was to hold the model {_how(returncode)} at once. {words}".rstrip()
            )
        cgroup = self._child.cgroup
        if cgroup is not None and cgroup.oom_kills:
            message = too_much_memory(cgroup.limit.memory_bytes)
            return Refused(JobError(code=ErrorCode.OUT_OF_MEMORY, message=message, stage=self._stage))
        return Died(self._obituary(returncode))

    def _obituary(self, returncode: int) -> JobError:
        if returncode == -signal.SIGKILL and _oom_kills() > self._oom_kills:
            message = "The machine ran out of memory. Try a smaller batch size or fewer samples."
            return JobError(code=ErrorCode.OUT_OF_MEMORY, message=message, stage=self._stage)
        message = f"The process that held the model {_how(returncode)}."
        return self._as_error(ErrorCode.CHILD_CRASHED, message, self._stage, last_lines=5)

    def _as_error(
        self, code: ErrorCode, message: str, stage: Stage | None, *, last_lines: int = 0
    ) -> JobError:
        """The job's error, with as many lines of the child's log as are wanted."""
        words = last_words(self._child.log_tail, lines=last_lines) if last_lines else ""
        if words:
            message += f" Its last words: {words}"
        return JobError(code=code, message=printable(message, MAX_MESSAGE_LENGTH), stage=stage)

    def _seconds(self) -> float:
        return time.monotonic() - self._started


def _oom_kills() -> int:
    """How often this machine's kernel has killed a process for want of memory."""
    try:
        counters = Path("/proc/vmstat").read_text()
    except OSError:
        return 0
    match = re.search(r"^oom_kill (\d+)$", counters, re.MULTILINE)
    return int(match[1]) if match else 0


def _how(returncode: int) -> str:
    return f"was killed by {_signal_name(-returncode)}" if returncode < 0 else f"exited with {returncode}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
