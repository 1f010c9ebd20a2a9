"""A whole run on image files: the same model, another upload, the same images."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ladder_core.pipeline import run_pipeline
from ladder_report.html import render_html
from ladder_schema.config import resolve_config
from ladder_schema.report import Report
from tests.ladder_core.attempts import SMALL_EVALUATION

CONFIG = {
    "boundary": {"steps": 5},
    "generator": {"steps": 20},
    "retraining": {"examples": "fixed", "fixed_examples": 200, "epochs": 1},
    "evaluation": SMALL_EVALUATION | {"pgd_steps": 2, "max_samples": 50},
    "threat_model": {"epsilon": 0.1},
}


def write_digits(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """The digits as PNGs in colour, a folder per class, and two files that are no images."""
    with zipfile.ZipFile(path, "w") as archive:
        for part in ("train", "test"):
            for number, (image, label) in enumerate(
                zip(arrays[f"x_{part}"], arrays[f"y_{part}"], strict=True)
            ):
                content = io.BytesIO()
                Image.fromarray((image * 255).round().astype(np.uint8)).convert("RGB").save(content, "PNG")
                archive.writestr(f"{part}/{label}/{number}.png", content.getvalue())
        archive.writestr("train/3/broken.png", b"no image")
        archive.writestr("train/4/script.jpg", "<script>alert(1)</script>")
    return path


@pytest.fixture(scope="module")
def report(digits_model, digits_arrays, tmp_path_factory) -> Report:
    directory = tmp_path_factory.mktemp("images")
    dataset = write_digits(directory / "digits.zip", digits_arrays)
    config = resolve_config({**CONFIG, "input": {"channels": 1}})
    return run_pipeline(digits_model, dataset, directory, config, device="cpu", on_progress=lambda *_: True)


def test_image_files_mean_what_the_arrays_meant(report: Report) -> None:
    assert report.dataset.image_shape == (1, 8, 8)
    assert report.dataset.class_names == tuple("0123456789")
    assert (report.dataset.train_samples, report.dataset.test_samples) == (1347, 450)
    assert report.measurements.clean.before.rate > 0.95
    assert "1797 colour images were made grey." in report.dataset.notes


def test_bad_images_are_counted_and_named_in_the_report(report: Report) -> None:
    assert report.dataset.format == "image folders in a zip archive"
    assert report.dataset.bad_images == 2
    assert [text.split(" ")[0] for text in report.dataset.bad_image_examples] == [
        "train/3/broken.png",
        "train/4/script.jpg",
    ]
    page = render_html(report)
    assert "left out: 2" in page
    assert "train/3/broken.png" in page
