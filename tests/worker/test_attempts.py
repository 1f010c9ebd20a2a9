"""One worker, one job, a real child: every way an attempt can end."""

import errno
import json
import os
import re
import signal
import time
import zipfile
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import func, update

from ladder_jobs.claims import sweep
from ladder_jobs.states import EventKind, Outcome
from ladder_jobs.tables import Attempt as AttemptRow
from ladder_report import faces
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import ArtifactName, JobStatus, Stage
from ladder_schema.report import Report
from worker.endings import OtherVersion
from worker.environment import KEPT_VARIABLES
from worker.launch import start_child
from worker.settings import WorkerSettings
from worker.users import ChildUsers


class PanicException(BaseException):
    """What PyO3 raises where Rust code panics, by its names: the class itself cannot be imported."""

    __module__ = "pyo3_runtime"


def test_a_job_succeeds_and_publishes_what_was_checked(bench, tmp_path):
    job = bench.run("succeed")
    assert (job.status, job.progress, job.error_code) == (JobStatus.SUCCEEDED, 1.0, None)
    artifacts = {artifact.name: artifact for artifact in job.artifacts}
    assert set(artifacts) == set(ArtifactName)
    assert {name: artifact.media_type for name, artifact in artifacts.items()} == {
        ArtifactName.MODEL: "application/octet-stream",
        ArtifactName.WEIGHTS: "application/octet-stream",
        ArtifactName.EXAMPLES: "application/zip",
        ArtifactName.REPORT: "application/json",
        ArtifactName.REPORT_HTML: "text/html; charset=utf-8",
        ArtifactName.REPORT_PDF: "application/pdf",
        ArtifactName.MODEL_CARD: "text/markdown; charset=utf-8",
    }
    for artifact in job.artifacts:
        stored = bench.store.get_to_file(artifact.object_key, tmp_path / artifact.name)
        assert (stored.bytes, stored.sha256) == (artifact.bytes, artifact.sha256)
        assert artifact.object_key.startswith(f"jobs/{job.id}/attempts/1/")
    with zipfile.ZipFile(tmp_path / "model") as archive:
        assert archive.read("model/data.pkl") == b"a model"
    assert Report.model_validate_json((tmp_path / "report").read_bytes()).verdict.headline == "Fine."
    assert (tmp_path / "report.html").read_text().lower().startswith("<!doctype html>")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert (tmp_path / "model-card").read_text().startswith("---\npipeline_tag: image-classification\n")


@pytest.mark.parametrize("fault", [ValueError("no chart"), PanicException("index out of bounds")])
def test_a_face_that_cannot_be_rendered_costs_the_job_that_face_alone(bench, monkeypatch, fault):
    def set_pdf(*_: object) -> bytes:
        raise fault

    monkeypatch.setattr(faces, "set_pdf", set_pdf)
    job = bench.run("succeed")
    assert job.status is JobStatus.SUCCEEDED
    assert {artifact.name for artifact in job.artifacts} == set(ArtifactName) - {ArtifactName.REPORT_PDF}


def test_a_document_that_cannot_be_built_leaves_the_report_itself(bench, monkeypatch):
    def build_document(_: object) -> None:
        raise KeyError("label")

    monkeypatch.setattr(faces, "build_document", build_document)
    job = bench.run("succeed")
    assert job.status is JobStatus.SUCCEEDED
    assert {artifact.name for artifact in job.artifacts} == {
        ArtifactName.MODEL,
        ArtifactName.WEIGHTS,
        ArtifactName.EXAMPLES,
        ArtifactName.REPORT,
    }


