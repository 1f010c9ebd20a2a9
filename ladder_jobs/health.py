"""Whether this process's loops still turn: each beats, and says within what time it will do so again."""

import threading
import time

_lock = threading.Lock()
_due: dict[tuple[str, int], float] = {}


def beat(loop: str, *, within: float) -> None:
    """The calling thread's loop has turned.

    Args:
        loop: What to call it where it gets stuck.
        within: Seconds within which it will beat or rest; later, it counts as stuck.
    """
    with _lock:
        _due[loop, threading.get_ident()] = time.monotonic() + within


def rest(loop: str) -> None:
    """The calling thread's loop is over, and need not beat until it does so by itself."""
    with _lock:
        _due.pop((loop, threading.get_ident()), None)


def stuck_loops() -> list[str]:
    """Loops that should have beaten by now."""
    now = time.monotonic()
    with _lock:
        return sorted({loop for (loop, _), due in _due.items() if now > due})
