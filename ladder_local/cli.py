"""``ladder serve``: the whole stack in the foreground, until it is told to stop."""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from ladder_local.errors import LocalStackError
from ladder_local.stack import LocalStack

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def serve(data_dir: Path | None, host: str, port: int | None, workers: int) -> int:
    """Run the stack until Ctrl-C, SIGTERM or the terminal's end.

    Args:
        data_dir: Where everything is kept; by default ``.ladder`` in the working directory, and for root
            ``/var/lib/ladder``, since Postgres then runs as an account that may not enter root's directories.
        host: Address the API listens on.
        port: Port of the API; by default the remembered one, at first 8000 if it is free.
        workers: How many jobs run at a time.

    Returns:
        The exit status.
    """
    path = data_dir or Path("/var/lib/ladder" if os.geteuid() == 0 else ".ladder")
    told = _StopRequest()
    try:
        with LocalStack(path, host=host, port=port, workers=workers) as stack:
            _announce(stack)
            told.wait()
            _say("stopping ...")
    except KeyboardInterrupt:
        _say("stopped before it was up")
    except (LocalStackError, ValidationError) as error:
        _say(f"error: {error}")
        return 1
    return 0


class _StopRequest:
    """Turns signals into a wish to stop: during start-up an interruption, later the end of :meth:`wait`.

    A second signal does nothing: the stop is on its way, and whatever hurries it past its order only
    makes the next start longer.
    """

    def __init__(self) -> None:
        self._told = threading.Event()
        self._waiting = False
        for number in _SIGNALS:
            signal.signal(number, self._hear)

    def wait(self) -> None:
        """Return when told to stop."""
        self._waiting = True
        self._told.wait()

    def _hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the form of a signal handler
        first = not self._told.is_set()
        self._told.set()
        if first and not self._waiting:
            raise KeyboardInterrupt


def _announce(stack: LocalStack) -> None:
    _say(f"LADDER is ready at {stack.api_url} (its documentation: {stack.api_url}/docs). To use it:\n")
    _say(f"  export LADDER_URL={stack.api_url}")
    _say(f"  export LADDER_API_KEY={stack.api_key}\n")
    _say(f"Data and logs are in {stack.directory.path}. Ctrl-C stops everything.")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
