"""A child that follows a script instead of hardening a model: `python -I scripted_child BEHAVIOUR`."""

import ctypes
import signal
import sys
from collections.abc import Callable

import failing
import leaving
import looking
import misspeaking
import saving
import telling
import working

_SCRIPTS = (failing, leaving, looking, misspeaking, saving, telling, working)


def main() -> None:
    # Dies with its parent, as the real one does.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    name = sys.argv[1]
    behaviour: Callable[[], None] = next(getattr(script, name) for script in _SCRIPTS if name in vars(script))
    behaviour()


if __name__ == "__main__":
    main()