def test_a_full_disk_while_rendering_is_the_workers_trouble(bench, monkeypatch):
    def set_pdf(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(faces, "set_pdf", set_pdf)
    job = bench.run("succeed", max_outages=1)
    assert (job.status, job.error_code) == (JobStatus.FAILED, ErrorCode.DISK_LIMIT)


def test_stages_become_events(bench):
    job = bench.run("succeed")
    kinds = [(event.kind, event.stage) for event in bench.events(job.id)]
    assert kinds == [
        (EventKind.CREATED, None),
        (EventKind.CLAIMED, None),
        (EventKind.STAGE, Stage.VALIDATE),
        (EventKind.STAGE, Stage.RETRAIN),
        (EventKind.SUCCEEDED, Stage.RETRAIN),
    ]


def test_nothing_is_left_on_the_disk(bench):
    job = bench.run("succeed")
    assert not (bench.settings.work_dir / str(job.id)).exists()


def test_queued_jobs_are_run_one_after_another(bench):
    jobs = [bench.submit() for _ in range(3)]
    assert bench.runner("succeed").run_queued_jobs(bench.queue) == 3
    assert {bench.job(job_id).status for job_id in jobs} == {JobStatus.SUCCEEDED}
    assert bench.runner("succeed").run_queued_jobs(bench.queue) == 0


def test_the_child_says_why_the_job_failed(bench):
    job = bench.run("fail")
    assert (job.status, job.error_code, job.error_message, job.error_stage) == (
        JobStatus.FAILED,
        ErrorCode.MODEL_NEAR_CHANCE,
        "Chance.",
        Stage.VALIDATE,
    )
    assert job.artifacts == []


@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [
        ("babble", "a line that is no message"),
        ("never_end_a_line", "a line of more than 65536 bytes"),
        ("flood", "too many messages"),
        ("go_back_and_forth", "validate after latents"),
        ("skip_greeting", "a greeting that is missing"),
        ("speak_after_the_end", "a message after the last one"),
        ("blame_the_worker", "it blames worker_lost"),
        ("leave_nothing", "model.pt is missing"),
        ("leave_symlink", "model.pt is no file"),
        ("leave_fifo", "model.pt is no plain file"),
        ("leave_hard_link", "model.pt is no plain file"),
        ("leave_directory", "model.pt is no plain file"),
        ("leave_other_report", "report.json describes another job"),
        ("leave_report_with_nul_key", "report.json is no report (config: extra_forbidden)"),
        ("leave_report_with_huge_key", "report.json is no report (config: extra_forbidden)"),
        ("leave_bad_weights", "weights.safetensors describes 9 bytes of tensors and has 4"),
    ],
)
def test_a_child_that_breaks_the_protocol_fails_the_job(bench, behaviour, complaint):
    job = bench.run(behaviour)
    assert (job.status, job.error_code) == (JobStatus.FAILED, ErrorCode.PROTOCOL_VIOLATION)
    assert complaint in job.error_message
    assert len(bench.attempts(job.id)) == 1
    assert job.artifacts == []
    assert bench.child_pids(job.id) == []


def test_weights_that_are_no_numbers_are_a_training_that_diverged(bench):
    job = bench.run("leave_weights_that_are_no_numbers")
    assert (job.status, job.error_code) == (JobStatus.FAILED, ErrorCode.TRAINING_DIVERGED)
    assert "weights.safetensors has values that are not finite in w" in job.error_message
    assert job.artifacts == []


def test_a_child_of_another_version_costs_the_job_nothing(bench):
    """Somebody installed another version under a running worker: the job waits for one that is of a piece."""
    job_id = bench.submit()
    with pytest.raises(OtherVersion):
        bench.runner("speak_a_later_version").run_queued_jobs(bench.queue)
    job = bench.job(job_id)
    assert (job.status, job.child_deaths, job.outages, job.error_code) == (JobStatus.QUEUED, 0, 0, None)
    (attempt,) = bench.attempts(job_id)
    assert attempt.outcome is Outcome.RELEASED
    assert attempt.error == "its worker is of another version than the process it started"


def test_a_worker_of_another_version_ends_also_where_its_job_is_lost(bench, monkeypatch):
    def start_and_lose(*arguments):
        bench.reassign(job_id)
        return start_child(*arguments)

    monkeypatch.setattr("worker.work.start_child", start_and_lose)
    job_id = bench.submit()
    with pytest.raises(OtherVersion):
        bench.runner("speak_a_later_version", heartbeat_seconds=60.0).run_queued_jobs(bench.queue)
    assert bench.job(job_id).worker == "another"


