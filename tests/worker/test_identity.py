"""Who children are, and what they can reach."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.identity import Identity, start_as
from worker.users import NoChildUsersError, child_users

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")

LOOK = """
import json, os, sys
from pathlib import Path

def attempt(path):
    try:
        return sorted(entry.name for entry in Path(path).iterdir())
    except OSError as error:
        return type(error).__name__

home, own = Path(sys.argv[1]), Path(sys.argv[2])
(own / "written").write_text("by the child")
print(json.dumps({
    "ids": [*os.getresuid(), *os.getresgid(), *os.getgroups()],
    "home": attempt(home),
    "secrets": attempt(home / "secrets"),
    "cwd": os.getcwd(),
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("Cap")][:3],
}))
"""


@pytest.fixture
def closed_home() -> Iterator[Path]:
    """Like `/root`: nobody else may pass."""
    with tempfile.TemporaryDirectory(prefix="ladder-home-") as name:
        yield Path(name)


def test_behind_a_closed_directory_a_child_reaches_its_own_and_nothing_else(bench, closed_home):
    (closed_home / "secrets").mkdir()
    (closed_home / "secrets" / "key").write_text("secret")
    own = closed_home / "work" / "output"
    own.mkdir(parents=True)
    os.chown(own, 65_534, 65_534)
    identity = Identity(65_534, 65_534, must_unveil=True)
    child = start_as(
        identity,
        (sys.executable, "-I", "-c", LOOK, str(closed_home), str(own)),
        own.parent,
        cwd=own,
        env={},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    said, complaint = child.communicate()
    if b"Operation not permitted" in complaint:
        pytest.skip("root may not mount here")
    assert json.loads(said) == {
        "ids": [65_534] * 6,
        "home": ["work"],
        "secrets": "FileNotFoundError",
        "cwd": str(own),
        "capabilities": ["0000000000000000"] * 3,
    }
    # Nobody else sees the other side of it.
    assert sorted(entry.name for entry in closed_home.iterdir()) == ["secrets", "work"]
    assert (own / "written").read_text() == "by the child"


def test_root_finds_another_user_for_its_children_wherever_python_lies(bench):
    users = child_users(bench.settings)
    assert users is not None
    with users.borrow() as identity:
        assert (identity.uid, identity.gid) == (60_800, 60_800)


def test_children_of_root_need_permission(bench, closed_home, monkeypatch):
    """A Python that no other user can read, even where it can be reached."""
    monkeypatch.setattr("worker.identity._PROBE", (str(shutil.copy("/bin/false", closed_home)),))
    with pytest.raises(NoChildUsersError, match="LADDER_ALLOW_ROOT_CHILDREN"):
        child_users(bench.settings)
    bench.configure(allow_root_children=True)
    assert child_users(bench.settings) is None
