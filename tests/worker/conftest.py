"""Real jobs in a real database, and workers to run them with children that follow a script."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session, selectinload, sessionmaker

from ladder_jobs.claims import claim_job
from ladder_jobs.database import connect, migrate, session_factory
from ladder_jobs.objects import ObjectStore, upload_key
from ladder_jobs.repository import NewUpload, create_job, request_cancel
from ladder_jobs.settings import Settings
from ladder_jobs.tables import Attempt as AttemptRow
from ladder_jobs.tables import Event, Job, Owner
from ladder_schema.config import resolve_config
from ladder_schema.jobs import JobStatus
from worker.bubblewrap import Bubblewrap
from worker.cgroups import Cgroups
from worker.runner import Runner
from worker.settings import WorkerSettings
from worker.tools import Tools
from worker.users import ChildUsers

SCRIPTED_CHILD = Path(__file__).with_name("scripted_child")


def scripted(behaviour: str) -> tuple[str, ...]:
    """Command of a child that behaves so."""
    return (sys.executable, "-I", str(SCRIPTED_CHILD), behaviour)


def is_within(pid: int, directory: Path) -> bool:
    """Whether a process works in a directory or below."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink().is_relative_to(directory)
    except OSError:
        return False


def parent_of(pid: int) -> int | None:
    """The process that started another; None where that has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


@dataclass
class Bench:
    """One queue of jobs that no other test uses."""

    settings: WorkerSettings
    sessions: sessionmaker[Session]
    store: ObjectStore
    queue: str = field(default_factory=lambda: f"test-{uuid4()}")
    shutdown: threading.Event = field(default_factory=threading.Event)
    owner_id: UUID = field(default_factory=uuid4)
    users: ChildUsers | None = None
    cgroups: Cgroups | None = None
    bubblewrap: Bubblewrap | None = None

    @staticmethod
    def script(*words: str) -> tuple[str, ...]:
        """Command of a child that behaves like the first word; the others tell it how."""
        return (sys.executable, "-I", str(SCRIPTED_CHILD), *words)

    @staticmethod
    def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait for a condition, or fail."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "what was waited for did not happen in time"
            time.sleep(0.02)

    @staticmethod
    def is_alive(pid: int) -> bool:
        """Whether a process runs; one that has died and waits to be reaped does not."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def submit(self, model: bytes = b"a model", dataset: bytes = b"a dataset", **config: object) -> UUID:
        """Queue a job."""
        with self.sessions.begin() as session:
            if session.get(Owner, self.owner_id) is None:
                session.add(Owner(id=self.owner_id, name=str(self.owner_id)))
                session.flush()
            job = create_job(
                session,
                self.owner_id,
                config=resolve_config(config),
                model=self._upload("model", model),
                dataset=self._upload("dataset", dataset),
                queue=self.queue,
            )
            return job.id

    def _upload(self, kind: str, content: bytes) -> NewUpload:
        upload_id = uuid4()
        key = upload_key(self.owner_id, upload_id)
        path = self.settings.work_dir / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        stored = self.store.put_file(key, path)
        return NewUpload(
            id=upload_id, kind=kind, filename=kind, key=key, bytes=stored.bytes, sha256=stored.sha256
        )

    def job(self, job_id: UUID) -> Job:
        with self.sessions() as session:
            return session.scalars(
                select(Job).where(Job.id == job_id).options(selectinload(Job.artifacts))
            ).one()

    def attempts(self, job_id: UUID) -> list[AttemptRow]:
        query = select(AttemptRow).where(AttemptRow.job_id == job_id).order_by(AttemptRow.number)
        with self.sessions() as session:
            return list(session.scalars(query))

    def events(self, job_id: UUID) -> list[Event]:
        with self.sessions() as session:
            return list(session.scalars(select(Event).where(Event.job_id == job_id).order_by(Event.id)))

    def cancel(self, job_id: UUID) -> None:
        with self.sessions.begin() as session:
            request_cancel(session, self.owner_id, job_id)

    def reassign(self, job_id: UUID) -> None:
        """Give the job to another worker, as a sweep and a claim would after a silence."""
        with self.sessions.begin() as session:
            session.execute(update(Job).where(Job.id == job_id).values(token=uuid4(), worker="another"))

    def claim_and_vanish(self) -> None:
        """Claim the best queued job as a worker would that is never heard of again."""
        with self.sessions.begin() as session:
            assert claim_job(session, queue=self.queue, worker="vanished", lease_seconds=-1.0)

    def configure(self, **settings: object) -> None:
        """Change settings for workers started from now on."""
        self.settings = self.settings.model_copy(update=settings)

    def upload_keys(self, job_id: UUID) -> dict[str, str]:
        """Where the job's uploads lie."""
        with self.sessions() as session:
            job = session.get_one(Job, job_id)
            return {"model": job.model_upload.object_key, "dataset": job.dataset_upload.object_key}

    def wait_for_status(self, job_id: UUID, status: JobStatus) -> None:
        self.wait_until(lambda: self.job(job_id).status is status)

    def wait_for_results(self, job_id: UUID) -> None:
        """Wait until the job's child has written its last file."""
        work_dir = self.settings.work_dir / str(job_id)
        self.wait_until(lambda: any(work_dir.glob("*/output/examples.zip")))

    def runner(self, child: str | tuple[str, ...], *, device: str = "cpu", **settings: object) -> Runner:
        """A worker's inside, in this process; its children behave so, or are started so."""
        return Runner(self.tools(child, device=device, **settings), name="tester")

    def tools(self, child: str | tuple[str, ...], *, device: str = "cpu", **settings: object) -> Tools:
        """What such a worker has for its attempts."""
        return Tools(
            settings=self.settings.model_copy(update=settings),
            sessions=self.sessions,
            store=self.store,
            shutdown=self.shutdown,
            users=self.users,
            cgroups=self.cgroups,
            bubblewrap=self.bubblewrap,
            device=device,
            child_command=scripted(child) if isinstance(child, str) else child,
        )

    def run(self, child: str | tuple[str, ...], **settings: object) -> Job:
        """Queue a job, run it to its end, and look at it."""
        job_id = self.submit()
        self.runner(child, **settings).run_queued_jobs(self.queue)
        return self.job(job_id)

    @contextmanager
    def running(self, child: str | tuple[str, ...], **settings: object) -> Iterator[None]:
        """Run queued jobs in the background; leaving waits for the end."""
        runner = self.runner(child, **settings)
        thread = threading.Thread(target=runner.run_queued_jobs, args=(self.queue,))
        thread.start()
        try:
            yield
        except BaseException:
            self.shutdown.set()
            raise
        finally:
            thread.join()

    def wait_for_stage(self, job_id: UUID) -> None:
        """Wait until the job's child is at work."""
        self.wait_until(lambda: self.job(job_id).stage is not None)

    def environment(self) -> dict[str, str]:
        """What a worker process of this bench finds in its environment."""
        given = {
            name: getattr(value, "get_secret_value", lambda v=value: v)() for name, value in self.settings
        }
        named = {f"LADDER_{name.upper()}": str(value) for name, value in given.items() if value is not None}
        return {**os.environ, **named}

    def child_pids(self, job_id: UUID) -> list[int]:
        """Processes whose current directory is the job's."""
        root = str(self.settings.work_dir / str(job_id))
        pids = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and str((entry / "cwd").readlink()).startswith(root):
                    pids.append(int(entry.name))
            except OSError:
                continue
        return pids

    def child_pid(self, job_id: UUID, attempt: int | None = None) -> int:
        """The process that holds the model: where bubblewrap stands around it, the innermost of several."""
        root = self.settings.work_dir / str(job_id) / str(attempt or "")
        pids = [pid for pid in self.child_pids(job_id) if is_within(pid, root)]
        parents = {parent_of(pid) for pid in pids}
        (innermost,) = [pid for pid in pids if pid not in parents]
        return innermost


