"""The private directory of one attempt."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.identity import Identity


class Workspace:
    """Files of one attempt, removed when it ends.

    ```
    <root>/           0700, or 0710 and the child's group where the child is another user
      inputs/         the uploads, which the child may read
      output/         0700, the child's: its current directory, HOME and TMPDIR
      results/        0700, the worker's: what was taken from output/
      child.log       what the child wrote to its standard error
    ```
    """

    def __init__(self, root: Path, identity: Identity | None) -> None:
        self.root = root
        self.inputs = root / "inputs"
        self.output = root / "output"
        self.results = root / "results"
        self.log = root / "child.log"
        self._identity = identity

    def __enter__(self) -> Self:
        job_dir = self.root.parent
        job_dir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Left by an attempt whose worker was killed before it could clean up.
        shutil.rmtree(self.root, ignore_errors=True)
        for directory in (job_dir, self.root, self.inputs, self.output, self.results):
            directory.mkdir(mode=0o700, exist_ok=directory == job_dir)
        if self._identity is not None:
            for directory in (job_dir.parent, job_dir, self.root, self.inputs):
                os.chown(directory, -1, self._identity.gid)
                directory.chmod(0o710)
            os.chown(self.output, self._identity.uid, self._identity.gid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(RecursionError):  # a child may nest directories deeper than anybody can follow
            shutil.rmtree(self.root, ignore_errors=True)
        with suppress(OSError):  # another attempt's files may be in it
            self.root.parent.rmdir()

    def hand_over(self, path: Path) -> None:
        """Let the child read an input, and nobody change it."""
        if self._identity is not None:
            os.chown(path, -1, self._identity.gid)
        path.chmod(0o440)
