"""What a worker has for its attempts, chosen once when it starts."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session, sessionmaker

from ladder_jobs.objects import ObjectStore
from worker.bubblewrap import Bubblewrap
from worker.cgroups import Cgroups
from worker.settings import WorkerSettings
from worker.users import ChildUsers


@dataclass(frozen=True)
class Tools:
    """What every attempt of a worker uses."""

    settings: WorkerSettings
    sessions: sessionmaker[Session]
    store: ObjectStore
    shutdown: threading.Event
    users: ChildUsers | None
    cgroups: Cgroups | None
    bubblewrap: Bubblewrap | None
    device: str
    child_command: Sequence[str]
