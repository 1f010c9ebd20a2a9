"""Everything an evaluation can measure, in one run that is interrupted in the middle of the costly parts."""

from pathlib import Path

import numpy as np
import pytest

from ladder_core.errors import StopRequested
from ladder_schema.jobs import Stage
from tests.ladder_core.attempts import Attempt, Job

# Within so large a radius every attack succeeds at once: what is run is all there, and quick.
CONFIG = {
    "threat_model": {"epsilon": 0.45},
    "boundary": {"steps": 3, "max_pairs": 12},
    "generator": {"steps": 12, "batch_size": 90},
    "retraining": {"examples": "fixed", "fixed_examples": 100, "epochs": 1},
    "evaluation": {
        "max_samples": 24,
        "batch_size": 8,
        "attacks": ["fgsm", "pgd", "di_fgsm", "deepfool", "jsma", "square"],
        "pgd_steps": 3,
        "autoattack": "standard",
        "autoattack_samples": 12,
        "costly_samples": 8,
        "black_box": ["transfer", "surrogate"],
        "surrogate_steps": 150,
        "curve_points": 3,
        "curve_samples": 8,
        "corruptions": True,
        "corruption_samples": 8,
        "trade_off_examples": [40, 80],
        "trade_off_rho": [1.0],
    },
    "example_count": 4,
}


@pytest.fixture(scope="module")
def job(digits_model: Path, digits_arrays: dict[str, np.ndarray], tmp_path_factory) -> Job:
    directory = tmp_path_factory.mktemp("full")
    path = directory / "digits.npz"
    np.savez(path, **{name: array[:400] for name, array in digits_arrays.items()})
    return Job(digits_model, path, CONFIG, directory)


@pytest.fixture(scope="module")
def whole(job: Job) -> Attempt:
    return job.elsewhere("whole").run()


def test_everything_that_was_asked_for_is_measured(whole: Attempt) -> None:
    measured = whole.report.measurements
    totals = {(r.attack, r.setting): r.outcome.total for r in measured.attacks}
    sizes = {"fgsm": 24, "pgd": 24, "di_fgsm": 24, "deepfool": 8, "jsma": 8, "square": 8}
    for setting in ("white_box", "transfer", "surrogate"):
        assert {attack: n for (attack, of), n in totals.items() if of == setting} == (
            sizes if setting == "white_box" else sizes | {"autoattack": 12}
        )
    assert measured.autoattack.outcome.total == 12
    assert measured.worst_case.total == 12, "AutoAttack's images: Square's eight are among them"
    broken = sum(c.broken_before for c in measured.autoattack.components)
    right = measured.autoattack.outcome.before.correct
    assert 0 < broken <= 12 - right, "the rest are the model's own mistakes"
    assert [len(t.points) for t in measured.trade_offs] == [2, 1]
    assert [p.value for p in measured.trade_offs[0].points] == [40, 80]
    assert all(p.clean.total == 24 and p.robust.total == 8 for t in measured.trade_offs for p in t.points)
    assert [d.attack for d in measured.distortions] == ["deepfool"]
    assert len(measured.corruptions) == 5 * len({c.corruption for c in measured.corruptions}) >= 50
    assert [(r.setting, r.columns) for r in measured.average_ranks] == [("transfer", 8), ("surrogate", 8)]
    assert len({(c.of, c.name) for c in whole.report.checks}) == 2 * 8 + 3


def test_a_surrogate_has_learned_the_data_by_itself(whole: Attempt) -> None:
    found = [r for r in whole.report.measurements.attacks if r.setting == "surrogate"]
    assert all(r.parameters["surrogate accuracy"] > 0.5 for r in found)


@pytest.mark.parametrize(
    "detail", ["autoattack", "surrogate", "surrogate-square", "corruptions", "trade-off-examples", "checks"]
)
def test_it_goes_on_from_wherever_it_was_stopped(detail: str, job: Job, whole: Attempt) -> None:
    numbers = [
        number
        for number, (stage, _, of) in enumerate(whole.seen, start=1)
        if stage is Stage.EVALUATE and of == detail
    ]
    place = numbers[len(numbers) // 2]
    stopped = job.elsewhere(detail)
    with pytest.raises(StopRequested):
        stopped.run(lambda call, _: call != place)
    resumed = stopped.run()
    assert resumed.outcome == whole.outcome
    again = [of for stage, _, of in resumed.seen if stage is Stage.EVALUATE]
    assert "pgd" not in again, "what was measured is not measured again"
    assert again.count(detail) <= len(numbers) - len(numbers) // 2 or detail == "checks"
