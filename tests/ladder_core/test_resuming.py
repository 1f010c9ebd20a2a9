"""A run that is stopped or killed, wherever that is, goes on to the end it would have had."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ladder_core.errors import StopRequested
from ladder_core.records import load_record
from ladder_schema.jobs import Stage
from ladder_schema.protocol import CheckpointName
from tests.ladder_core.attempts import SMALL_EVALUATION, Attempt, Job, Killed, rewrite

TRAININGS = (Stage.GENERATOR, Stage.RETRAIN)
_SMALL = {
    "threat_model": {"epsilon": 0.1},
    "evaluation": SMALL_EVALUATION
    | {
        "pgd_steps": 2,
        "max_samples": 40,
        "batch_size": 20,
        "curve_points": 3,
        "curve_samples": 20,
    },
    "example_count": 8,
}
_LADDER = _SMALL | {"boundary": {"steps": 3, "max_pairs": 12}, "generator": {"steps": 12, "batch_size": 90}}
_PGD = _SMALL | {"method": "pgd", "pgd": {"steps": 2}}
# Batches that fill neither an epoch nor a block.
_FRESH = {"examples": "fresh", "epochs": 2, "batch_size": 40}
_FIXED = {"examples": "fixed", "fixed_examples": 210, "epochs": 3, "batch_size": 40}
CONFIGS = {
    "ladder fresh": _LADDER | {"retraining": _FRESH},
    "ladder fixed": _LADDER | {"retraining": _FIXED},
    "pgd fresh": _PGD | {"retraining": _FRESH},
    "pgd fixed": _PGD | {"retraining": _FIXED},
}


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    """Three batches a block, so that a training is interrupted within blocks and between them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ladder_core.training.retraining.BLOCK_SIZE", 130)
        yield


