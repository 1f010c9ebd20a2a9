"""Try every hostile file and every attack from within the child, and print which wall stopped it.

python -m tests.hostile

Files meet the walls in this process, except for those that only limits stop. Those, and the attacks, are jobs
of a real worker against real servers, which are started for it. It fails if anything was stopped by another
wall than the one that must stop it.
"""

import io
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ladder_core.datasets import load_dataset
from ladder_core.errors import HardeningError
from ladder_core.harm import check_model, load_checked_script
from ladder_jobs.database import connect, migrate
from ladder_jobs.logs import configure_logging
from ladder_jobs.objects import ObjectStore
from ladder_local.servers import LocalServers
from tests.hostile.attacks import ATTACKS
from tests.hostile.base import Hostile, Wall, wall_of
from tests.hostile.table import HOSTILE, LIMITS
from tests.worker.attacked import attempt
from tests.worker.conftest import Bench, bench_in
from worker.process import CHILD_COMMAND
from worker.users import child_users

HEAD = "| {} | attack | must be stopped by | was stopped by | message |\n|---|---|---|---|---|"
MESSAGE_LENGTH = 160


def stopped_by(hostile: Hostile, directory: Path) -> tuple[str, str]:
    """The wall that stopped a file, and what it said."""
    path = directory / "upload"
    hostile.make(path, directory / "outside")
    try:
        if hostile.of == "dataset":
            load_dataset(path, directory, seed=0)
        elif hostile.wall is Wall.IR:
            load_checked_script(path)
        else:
            check_model(path)
    except HardeningError as error:
        return wall_of(error) or "?", error.message
    return "NONE", "passed"


def limited(bench: Bench, hostile: Hostile, directory: Path) -> tuple[str, str]:
    """The same, of a file that a whole worker is needed for."""
    path = directory / "upload"
    hostile.make(path, directory / "outside")
    images = np.random.default_rng(0).random((60, 1, 8, 8), dtype=np.float32)
    dataset = io.BytesIO()
    np.savez(dataset, x_train=images, y_train=np.arange(60) % 3)
    bench.users = child_users(bench.settings)
    job_id = bench.submit(path.read_bytes(), dataset.getvalue(), preset="quick")
    runner = bench.runner(CHILD_COMMAND, job_max_seconds=25.0, max_memory_bytes=1 << 30)
    runner.run_queued_jobs(bench.queue)
    job = bench.job(job_id)
    return _wall_if(hostile.wall, (job.error_code, job.error_message), (hostile.code, hostile.words))


def attacked(bench: Bench, name: str) -> tuple[str, str]:
    """The wall that stopped an attack, and what the job's owner is told."""
    attack, job = ATTACKS[name], attempt(bench, name)
    return _wall_if(attack.wall, (job.error_code, job.error_message), (attack.code, attack.words))


def _wall_if(wall: str, found: tuple[str | None, str | None], expected: tuple[str, str]) -> tuple[str, str]:
    """A wall is known by the job's error: its code, and the words that only this wall has."""
    (code, message), (expected_code, words) = found, expected
    is_it = code == expected_code and words in (message or "")
    return (wall if is_it else "ANOTHER"), f"{code}: {message}"


@contextmanager
def a_bench() -> Iterator[Bench]:
    """Real servers, and a worker's inside."""
    with tempfile.TemporaryDirectory(prefix="ladder-attacks-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with LocalServers(directory / "servers", durable=False) as servers:
            migrate(servers.settings.database_url.get_secret_value())
            ObjectStore(servers.settings).ensure_bucket()
            engine = connect(servers.settings.database_url.get_secret_value())
            try:
                yield bench_in(directory, servers.settings, engine)
            finally:
                engine.dispose()


class Table:
    """Prints a row as soon as it is known."""

    def __init__(self, of: str) -> None:
        self.wrong = 0
        print(HEAD.format(of))

    def row(self, name: str, tries: str, wall: str, found: tuple[str, str]) -> None:
        stopped, message = found
        self.wrong += stopped != wall
        said = " ".join(message.replace("|", "\\|").split())[:MESSAGE_LENGTH]
        print(f"| {name} | {tries} | {wall} | {stopped} | {said} |", flush=True)


def main() -> None:
    warnings.simplefilter("ignore")
    configure_logging("ERROR")
    files = Table("file")
    for name, hostile in HOSTILE.items():
        if name not in LIMITS:
            with tempfile.TemporaryDirectory(prefix="ladder-hostile-") as directory:
                files.row(name, hostile.attack, hostile.wall, stopped_by(hostile, Path(directory)))
    with a_bench() as bench, tempfile.TemporaryDirectory(prefix="ladder-hostile-") as directory:
        for name, hostile in LIMITS.items():
            files.row(name, hostile.attack, hostile.wall, limited(bench, hostile, Path(directory)))
        print()
        attacks = Table("from within the child")
        for name, attack in ATTACKS.items():
            attacks.row(name, attack.tries, attack.wall, attacked(bench, name))
    if wrong := files.wrong + attacks.wrong:
        raise SystemExit(f"{wrong} were stopped by another wall, or by none")


if __name__ == "__main__":
    main()
