"""A work directory that another user has prepared is not used."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ladder_jobs.states import Outcome
from ladder_schema.jobs import JobStatus
from worker.users import child_users
from worker.workdir import WorkDirError, prepare_work_dir
from worker.workspace import Workspace

OTHER = 60_799

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory like /var/tmp, in which everybody may make files."""
    with tempfile.TemporaryDirectory(prefix="ladder-shared-") as name:
        Path(name).chmod(0o1777)
        yield Path(name)


def test_it_is_made_and_found_again(tmp_path):
    path = tmp_path / "a" / "work"
    for _ in range(2):
        prepare_work_dir(path)
        assert path.stat().st_mode & 0o777 == 0o700
    path.chmod(0o711)
    prepare_work_dir(path)
    assert path.stat().st_mode & 0o777 == 0o711


def made_by_other(path: Path) -> None:
    path.mkdir()
    os.chown(path, OTHER, OTHER)


def linked_by_other(path: Path) -> None:
    (path.parent / "real").mkdir()
    path.symlink_to(path.parent / "real")
    os.chown(path, OTHER, OTHER, follow_symlinks=False)


def linked_nowhere(path: Path) -> None:
    path.symlink_to("/nonexistent/place")


def open_to_all(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def open_to_group(path: Path) -> None:
    path.mkdir()
    path.chmod(0o770)


def a_file(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize(
    ("prepare", "fault"),
    [
        (made_by_other, f"is of user {OTHER}"),
        (linked_by_other, "is a link, or no directory"),
        (linked_nowhere, "is a link, or no directory"),
        (a_file, "is a link, or no directory"),
        (open_to_all, r"can be written to by others \(mode 0777\)"),
        (open_to_group, r"can be written to by others \(mode 0770\)"),
    ],
)
def test_what_others_can_have_prepared_is_refused(shared, prepare, fault):
    prepare(shared / "work")
    with pytest.raises(WorkDirError, match=f"LADDER_WORK_DIR, {shared}/work, {fault}. .*Set LADDER_WORK_DIR"):
        prepare_work_dir(shared / "work")


@pytest.mark.parametrize("prepare", [made_by_other, linked_by_other, open_to_all])
def test_so_is_one_below_it(shared, prepare):
    prepare(shared / "way")
    with pytest.raises(WorkDirError, match=f"LADDER_WORK_DIR, {shared}/way/work, lies below "):
        prepare_work_dir(shared / "way" / "work")


@pytest.mark.parametrize("prepare", [made_by_other, open_to_all])
def test_an_empty_one_that_only_root_can_have_put_there_is_taken_over(tmp_path, monkeypatch, prepare):
    """As a container's volume is. Below /tmp everybody may write, so this one lies elsewhere."""
    with tempfile.TemporaryDirectory(prefix="ladder-volume-", dir="/var/lib") as name:
        path = Path(name) / "work"
        prepare(path)
        (path / "file").touch()
        with pytest.raises(WorkDirError):
            prepare_work_dir(path)
        (path / "file").unlink()
        with capture_logs() as logs:
            prepare_work_dir(path)
        assert [entry["event"] for entry in logs] == ["work_dir_taken_over"]
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (0, 0o700)


@pytest.mark.parametrize("command", ["hardening", "sandbox"])
def test_a_worker_refuses_to_start_on_it(bench, shared, command):
    made_by_other(shared / "work")
    bench.configure(work_dir=shared / "work")
    refused = subprocess.run(
        [sys.executable, "-m", "worker", command, "--device", "cpu"],
        env=bench.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert f"LADDER_WORK_DIR, {shared}/work, is of user {OTHER}. " in refused.stderr
    assert "Traceback" not in refused.stderr
    assert list((shared / "work").iterdir()) == []


def test_a_running_worker_does_nothing_in_one_that_somebody_else_has_made_meanwhile(bench, shared):
    """As after systemd-tmpfiles, which clears /var/tmp of what has long not been used."""
    bench.configure(work_dir=shared / "work")
    prepare_work_dir(shared / "work")
    bench.users = child_users(bench.settings)
    job_id = bench.submit()
    shutil.rmtree(shared / "work")
    made_by_other(shared / "work")
    with bench.running("succeed", retry_seconds=60.0):
        bench.wait_until(lambda: [row.outcome for row in bench.attempts(job_id)] == [Outcome.RELEASED])
        bench.shutdown.set()
    assert list((shared / "work").iterdir()) == []
    assert bench.job(job_id).status is JobStatus.QUEUED


def test_one_that_was_cleared_away_is_made_anew(tmp_path):
    work_dir = tmp_path / "work"
    with Workspace(work_dir / "job" / "1", None):
        pass
    work_dir.rmdir()
    with Workspace(work_dir / "job" / "2", None):
        assert work_dir.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("prepare", [made_by_other, linked_by_other, open_to_all])
def test_neither_a_workspace_nor_a_users_lock_is_made_in_one_of_somebody_else(bench, shared, prepare):
    prepare(shared / "work")
    users = child_users(bench.settings.model_copy(update={"work_dir": shared / "work"}))
    with pytest.raises(WorkDirError), Workspace(shared / "work" / "job" / "1", None):
        pass
    with pytest.raises(WorkDirError), users.borrow():
        pass
    assert list((shared / "work").iterdir()) == []
