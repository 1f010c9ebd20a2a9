"""A worker in the container gets by with the capabilities that the compose file gives it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.deploy.test_compose import SERVICES

# Everything root does to the files of an attempt: gives them away, and removes what the child left.
ATTEMPT = """
import os, sys
from pathlib import Path
from worker.users import ChildUsers
from worker.workspace import Workspace

work_dir = Path(sys.argv[1])
with ChildUsers(work_dir, first=60_700, count=2).borrow() as user:
    with Workspace(work_dir / "job" / "1", user) as workspace:
        (workspace.inputs / "model").write_bytes(b"a model")
        workspace.hand_over(workspace.inputs / "model")
        workspace.share(workspace.root / "earlier")
        if (child := os.fork()) == 0:
            os.setgid(user.gid)
            os.setuid(user.uid)
            (workspace.output / "closed").mkdir(mode=0)
            (workspace.output / "model.pt").touch(mode=0)
            os._exit((workspace.inputs / "model").read_bytes() != b"a model")
        assert os.waitpid(child, 0)[1] == 0
        assert (workspace.output / "model.pt").read_bytes() == b""
assert not (work_dir / "job").exists()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities to give up")
def test_an_attempts_files_need_no_other_capability() -> None:
    given = ",".join(f"+{name.lower()}" for name in SERVICES["worker"]["cap_add"])
    limited = ["setpriv", f"--bounding-set=-all,{given}", "--no-new-privs"]
    with tempfile.TemporaryDirectory(prefix="ladder-worker-") as name:
        Path(name).chmod(0o711)
        subprocess.run([*limited, sys.executable, "-c", ATTEMPT, f"{name}/work"], check=True)
