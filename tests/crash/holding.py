"""Holding a real child in the middle of a stage that takes no time, by a file that it has to write there."""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from ladder_schema.jobs import Stage
from ladder_schema.protocol import ResultFile
from tests.worker.conftest import Bench

WRITTEN = {
    Stage.VALIDATE: "dataset-x_train.npy",
    Stage.LATENTS: "latents-train.npy",
    Stage.REPORT: str(ResultFile.MODEL),
}


@contextmanager
def held_in_stage(bench: Bench, job_id: UUID, attempt: int, stage: Stage) -> Iterator[None]:
    """Have an attempt's child enter a stage, and not leave it before the block is left.

    The child opens a file to write on which this process has a lease, for which the kernel lets it wait (45 s
    at most). To be entered while the attempt begins: its child takes seconds to import what it needs.
    """
    output = bench.settings.work_dir / str(job_id) / str(attempt) / "output"
    bench.wait_until(lambda: bench.child_pids(job_id) and output.exists())
    file = output / WRITTEN[stage]
    file.touch()
    file.chmod(0o666)  # the child may be another user
    before = signal.signal(signal.SIGIO, lambda *_: None)  # how the kernel asks for the lease
    descriptor = os.open(file, os.O_RDONLY)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        yield
    finally:
        os.close(descriptor)
        signal.signal(signal.SIGIO, before)