@pytest.fixture(scope="module")
def few_digits(digits_arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("few") / "digits.npz"
    np.savez(path, **{name: array[:250] for name, array in digits_arrays.items()})
    return path


@pytest.fixture(scope="module", params=CONFIGS.values(), ids=CONFIGS.keys())
def config(request: pytest.FixtureRequest) -> dict:
    return request.param


@pytest.fixture(scope="module")
def whole(
    config: dict, digits_model: Path, few_digits: Path, small_blocks: None, tmp_path_factory
) -> Attempt:
    """The same job, never interrupted."""
    return Job(digits_model, few_digits, config, tmp_path_factory.mktemp("whole")).run()


@pytest.fixture
def job(config: dict, digits_model: Path, few_digits: Path, tmp_path: Path) -> Job:
    return Job(digits_model, few_digits, config, tmp_path)


def calls(attempt: Attempt, stage: Stage) -> list[int]:
    """The numbers of the progress calls of a stage."""
    return [number for number, (of, *_) in enumerate(attempt.seen, start=1) if of is stage]


def places(attempt: Attempt, stage: Stage) -> list[int]:
    """Calls to interrupt at: the first and the last, and in trainings some between."""
    found = calls(attempt, stage)
    shares = (0, 1 / 3, 1 / 2, 1) if stage in TRAININGS else (0, 1)
    return sorted({found[round(share * (len(found) - 1))] for share in shares})


def trained(attempt: Attempt) -> int:
    """How many steps of the retraining it took."""
    return sum(stage is Stage.RETRAIN and detail.startswith("epoch") for stage, _, detail in attempt.seen)


def only_forward(attempt: Attempt) -> bool:
    shares, stages = [share for _, share, _ in attempt.seen], [stage for stage, *_ in attempt.seen]
    return shares == sorted(shares) and list(dict.fromkeys(stages)) == sorted(
        set(stages), key=list(Stage).index
    )


INTERRUPTED = [
    *(("ladder fixed", stage) for stage in Stage),
    *((name, Stage.RETRAIN) for name in CONFIGS if name != "ladder fixed"),
    ("pgd fixed", Stage.EXAMPLES),
]


@pytest.mark.parametrize(
    ("config", "stage"),
    [(CONFIGS[name], stage) for name, stage in INTERRUPTED],
    ids=[f"{name}, {stage}" for name, stage in INTERRUPTED],
    indirect=["config"],
)
def test_a_stopped_run_goes_on_to_the_same_end(stage: Stage, job: Job, whole: Attempt) -> None:
    """Stopped at several places of the stage, each in a job of its own that is let be the second time."""
    for place in places(whole, stage):
        stopped = job.elsewhere(f"at-{place}")
        with pytest.raises(StopRequested):
            stopped.run(lambda call, _, place=place: call != place)
        assert len(stopped.last.seen) == place, "a stop is honoured at once: nothing was done after it"
        resumed = stopped.run()
        assert resumed.outcome == whole.outcome
        assert only_forward(resumed)
        assert resumed.report.stage_seconds.keys() == whole.report.stage_seconds.keys()


def test_a_killed_run_goes_on_from_its_last_save(job: Job, whole: Attempt) -> None:
    for stage in (*TRAININGS, Stage.EVALUATE):
        if found := calls(whole, stage):
            last = found[len(found) // 2]

            def kill(call: int, _: Stage, last: int = last) -> bool:
                if call == last:
                    raise Killed
                return True

            killed = job.elsewhere(stage)
            with pytest.raises(Killed):
                killed.run(kill, every=0.0)
            assert killed.last.saved
            assert killed.run().outcome == whole.outcome


def test_a_run_stopped_again_and_again_comes_to_the_same_end(job: Job, whole: Attempt) -> None:
    """No attempt trains for more than five steps."""

    def five_steps(*_: object) -> bool:
        trained = [
            share
            for stage, share, detail in job.last.seen
            if stage in TRAININGS and (detail == "" or detail.startswith("epoch"))
        ]
        return len(set(trained)) <= 5

    stops = 0
    while True:
        try:
            last = job.run(five_steps)
            break
        except StopRequested:
            stops += 1
            assert only_forward(job.last)
            assert stops < 12, "no attempt comes further than the one before"
    assert stops >= 2
    assert last.outcome == whole.outcome


def test_what_was_kept_is_not_done_again(job: Job, whole: Attempt) -> None:
    middle = calls(whole, Stage.RETRAIN)[10]  # the first says that the stage begins
    with pytest.raises(StopRequested):
        job.run(lambda call, _: call != middle)
    first = dict.fromkeys(job.last.saved)
    seconds = {name: load_record(job.store / name).about.seconds for name in first}
    resumed = job.run()

    for stage in set(Stage) & {Stage(name) for name in first}:
        details = [detail for of, _, detail in resumed.seen if of is stage]
        if stage is Stage.RETRAIN:
            assert "goes on from a checkpoint" in details
            assert trained(resumed) == trained(whole) - 10 < trained(whole)
        else:
            assert details[-1] == "kept from an earlier attempt"
            assert resumed.report.stage_seconds[stage] == pytest.approx(seconds[stage.value], abs=0.5)
        assert resumed.report.stage_seconds[stage] >= seconds[stage.value]


def test_every_stage_is_saved_once_and_every_measurement(config: dict, whole: Attempt) -> None:
    measured = ["clean", "fgsm", "pgd", "curve", "calibration", "checks"]
    expected = [CheckpointName.RETRAIN]
    if config["retraining"]["examples"] == "fixed":
        expected = [CheckpointName.EXAMPLES, *expected]
    if config.get("method") != "pgd":
        expected = [CheckpointName.LATENTS, CheckpointName.BOUNDARY, CheckpointName.GENERATOR, *expected]
        measured.append("ladder")
    assert whole.saved == [*expected, *[CheckpointName.EVALUATE] * len(measured)]


def test_checkpoints_of_another_job_or_of_nothing_change_nothing(job: Job, whole: Attempt, caplog) -> None:
    Job(job.model, job.dataset, job.config | {"seed": 1}, job.directory).run()
    foreign = list(job.store.iterdir())
    (job.store / CheckpointName.LATENTS).write_bytes(b"not a checkpoint")
    job.attempts = 1
    with caplog.at_level(logging.WARNING):
        assert job.run().outcome == whole.outcome
    assert caplog.text.count("is of another configuration, model or dataset") == len(
        [path for path in foreign if path.name != CheckpointName.LATENTS]
    )


def test_what_was_built_on_a_lost_stage_is_done_again(job: Job, whole: Attempt, caplog) -> None:
    first = job.run()
    (job.store / first.saved[0]).unlink()
    again = job.run()
    assert again.outcome == whole.outcome
    assert dict.fromkeys(again.saved) == dict.fromkeys(first.saved), "everything from there on"


@pytest.mark.parametrize("config", [CONFIGS["pgd fresh"]], ids=["pgd fresh"], indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        lambda texts, tensors: texts["values"]["filled"]["counts"].update(fgsm=41),
        lambda texts, tensors: texts["values"]["filled"]["counts"].update(fgsm=-1),
        lambda texts, tensors: texts["values"]["filled"]["counts"].pop("fgsm"),
        lambda texts, tensors: texts["values"]["filled"].update(counts="all"),
        lambda texts, tensors: texts["values"].pop("filled"),
        lambda texts, tensors: tensors.pop("fgsm/success"),
        lambda texts, tensors: tensors.update({"fgsm/success": tensors["fgsm/success"][:-1].clone()}),
        lambda texts, tensors: tensors.update({"fgsm/l2": tensors["fgsm/l2"].double()}),
        lambda texts, tensors: texts["values"]["calibration"]["before"].update(ece=2),
    ],
)
def test_measurements_that_are_not_this_evaluations_are_made_again(
    change, job: Job, config: dict, whole: Attempt
) -> None:
    job.run()
    rewrite(job.store / CheckpointName.EVALUATE, change)
    again = job.run()
    assert again.outcome == whole.outcome
    assert CheckpointName.EVALUATE in again.saved


@pytest.mark.parametrize("config", [CONFIGS["pgd fresh"]], ids=["pgd fresh"], indirect=True)
def test_an_evaluation_goes_on_within_an_attack(job: Job, whole: Attempt) -> None:
    """Stopped between any two batches, it attacks no image a second time."""
    measured = [
        (place, detail)
        for place, (stage, _, detail) in enumerate(whole.seen, start=1)
        if stage is Stage.EVALUATE and detail
    ]
    for number, (place, detail) in enumerate(measured):
        if detail in ("calibration", "checks", "pictures"):
            continue
        stopped = job.elsewhere(f"at-{place}")
        with pytest.raises(StopRequested):
            stopped.run(lambda call, _, place=place: call != place)
        resumed = stopped.run()
        assert resumed.outcome == whole.outcome
        again = [detail for stage, _, detail in resumed.seen if stage is Stage.EVALUATE]
        assert again[-(len(measured) - number) :] == [detail for _, detail in measured[number:]]
        assert not {"clean", "fgsm", "pgd", "curve"} & set(again[: -(len(measured) - number)])