def test_a_child_that_stays_after_its_last_word_is_removed(bench):
    assert bench.run("linger").status is JobStatus.SUCCEEDED


def test_a_job_whose_child_keeps_dying_fails_with_its_last_words(bench):
    job = bench.run("die", max_child_deaths=3)
    assert (job.status, job.error_code) == (JobStatus.FAILED, ErrorCode.CHILD_CRASHED)
    assert job.error_stage is Stage.LATENTS
    assert job.error_message == (
        "The process that held the model was killed by SIGKILL. Its last words: the end is near, in place.py"
    )
    assert [attempt.outcome for attempt in bench.attempts(job.id)] == [Outcome.CHILD_DIED] * 3


def test_a_fault_that_is_not_the_users_is_tried_as_often_as_a_death(bench):
    job = bench.run("meet_a_fault", max_child_deaths=3)
    assert (job.status, job.error_code, job.error_stage) == (
        JobStatus.FAILED,
        ErrorCode.INTERNAL,
        Stage.RETRAIN,
    )
    assert job.error_message == (
        "Our fault. Its last words: OSError: [Errno 28] No space left on device: 'cache'"
    )
    assert [attempt.outcome for attempt in bench.attempts(job.id)] == [Outcome.CHILD_DIED] * 3


def test_a_fault_that_does_not_come_again_costs_an_attempt(bench):
    job = bench.run("meet_a_fault_at_first")
    assert job.status is JobStatus.SUCCEEDED
    assert [attempt.outcome for attempt in bench.attempts(job.id)] == [Outcome.CHILD_DIED, Outcome.SUCCEEDED]


def test_the_next_try_may_be_another_workers(bench):
    job = bench.run("die", death_pause_seconds=600.0)
    (attempt,) = bench.attempts(job.id)
    assert (job.status, job.child_deaths) == (JobStatus.QUEUED, 1)
    assert 599 < (job.not_before - attempt.ended_at).total_seconds() <= 600


def test_a_child_that_leaves_without_a_word_has_died(bench):
    job = bench.run("exit_quietly", max_child_deaths=1)
    assert job.error_message == "The process that held the model exited with 0."


def test_a_killed_child_is_replaced_by_another(bench):
    job_id = bench.submit()
    with bench.running("succeed_at_second_attempt"):
        bench.wait_for_stage(job_id)
        (pid,) = bench.child_pids(job_id)
        os.kill(pid, signal.SIGKILL)
    assert bench.job(job_id).status is JobStatus.SUCCEEDED
    assert [attempt.outcome for attempt in bench.attempts(job_id)] == [Outcome.CHILD_DIED, Outcome.SUCCEEDED]


def test_what_a_dead_child_started_dies_too(bench):
    job = bench.run("have_offspring", max_child_deaths=1)
    pid = int(re.search(r"offspring (\d+)", job.error_message)[1])
    assert not bench.is_alive(pid)


@pytest.mark.parametrize("behaviour", ["sleep_until_told", "ignore_everything"])
def test_a_running_job_is_cancelled(bench, behaviour):
    job_id = bench.submit()
    with bench.running(behaviour):
        bench.wait_for_stage(job_id)
        (pid,) = bench.child_pids(job_id)
        bench.cancel(job_id)
        bench.wait_until(lambda: bench.job(job_id).status is JobStatus.CANCELLED, seconds=5)
    assert not bench.is_alive(pid)


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("deaf", [False, True], ids=["listening", "deaf"])
def test_a_job_is_cancelled_within_five_seconds_in_every_stage(bench, stage, deaf):
    """With the settings as they come: a second until it is heard, two to comply, one more before SIGKILL."""
    names = ("heartbeat_seconds", "stop_grace_seconds", "term_grace_seconds")
    bench.configure(**{name: WorkerSettings.model_fields[name].default for name in names}, lease_seconds=15.0)
    job_id = bench.submit()
    with bench.running(bench.script("stay_in_stage", stage.value, "deaf" if deaf else "listening")):
        bench.wait_until(lambda: bench.job(job_id).stage is stage)
        (child,) = bench.child_pids(job_id)
        bench.cancel(job_id)
        began = time.monotonic()
        bench.wait_for_status(job_id, JobStatus.CANCELLED)
        assert time.monotonic() - began < 5
        assert not bench.is_alive(child)
    assert not (bench.settings.work_dir / str(job_id)).exists()
    assert list(bench.store.list_keys(f"jobs/{job_id}/")) == []


