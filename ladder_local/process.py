"""One process of the stack: what to run, how it ends, where its words go."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ladder_local import leash
from ladder_local.accounts import Account
from ladder_local.errors import ProcessFailedError

_POLL_SECONDS = 0.02
_TAIL_BYTES = 4096
_LOG_BYTES = 16 << 20


@dataclass(frozen=True)
class Command:
    """What to run.

    Attributes:
        name: Names the process in messages, and its log file.
        argv: The program, an absolute path, and its arguments. No secrets: every user can read them.
        environment: The whole environment of the process.
        directory: Where it starts.
        stop_signal: Asks it to end.
        stop_seconds: How long it may take to end before it is killed.
        orphan_signal: What it gets when this process dies without having stopped it.
        account: Who to run it as, if not as ourselves.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    orphan_signal: signal.Signals = signal.SIGKILL
    account: Account | None = None


class Process:
    """A running command. It is the leader of its own session, so a terminal's Ctrl-C reaches only us.

    The kernel ties a child's life to the *thread* that started it: start processes from a thread that
    lives until they are stopped.

    Args:
        command: What to run.
        logs: Directory of the log file, which is appended to.
        kept_open: File descriptor that the process inherits: the data directory's lock, which thereby
            outlives us until our last child is gone.
    """

    def __init__(self, command: Command, logs: Path, kept_open: int) -> None:
        self.command = command
        self.log = logs / f"{command.name}.log"
        self.started_at = time.monotonic()
        self._ending = threading.Lock()
        self.rotate_log()
        account = command.account
        ids = (str(account.uid), str(account.gid)) if account else ("-", "-")
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(  # noqa: S603 - a list, no shell, our own words
                [
                    *(sys.executable, "-I", "-S", str(Path(leash.__file__).resolve())),
                    *(str(os.getpid()), str(int(command.orphan_signal)), *ids),
                    *command.argv,
                ],
                cwd=command.directory,
                env=dict(command.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(kept_open,),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative if a signal ended it. What it leaves in its group ends with it."""
        with self._ending:
            if self._popen.returncode is None and _has_ended(self.pid):
                self._end()
            return self._popen.returncode

    def wait(self, seconds: float) -> int:
        """Wait for it to end by itself.

        Raises:
            ProcessFailedError: It still runs.
        """
        deadline = time.monotonic() + seconds
        while (status := self.exit_status) is None:
            if time.monotonic() > deadline:
                raise ProcessFailedError(self.describe(f"did not end within {seconds:g} s"))
            time.sleep(_POLL_SECONDS)
        return status

    def wait_until(self, probe: Callable[[], None], seconds: float) -> None:
        """Call ``probe`` until it raises nothing.

        Raises:
            ProcessFailedError: The process ended, or the probe still raises after ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                probe()
            except Exception as error:  # whatever its client raises while a server is starting
                if self.exit_status is not None:
                    raise ProcessFailedError(self.describe(f"ended with status {self.exit_status}")) from None
                if time.monotonic() > deadline:
                    raise ProcessFailedError(
                        self.describe(f"was not ready within {seconds:g} s ({error})")
                    ) from error
                time.sleep(_POLL_SECONDS)
            else:
                return

    def ask_to_stop(self) -> None:
        """Send the stop signal, and return at once."""
        with self._ending:
            if self._popen.returncode is None:
                os.kill(self.pid, self.command.stop_signal)

    def stop(self) -> None:
        """End it, and whatever it left behind in its session's process group."""
        self.ask_to_stop()
        with contextlib.suppress(ProcessFailedError):
            self.wait(self.command.stop_seconds)
        self.kill()

    def kill(self) -> None:
        """End it and its process group now."""
        with self._ending:
            if self._popen.returncode is None:
                self._end()

    def rotate_log(self) -> None:
        """Put a log that has grown large aside, in place of the one put aside before.

        Copied and cut, since the process goes on writing to the file it has open; what it says between the
        two is lost.
        """
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size > _LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                os.truncate(self.log, 0)

    def _end(self) -> None:
        # Until its end is taken note of, its number, which is also its group's, cannot be anybody else's.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def describe(self, what: str) -> str:
        """A sentence about the process, followed by the last it said."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            tail = log.read().decode(errors="replace").strip()
        return f"{self.command.name} {what}. The end of {self.log}:\n{tail}"


def _has_ended(pid: int) -> bool:
    """Whether a child of ours has ended, without taking note of it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
