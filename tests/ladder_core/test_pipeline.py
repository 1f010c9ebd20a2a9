"""A whole run on real digits: results that open, the same twice, and an end when asked."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ladder_core.errors import HardeningError, StopRequested
from ladder_core.pipeline import run_pipeline
from ladder_schema.config import resolve_config
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import Stage
from ladder_schema.protocol import ResultFile
from ladder_schema.report import AttackResult, Report
from tests.ladder_core.attempts import SMALL_EVALUATION

QUICK = {
    "boundary": {"steps": 5},
    "generator": {"steps": 60},
    "retraining": {"examples": "fixed", "epochs": 2},
    "evaluation": SMALL_EVALUATION
    | {"pgd_steps": 5, "max_samples": 120, "curve_points": 6, "curve_samples": 50},
    "threat_model": {"epsilon": 0.1},
    "example_count": 20,
}


def run(model: Path, dataset: Path, work_dir: Path, config: dict, on_progress=lambda *_: True) -> Report:
    work_dir.mkdir(exist_ok=True)
    return run_pipeline(
        model, dataset, work_dir, resolve_config(config), device="cpu", on_progress=on_progress
    )


@pytest.fixture(scope="module")
def ladder_run(digits_model, digits_npz, tmp_path_factory) -> tuple[Path, Report, list[tuple[Stage, float]]]:
    seen: list[tuple[Stage, float]] = []

    def on_progress(stage: Stage, progress: float, _: str) -> bool:
        seen.append((stage, progress))
        return True

    work_dir = tmp_path_factory.mktemp("run")
    return work_dir, run(digits_model, digits_npz, work_dir, QUICK, on_progress), seen


def by_setting(report: Report) -> dict[tuple[str, str], AttackResult]:
    return {(r.attack, r.setting): r for r in report.measurements.attacks}


def test_the_report_counts_every_sample_once(ladder_run) -> None:
    _, report, _ = ladder_run
    measured, by = report.measurements, by_setting(report)
    assert measured.clean.total == report.dataset.test_samples == 450
    assert measured.clean.before.rate > 0.95
    assert list(by) == [
        ("fgsm", "white_box"), ("fgsm", "transfer"), ("pgd", "white_box"), ("pgd", "transfer"),
        ("ladder", "fixed"),
    ]  # fmt: skip
    assert all(r.outcome.total == 120 for r in measured.attacks[:4])
    # Replayed on the model it was made on, FGSM is white-box.
    assert by["fgsm", "white_box"].outcome.before == by["fgsm", "transfer"].outcome.before
    examples, ladder = report.examples, by["ladder", "fixed"]
    assert examples.considered == 120
    assert ladder.outcome.total == 120 - examples.skipped_misclassified - examples.skipped_no_crossing
    assert 0 < examples.latents_at_target <= 1
    assert examples.images_fooling == pytest.approx(1 - ladder.outcome.before.rate)
    assert [r.attack for r in measured.attacks if r.trained_on] == ["ladder"]
    assert sum(report.dataset.test_per_class) == 450
    assert report.boundary.pairs == 45


def test_the_parts_of_the_report_agree(ladder_run) -> None:
    """What is counted twice, once as a whole and once in parts, is the same."""
    _, report, _ = ladder_run
    measured, by = report.measurements, by_setting(report)
    white_box = [r.outcome for r in measured.attacks if r.setting == "white_box"]
    assert measured.worst_case.total == 120
    assert measured.worst_case.after.correct <= min(o.after.correct for o in white_box)
    assert sum(c.worst_case.after.correct for c in measured.classes) == measured.worst_case.after.correct
    assert sum(c.clean.after.correct for c in measured.classes) == measured.clean.after.correct
    assert sum(c.clean.total for c in measured.classes) == 450
    confusion = np.array(measured.confusions.clean_after.counts)
    assert (confusion.sum(), confusion.trace()) == (450, measured.clean.after.correct)
    attacked = np.array(measured.confusions.attacked_before.counts)
    assert (attacked.sum(), attacked.trace()) == (120, by["pgd", "white_box"].outcome.before.correct)
    (curve,) = measured.curves
    assert [point.epsilon for point in curve.points[:3]] == pytest.approx([0, 0.05, 0.1])
    rates = [point.outcome.before.rate for point in curve.points]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.2, "within 0.5 every image can be made evenly grey"
    for model in ("before", "after"):
        bins = getattr(measured.calibration, model).bins
        assert sum(b.total for b in bins) == 450
        assert sum(b.correct for b in bins) == getattr(measured.clean, model).correct
    (rank,) = measured.average_ranks
    assert (rank.setting, rank.columns) == ("transfer", 3)


def test_ladder_training_helps_and_keeps_clean_accuracy(digits_model, digits_npz, tmp_path) -> None:
    config = QUICK | {"generator": {"steps": 300}, "retraining": {"examples": "fresh", "epochs": 12}}
    report = run(digits_model, digits_npz, tmp_path, config)
    assert by_setting(report)["ladder", "fixed"].outcome.difference > 0.25
    assert report.measurements.clean.difference > -0.03


def test_progress_rises_through_the_stages_in_order(ladder_run) -> None:
    *_, seen = ladder_run
    assert list(dict.fromkeys(stage for stage, _ in seen)) == list(Stage)
    shares = [progress for _, progress in seen]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert 0.98 <= shares[-1] <= 1.0


def test_the_report_on_disk_is_the_report(ladder_run) -> None:
    work_dir, report, _ = ladder_run
    assert Report.model_validate_json((work_dir / ResultFile.REPORT).read_bytes()) == report


def test_the_model_is_the_upload_with_other_weights(ladder_run, digits_model) -> None:
    work_dir, _, _ = ladder_run
    before, after = torch.jit.load(digits_model), torch.jit.load(work_dir / ResultFile.MODEL)
    assert after.code == before.code
    assert list(after.state_dict()) == list(before.state_dict())
    assert not any(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))
    weights = load_file(work_dir / ResultFile.WEIGHTS)
    assert weights.keys() == after.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in after.state_dict().items())


def test_the_examples_are_what_their_index_says(ladder_run, digits_model) -> None:
    work_dir, _, _ = ladder_run
    original, hardened = torch.jit.load(digits_model), torch.jit.load(work_dir / ResultFile.MODEL)
    with zipfile.ZipFile(work_dir / ResultFile.EXAMPLES) as archive:
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("index.csv"))))
        arrays = np.load(io.BytesIO(archive.read("examples.npz")))
        assert len(rows) == len(arrays["label"]) > 10
        for number, row in enumerate(rows):
            for kind in ("original", "adversarial"):
                pixels = np.asarray(Image.open(archive.open(row[kind])), dtype=np.float32) / 255
                assert (
                    np.abs(pixels - arrays[f"{kind}s" if kind == "original" else kind][number, 0]).max()
                    < 0.003
                )
            assert int(row["label"]) == int(row["predicted_original"]), "only correct samples are attacked"
            assert float(row["rho"]) == pytest.approx(1.2)
            assert row["target"] != row["label"]
        adversarial = torch.from_numpy(arrays["adversarial"])
        with torch.no_grad():
            assert original(adversarial).argmax(1).tolist() == arrays["predicted_adversarial"].tolist()
            assert hardened(adversarial).argmax(1).tolist() == arrays["hardened_adversarial"].tolist()


def test_the_same_seed_gives_the_same_bytes(ladder_run, digits_model, digits_npz, tmp_path) -> None:
    work_dir, report, _ = ladder_run
    again = run(digits_model, digits_npz, tmp_path, QUICK)
    ignored = {"created_at", "stage_seconds"}
    assert again.model_dump(exclude=ignored) == report.model_dump(exclude=ignored)
    for name in (ResultFile.WEIGHTS, ResultFile.EXAMPLES):
        assert (tmp_path / name).read_bytes() == (work_dir / name).read_bytes()


def test_adversarial_training_skips_the_latent_stages(digits_model, digits_npz, tmp_path) -> None:
    stages: list[Stage] = []

    def on_progress(stage: Stage, _: float, __: str) -> bool:
        stages.append(stage)
        return True

    config = {
        "method": "pgd",
        "threat_model": {"epsilon": 0.1},
        "retraining": {"epochs": 4},
        "evaluation": SMALL_EVALUATION | {"pgd_steps": 10},
        "example_count": 16,
    }
    report = run(digits_model, digits_npz, tmp_path, config, on_progress)
    skipped = {Stage.LATENTS, Stage.BOUNDARY, Stage.GENERATOR}
    assert list(dict.fromkeys(stages)) == [stage for stage in Stage if stage not in skipped]
    assert report.generator is report.boundary is report.examples is None
    assert by_setting(report)["pgd", "white_box"].outcome.difference > 0.05
    assert {r.attack for r in report.measurements.attacks if r.trained_on} == {"pgd"}
    assert (tmp_path / ResultFile.EXAMPLES).stat().st_size > 0


def test_fixed_adversarial_training_makes_its_examples_once(digits_model, digits_npz, tmp_path) -> None:
    config = {
        "method": "pgd",
        "threat_model": {"epsilon": 0.1},
        "retraining": {"examples": "fixed", "fixed_examples": 200, "epochs": 2},
        "evaluation": SMALL_EVALUATION | {"pgd_steps": 3, "max_samples": 60},
        "example_count": 8,
    }
    run(digits_model, digits_npz, tmp_path, config)
    assert np.load(tmp_path / "examples-train.npy").shape == (200, 1, 8, 8)


def test_ladder_refuses_a_head_it_has_no_closed_form_for(digits_npz, tmp_path) -> None:
    pooled = torch.nn.Sequential(
        torch.nn.Conv2d(1, 10, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    ).eval()
    path = tmp_path / "pooled.pt"
    torch.jit.script(pooled).save(str(path))
    with pytest.raises(HardeningError, match="choose method pgd") as raised:
        run(path, digits_npz, tmp_path / "work", QUICK)
    assert raised.value.code is ErrorCode.MODEL_UNSUPPORTED


def test_an_exported_program_comes_back_as_one(digits_network, digits_npz, tmp_path) -> None:
    path = tmp_path / "digits.pt2"
    sizes = ({0: torch.export.Dim("batch")},)
    torch.export.save(
        torch.export.export(digits_network, (torch.rand(2, 1, 8, 8),), dynamic_shapes=sizes), path
    )
    report = run(path, digits_npz, tmp_path / "work", QUICK)
    hardened = torch.export.load(tmp_path / "work" / ResultFile.MODEL)
    assert hardened.module()(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    assert report.measurements.clean.before.rate > 0.95
    assert load_file(tmp_path / "work" / ResultFile.WEIGHTS).keys() == hardened.state_dict.keys()


@pytest.mark.parametrize("stage", list(Stage))
def test_a_stop_is_honoured_in_every_stage(stage: Stage, digits_model, digits_npz, tmp_path) -> None:
    with pytest.raises(StopRequested):
        run(digits_model, digits_npz, tmp_path, QUICK, lambda now, *_: now is not stage)
    assert not (tmp_path / ResultFile.REPORT).exists()


def test_images_of_the_wrong_size_are_the_models_refusal(digits_model, tmp_path) -> None:
    path = tmp_path / "wide.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x_train=rng.random((40, 8, 20)), y_train=np.arange(40) % 10)
    with pytest.raises(HardeningError, match="does not accept images of shape") as raised:
        run(digits_model, path, tmp_path / "work", QUICK)
    assert raised.value.code is ErrorCode.MODEL_REJECTS_IMAGES