@pytest.mark.parametrize("behaviour", ["sleep_until_told", "ignore_everything"])
def test_a_stopping_worker_gives_its_job_back(bench, behaviour):
    job_id = bench.submit()
    with bench.running(behaviour):
        bench.wait_for_stage(job_id)
        bench.shutdown.set()
    job = bench.job(job_id)
    assert (job.status, job.child_deaths, job.worker_losses) == (JobStatus.QUEUED, 0, 0)
    assert [attempt.outcome for attempt in bench.attempts(job_id)] == [Outcome.RELEASED]
    bench.shutdown.clear()
    bench.runner("succeed").run_queued_jobs(bench.queue)
    assert bench.job(job_id).status is JobStatus.SUCCEEDED


def test_a_worker_that_lost_its_lease_drops_the_work(bench):
    """The job is taken away mid-run: the child dies at once and what it did changes nothing."""
    job_id = bench.submit()
    with bench.running("ignore_everything"):
        bench.wait_for_stage(job_id)
        (pid,) = bench.child_pids(job_id)
        bench.reassign(job_id)
        bench.wait_until(lambda: not bench.is_alive(pid), seconds=5)
    assert bench.job(job_id).status is JobStatus.RUNNING
    assert bench.job(job_id).worker == "another"


def test_results_of_a_lost_lease_are_deleted(bench):
    """The lease is lost between the child's last word and the publishing commit, when no heartbeat tells."""
    job_id = bench.submit()
    with bench.running("linger", heartbeat_seconds=60.0):
        bench.wait_for_results(job_id)
        bench.reassign(job_id)
    assert bench.job(job_id).status is JobStatus.RUNNING
    assert list(bench.store.list_keys(f"jobs/{job_id}/")) == []


@pytest.mark.parametrize(
    ("child", "order"),
    [
        ("succeed_when_allowed", signal.SIGUSR1),
        ("tell_then_fail", signal.SIGUSR1),
        ("succeed_when_allowed", signal.SIGKILL),
    ],
    ids=["succeeds", "fails", "dies"],
)
def test_an_attempt_that_ends_as_its_job_is_cancelled_is_cancelled(bench, child, order):
    """No heartbeat tells the worker, only the settlement; row and metric then say the same."""
    counted = ("ladder_attempts_total", {"outcome": "cancelled"})
    before = REGISTRY.get_sample_value(*counted) or 0
    job_id = bench.submit(model=b"wait")
    with bench.running(child, heartbeat_seconds=60.0):
        bench.wait_for_stage(job_id)
        bench.cancel(job_id)
        os.kill(bench.child_pid(job_id), order)
    assert bench.job(job_id).status is JobStatus.CANCELLED
    assert [attempt.outcome for attempt in bench.attempts(job_id)] == [Outcome.CANCELLED]
    assert REGISTRY.get_sample_value(*counted) == before + 1
    assert bench.job(job_id).artifacts == []


def test_a_job_may_not_run_for_ever(bench):
    job = bench.run("ignore_everything", job_max_seconds=0.5)
    assert (job.status, job.error_code, job.error_stage) == (
        JobStatus.FAILED,
        ErrorCode.TIME_LIMIT,
        Stage.VALIDATE,
    )