@pytest.fixture(scope="session")
def engine(settings: Settings) -> Iterator[Engine]:
    migrate(settings.database_url.get_secret_value())
    ObjectStore(settings).ensure_bucket()
    engine = connect(settings.database_url.get_secret_value())
    yield engine
    engine.dispose()


@pytest.fixture
def bench(settings: Settings, engine: Engine, tmp_path: Path) -> Bench:
    return bench_in(tmp_path, settings, engine)


def bench_in(directory: Path, settings: Settings, engine: Engine) -> Bench:
    """A bench whose workers are quick, and keep their files in a directory."""
    given = settings.model_dump() | {
        "work_dir": directory / "work",
        "lease_seconds": 5.0,
        "heartbeat_seconds": 0.1,
        "sweep_seconds": 0.2,
        "stop_grace_seconds": 0.5,
        "shutdown_grace_seconds": 0.5,
        "term_grace_seconds": 0.3,
        "retry_seconds": 0.1,
        # The one worker of most tests is also the next to try.
        "death_pause_seconds": 0.0,
        # Where it is installed it would stand between a worker and its child; it has tests of its own.
        "bubblewrap": "off",
    }
    return Bench(
        settings=WorkerSettings(**given), sessions=session_factory(engine), store=ObjectStore(settings)
    )


@pytest.fixture
def public_child(bench: Bench) -> Iterator[tuple[str, ...]]:
    """The scripted child where every user can run it; the bench works there too."""
    if os.geteuid() != 0:
        pytest.skip("only root can change the user")
    with tempfile.TemporaryDirectory(prefix="ladder-worker-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        script = shutil.copytree(SCRIPTED_CHILD, directory / SCRIPTED_CHILD.name)
        bench.configure(work_dir=directory / "work")
        for interpreter in (sys.executable, "/usr/bin/python3"):
            probe = [interpreter, "-I", "-c", "import json"]
            with suppress(OSError):
                if subprocess.run(probe, user=60_800, group=60_800, cwd="/", check=False).returncode == 0:
                    yield (interpreter, "-I", str(script))
                    return
        pytest.skip("no Python here that every user can run")
