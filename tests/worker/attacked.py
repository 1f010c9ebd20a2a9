"""Runs an attack of `tests/hostile/attacks.py` as one job of a real worker."""

import re
import sys
from pathlib import Path

from ladder_jobs.tables import Job
from tests.hostile.attacks import ATTACKS, SETTINGS
from tests.worker.conftest import Bench
from worker.users import child_users

CLIMBING_CHILD = Path(__file__).with_name("climbing_child.py")
OTHERS = b"another job's model"


def attempt(bench: Bench, name: str) -> Job:
    """Run the attack, check that it changed nothing around it, and return the job it ended as."""
    attack = ATTACKS[name]
    other = _another_jobs_input(bench.settings.work_dir)
    database = re.search(r"@([^/]+)/", bench.settings.database_url.get_secret_value())
    assert database is not None
    target = attack.target.format(other=other, database=database[1])
    before = other.stat()
    bench.users = child_users(bench.settings)
    job = bench.run(
        (sys.executable, "-I", str(CLIMBING_CHILD), name, target), **{**SETTINGS, **attack.settings}
    )
    after = other.stat()
    assert other.read_bytes() == OTHERS
    assert (after.st_mode, after.st_nlink, after.st_mtime_ns) == (
        before.st_mode,
        before.st_nlink,
        before.st_mtime_ns,
    )
    return job


def _another_jobs_input(work_dir: Path) -> Path:
    """One that every user may read and write: nothing but the walls stands before it."""
    path = work_dir / "other" / "1" / "inputs" / "model"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(OTHERS)
    path.chmod(0o666)
    for directory in path.parents:
        if directory.is_relative_to(work_dir.parent):
            directory.chmod(0o755)
    return path