def test_a_job_may_not_run_longer_than_it_wants_to(bench):
    """It took most of its time in attempts that are over: this one has the rest, and so has no other."""
    job_id = bench.submit(max_runtime=600.0)
    bench.claim_and_vanish()
    with bench.sessions.begin() as session:
        earlier = func.now() - timedelta(seconds=599.5)
        session.execute(update(AttemptRow).where(AttemptRow.job_id == job_id).values(started_at=earlier))
        sweep(session, max_worker_losses=10)
    bench.runner("ignore_everything").run_queued_jobs(bench.queue)
    job = bench.job(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, ErrorCode.TIME_LIMIT)
    assert job.error_message.startswith(
        "The job ran longer than config.max_runtime, 600 s for all its attempts"
    )
    assert "Raise max_runtime, up to 86400" in job.error_message
    assert [attempt.outcome for attempt in bench.attempts(job_id)] == [Outcome.WORKER_LOST, Outcome.FAILED]


def test_a_job_whose_time_is_over_when_it_is_claimed_is_not_even_fetched(bench):
    job_id = bench.submit(max_runtime=60.0)
    bench.claim_and_vanish()
    with bench.sessions.begin() as session:
        earlier = func.now() - timedelta(seconds=61)
        session.execute(update(AttemptRow).where(AttemptRow.job_id == job_id).values(started_at=earlier))
        sweep(session, max_worker_losses=10)
    bench.runner("succeed").run_queued_jobs(bench.queue)
    job = bench.job(job_id)
    assert (job.status, job.error_code, job.error_stage) == (JobStatus.FAILED, ErrorCode.TIME_LIMIT, None)


def test_a_job_may_not_take_all_memory(bench):
    job = bench.run("eat_memory", max_memory_bytes=128 << 20)
    assert (job.status, job.error_code) == (JobStatus.FAILED, ErrorCode.OUT_OF_MEMORY)
    assert "128 MiB" in job.error_message


def test_an_upload_that_is_gone_fails_the_job(bench):
    job_id = bench.submit()
    bench.store.delete(bench.upload_keys(job_id)["model"])
    bench.runner("succeed").run_queued_jobs(bench.queue)
    job = bench.job(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, ErrorCode.INTERNAL)
    assert "model is gone" in job.error_message


def test_an_upload_that_has_changed_fails_the_job(bench, tmp_path):
    job_id = bench.submit()
    other = tmp_path / "other"
    other.write_bytes(b"other data")
    bench.store.put_file(bench.upload_keys(job_id)["dataset"], other)
    bench.runner("succeed").run_queued_jobs(bench.queue)
    assert "dataset is no longer the file that was uploaded" in bench.job(job_id).error_message


def test_the_child_sees_nothing_of_the_worker(bench, monkeypatch):
    monkeypatch.setenv("LADDER_S3_SECRET_KEY", "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    job = bench.run("tell_environment")
    seen = json.loads(job.error_message)
    output = str(bench.settings.work_dir / str(job.id) / "1" / "output")
    set_by_python = {"LC_CTYPE"}
    machine = {name: value for name, value in os.environ.items() if name in KEPT_VARIABLES}
    assert {name: value for name, value in seen["environment"].items() if name not in set_by_python} == {
        **machine,
        "HOME": output,
        "TMPDIR": output,
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        "LOGNAME": "ladder",
        "JOBLIB_MULTIPROCESSING": "0",
        "OMP_NUM_THREADS": "2",
    }
    assert seen["cwd"] == output
    assert seen["is_group_leader"]
    assert seen["fds"] == [0, 1, 2]


def test_as_root_the_child_is_another_user(bench, public_child):
    bench.users = ChildUsers(bench.settings.work_dir, first=60_800, count=64)
    seen = json.loads(bench.run((*public_child, "tell_environment")).error_message)
    assert seen["uid"] in range(60_800, 60_864)
    assert seen["groups"] == []
    assert bench.run((*public_child, "succeed")).status is JobStatus.SUCCEEDED
    assert bench.run((*public_child, "ignore_everything"), job_max_seconds=0.5).status is JobStatus.FAILED
