"""Every face of a report shows its numbers, and whatever the schema admits can be rendered."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from hostile import MATRICES, reports, short_report
from hypothesis import HealthCheck, given, settings
from pypdf import PdfReader
from reports import paired
from tinyhtml5.parser import HTMLParser

from ladder_report.faces import Faces, render
from ladder_schema.report import Accuracy, Report
from ladder_schema.report.numbers import Value


def accuracies(value: Any) -> list[Accuracy]:
    """Every accuracy of a part of a report, also those that follow from counts."""
    if isinstance(value, Accuracy):
        return [value]
    if isinstance(value, tuple):
        return [found for part in value for found in accuracies(part)]
    if not isinstance(value, Value):
        return []
    names = (*type(value).model_fields, *type(value).model_computed_fields)
    return [found for name in names for found in accuracies(getattr(value, name))]


def texts(faces: Faces) -> dict[str, str]:
    """What a reader of each face can read."""
    page = HTMLParser(namespace_html_elements=False).parse(faces.html)
    pages = PdfReader(io.BytesIO(faces.pdf)).pages
    return {
        "html": " ".join(page.find("body").itertext()),
        "pdf": "\n".join(page.extract_text() for page in pages),
        "card": faces.card,
    }


@pytest.fixture(scope="module")
def good_texts(good_faces: Faces) -> dict[str, str]:
    return texts(good_faces)


def test_every_accuracy_is_in_every_face(good: Report, good_texts: dict[str, str]) -> None:
    found = accuracies(good)
    assert len(found) > 100

    for face, text in good_texts.items():
        shown = set(re.findall(r"\d+\.\d%", text))
        missing = [a for a in found if f"{100 * a.rate:.1f}%" not in shown]
        assert not missing, face


def test_counts_intervals_and_tests_are_in_every_face(good: Report, good_texts: dict[str, str]) -> None:
    results = (good.measurements.clean, *(attack.outcome for attack in good.measurements.attacks))

    for face, text in good_texts.items():
        for outcome in results:
            for accuracy in (outcome.before, outcome.after):
                low, high = (100 * bound for bound in accuracy.interval)
                assert f"{accuracy.correct} of {accuracy.total}" in text, face
                assert f"{low:.1f}\N{EN DASH}{high:.1f}%" in text, face
        assert "p = 0.50" in text
        assert good.hardened_sha256[:6] in text


def test_nothing_is_left_in_the_folder(minimal: Report, tmp_path: Path) -> None:
    render(minimal, tmp_path)

    assert not list(tmp_path.iterdir())


def test_a_thousand_classes_are_cut_and_said_to_be(tmp_path: Path) -> None:
    data = short_report().model_dump(mode="json")
    names = [f"class number {index} with a rather long name, {'very ' * 20}long" for index in range(1_000)]
    data["model"]["classes"] = 1_000
    data["dataset"].update(class_names=names, train_per_class=[9] * 1_000, test_per_class=[3] * 1_000)
    data["measurements"]["classes"] = [
        {"label": label, "clean": paired(30, 30, 40), "worst_case": paired(3, label % 40, 40)}
        for label in range(1_000)
    ]
    row = [1] * 100
    data["measurements"]["confusions"] = {name: {"counts": [row] * 100} for name in MATRICES}

    faces = render(Report.model_validate(data), tmp_path)

    assert len(faces.html) < 4 << 20
    for face, text in texts(faces).items():
        flat = " ".join(text.split())
        assert "200 of 1,000 classes are shown; the JSON report has all." in flat, face
        assert "100 of 1,000 classes, those least robust after hardening, are shown" in flat, face


def test_two_classes_and_one_epoch(tmp_path: Path) -> None:
    data = short_report().model_dump(mode="json")
    data["dataset"].update(class_names=["no", "yes"], train_per_class=[5, 5], test_per_class=[3, 3])
    data["measurements"]["confusions"] = {name: {"counts": [[3, 0], [1, 2]]} for name in MATRICES}

    faces = render(Report.model_validate(data), tmp_path)

    for face, text in texts(faces).items():
        assert "Mean retraining losses" in text, face


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(report=reports())
def test_whatever_the_schema_admits_is_rendered(report: Report, tmp_path: Path) -> None:
    faces = render(report, tmp_path)

    assert "</html>" in faces.html
    assert faces.pdf.startswith(b"%PDF-")
    assert faces.card.startswith("---\n")
