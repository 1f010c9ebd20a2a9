import os
import resource
import subprocess
import sys

import pytest

from worker.identity import Identity
from worker.removal import remove_tree
from worker.workspace import Workspace, remove_abandoned

SCRIPT = """
import sys, time
from pathlib import Path
from worker.removal import remove_tree
from worker.workspace import Workspace

with Workspace(Path(sys.argv[1]), None) as workspace:
    (workspace.inputs / "model").write_bytes(b"large")
    print("ready", flush=True)
    time.sleep(600)
"""


def test_a_workspace_is_private_and_leaves_nothing(tmp_path):
    work_dir = tmp_path / "work"
    with Workspace(work_dir / "job" / "1", None) as workspace:
        for directory in (work_dir, workspace.root, workspace.inputs, workspace.output, workspace.results):
            assert directory.stat().st_mode & 0o777 == 0o700
        (workspace.output / "deep").mkdir()
        (workspace.output / "deep" / "file").write_bytes(b"x")
    assert list(work_dir.iterdir()) == []


def test_two_attempts_of_a_job_do_not_disturb_each_other(tmp_path):
    with Workspace(tmp_path / "job" / "1", None):
        with Workspace(tmp_path / "job" / "2", None):
            pass
        assert (tmp_path / "job" / "1" / "output").is_dir()


def test_only_what_nobody_holds_is_removed(tmp_path):
    """One worker is alive, another was killed."""
    with Workspace(tmp_path / "living" / "1", None):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / "dead" / "1")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
            worker.stdout.readline()
            assert remove_abandoned(tmp_path) == 0
            worker.kill()
        assert (tmp_path / "dead" / "1" / "inputs" / "model").exists()
        assert remove_abandoned(tmp_path) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["living"]


def test_what_a_child_piles_up_is_removed(tmp_path):
    """Three thousand directories in each other, closed ones, and links to what is not its own."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_bytes(b"x")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Workspace(tmp_path / "work" / "job" / "1", None) as workspace:
        inner = os.open(workspace.output, os.O_RDONLY)
        for _ in range(3_000):
            os.mkdir("d", dir_fd=inner)
            outer, inner = inner, os.open("d", os.O_RDONLY, dir_fd=inner)
            os.close(outer)
        os.close(inner)
        closed = workspace.output / "closed"
        (closed / "within").mkdir(parents=True)
        (closed / "within" / "file").write_bytes(b"x")
        (workspace.output / "link").symlink_to(kept)
        for directory in (closed / "within", closed, workspace.output):
            directory.chmod(0o000)
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, limit[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert list((tmp_path / "work").iterdir()) == []
    assert (kept / "file").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root opens every directory")
def test_a_closed_directory_stops_no_ordinary_user(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a").chmod(0o000)
    remove_tree(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_what_cannot_be_removed_yet_is_found_again(tmp_path):
    """A file that takes the place of the directory cannot be opened as one."""
    root = tmp_path / "job" / "1"
    with Workspace(root, None) as workspace:
        moved = workspace.root.rename(tmp_path / "moved")
        root.symlink_to(moved)
    assert root.with_suffix(".lock").exists()
    assert remove_abandoned(tmp_path) == 0
    root.unlink()
    moved.rename(root)
    assert remove_abandoned(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_that_cannot_be_made_keeps_no_lock(tmp_path):
    nobody = Identity(uid=1 << 40, gid=1 << 40)
    for _ in range(2):
        with pytest.raises(OverflowError), Workspace(tmp_path / "job" / "1", nobody):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_user_gets_what_it_needs_and_no_more(tmp_path):
    with Workspace(tmp_path / "work" / "job" / "1", Identity(uid=60_800, gid=60_800)) as workspace:
        upload = workspace.inputs / "model"
        upload.write_bytes(b"x")
        workspace.hand_over(upload)
        modes = {
            path.name: (path.stat().st_uid, path.stat().st_gid, oct(path.stat().st_mode & 0o777))
            for path in (workspace.root, workspace.inputs, workspace.output, upload)
        }
        assert modes == {
            "1": (0, 60_800, "0o710"),
            "inputs": (0, 60_800, "0o710"),
            "output": (60_800, 60_800, "0o700"),
            "model": (0, 60_800, "0o440"),
        }
        assert workspace.results.stat().st_mode & 0o777 == 0o700
        assert workspace.results.stat().st_gid != 60_800
