"""The real child: its channel, its confinement, and the pipeline inside it."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from ladder_schema.config import resolve_config
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobStatus, Stage
from ladder_schema.protocol import FROM_CHILD, Failed, Hello, Start, Stop
from ladder_schema.report import Report
from worker.child import hardening
from worker.process import CHILD_COMMAND, ChildProcess
from worker.users import child_users
from worker.work import Work

CHANNEL_CHILD = Path(__file__).with_name("channel_child.py")
CONFIG = {
    "preset": "quick",
    "boundary": {"steps": 20},
    "generator": {"steps": 20},
    "retraining": {"epochs": 1, "fixed_examples": 200},
    "evaluation": {"max_samples": 100, "pgd_steps": 2},
    "example_count": 4,
}


@pytest.fixture(scope="module")
def digits_model() -> bytes:
    """A small network that knows its digits, as TorchScript."""
    images, targets = _digits()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(100):
            loss = torch.nn.functional.cross_entropy(
                model(torch.from_numpy(images)), torch.from_numpy(targets)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(model.eval(), torch.from_numpy(images[:2])), buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def digits_dataset() -> bytes:
    images, targets = _digits()
    buffer = io.BytesIO()
    np.savez(buffer, x_train=images, y_train=targets)
    return buffer.getvalue()


def _digits() -> tuple[np.ndarray, np.ndarray]:
    digits = load_digits()
    return (digits.images[:, None] / 16).astype(np.float32), digits.target


def test_a_model_is_hardened(bench, digits_model, digits_dataset, tmp_path):
    job_id = bench.submit(digits_model, digits_dataset, **CONFIG)
    bench.users = child_users(bench.settings)
    bench.runner(CHILD_COMMAND).run_queued_jobs(bench.queue)
    job = bench.job(job_id)
    assert (job.status, job.error_message) == (JobStatus.SUCCEEDED, None)
    paths = {artifact.name.value: tmp_path / artifact.name for artifact in job.artifacts}
    for artifact in job.artifacts:
        bench.store.get_to_file(artifact.object_key, paths[artifact.name.value])
    images, _ = _digits()
    assert torch.jit.load(paths["model"])(torch.from_numpy(images[:2])).shape == (2, 10)
    assert len(load_file(paths["weights"])) == 4
    assert zipfile.ZipFile(paths["examples"]).testzip() is None
    report = Report.model_validate_json(paths["report"].read_bytes())
    assert report.measurements.clean.before.rate > 0.9
    assert report.verdict.headline in paths["report.html"].read_text()
    stages = [event.stage for event in bench.events(job_id) if event.kind == "stage"]
    assert stages == list(Stage)


def test_what_is_no_model_fails_the_job(bench, digits_dataset):
    job_id = bench.submit(b"no model at all", digits_dataset)
    bench.runner(CHILD_COMMAND).run_queued_jobs(bench.queue)
    job = bench.job(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, ErrorCode.MODEL_UNREADABLE)
    assert job.error_stage is Stage.VALIDATE


def test_a_fault_of_ours_is_told_without_a_traceback(bench, digits_model, digits_dataset, monkeypatch):
    """One that no rehearsal meets: only the job's own order names a device that there is not."""
    order = Work._order

    def order_nonsense(work, resume_from):
        return order(work, resume_from).model_copy(update={"device": "nonsense"})

    monkeypatch.setattr(Work, "_order", order_nonsense)
    job_id = bench.submit(digits_model, digits_dataset)
    bench.runner(CHILD_COMMAND, max_child_deaths=2).run_queued_jobs(bench.queue)
    job = bench.job(job_id)
    assert (job.status, job.error_code, job.attempt) == (JobStatus.FAILED, ErrorCode.INTERNAL, 2)
    assert "Its last words: RuntimeError: " in job.error_message
    assert "/" not in job.error_message
    assert "line" not in job.error_message


def test_any_text_can_be_told():
    failed = hardening._failed(ErrorCode.MODEL_UNREADABLE, "\udcff" * 5_000, None)
    assert FROM_CHILD.validate_json(failed.model_dump_json()) == failed


def test_a_running_pipeline_is_cancelled(bench, digits_model, digits_dataset):
    endless = {**CONFIG, "generator": {"steps": 10_000_000}}
    job_id = bench.submit(digits_model, digits_dataset, **endless)
    with bench.running(CHILD_COMMAND):
        bench.wait_until(lambda: bench.job(job_id).stage is Stage.GENERATOR)
        bench.cancel(job_id)
        bench.wait_for_status(job_id, JobStatus.CANCELLED)


@pytest.fixture
def child(tmp_path):
    process = ChildProcess(
        (sys.executable, "-I", str(CHANNEL_CHILD)),
        work_dir=tmp_path,
        log=tmp_path / "child.log",
        max_log_bytes=1_000,
        identity=None,
    )
    yield process
    process.close()


def converse(child: ChildProcess, work_dir: Path) -> list[object]:
    """Start the child, stop it, and return all it said."""
    config = resolve_config({})
    child.send(Start(model=work_dir, dataset=work_dir, work_dir=work_dir, device="cpu", config=config))
    child.send(Stop())
    said: list[object] = []
    while not child.exited:
        said += child.receive(10.0)
    return said


def test_nothing_that_is_printed_becomes_a_message(child, tmp_path):
    hello, failed = converse(child, tmp_path)
    assert isinstance(hello, Hello)
    assert isinstance(failed, Failed)
    child.close()
    expected = b"printed by Python\nwritten to descriptor 1\n"
    assert (child.log_tail, (tmp_path / "child.log").read_bytes()) == (expected, expected)


def test_the_child_is_confined(child, tmp_path):
    _, failed = converse(child, tmp_path)
    assert json.loads(failed.message) == {
        "core": [1, 1],
        "file": [1 << 20, 1 << 20],
        "open": True,
        "no_new_privs": "1",
        "stdin": "/dev/null",
    }


def test_a_log_without_end_is_cut(tmp_path):
    process = ChildProcess(
        (sys.executable, "-I", "-c", "import os; [os.write(2, b'x' * 99 + b'\\n') for _ in range(100_000)]"),
        work_dir=tmp_path,
        log=tmp_path / "child.log",
        max_log_bytes=1_000,
        identity=None,
    )
    while not process.exited:
        assert process.receive(10.0) == []
    assert process.close() == 0
    assert (tmp_path / "child.log").stat().st_size == 1_000
    assert process.log_tail.endswith(b"x\n")


def test_the_child_dies_with_its_parent_though_its_pipe_stays_open(bench):
    """The pipe is this test's, so only the kernel can tell the child that its parent is gone."""
    read_end, write_end = os.pipe()
    script = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen({[sys.executable, '-I', str(CHANNEL_CHILD)]!r}, stdin={read_end}, "
        "stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, pass_fds=[read_end]
    ) as parent:
        pid = int(parent.stdout.readline())
        assert bench.is_alive(pid)
        parent.kill()
    bench.wait_until(lambda: not bench.is_alive(pid), seconds=5)
    os.close(read_end)
    os.close(write_end)
