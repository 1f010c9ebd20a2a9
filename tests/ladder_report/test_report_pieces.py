"""Wording, images and charts by themselves, at the edges of what the schema lets through."""

import base64
import sys
from io import BytesIO
from typing import get_args
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from ladder_report import images, wording
from ladder_report.charts.accuracies import accuracy_chart
from ladder_report.charts.curves import losses_chart
from ladder_report.charts.matrices import confusion_chart
from ladder_report.charts.style import LIGHT, safe_label
from ladder_report.document.results import accuracy_section
from ladder_report.labels import attack_label, class_label
from ladder_schema.report import (
    AttackResult,
    Confusion,
    EpochLosses,
    GalleryItem,
    Paired,
    Report,
    TermName,
    Thumbnail,
)

LARGEST = sys.float_info.max


def thumbnail(pixels: bytes, channels: int) -> Thumbnail:
    side_by_side = len(pixels) // channels
    return Thumbnail.model_validate(
        {"height": 1, "width": side_by_side, "channels": channels, "pixels": base64.b64encode(pixels)}
    )


def item(original: bytes, adversarial: bytes, channels: int = 1) -> GalleryItem:
    return GalleryItem(
        original=thumbnail(original, channels), adversarial=thumbnail(adversarial, channels),
        label=0, rho=None, attack="pgd", predicted_original=0, predicted_adversarial=1, predicted_hardened=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (192, "3 min 12 s"),
        (3600, "1 h 00 min"), (1e9, "277,777 h 46 min"),
    ],
)  # fmt: skip
def test_duration(seconds: float, words: str) -> None:
    assert wording.duration(seconds) == words


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (0.253, "+25.3"),
        (-0.253, "\N{MINUS SIGN}25.3"),
        (0.0, "\N{PLUS-MINUS SIGN}0.0"),
        (-0.0001, "\N{PLUS-MINUS SIGN}0.0"),
    ],
)
def test_points(difference: float, words: str) -> None:
    assert wording.points(difference) == words


@pytest.mark.parametrize(
    ("only_before", "only_after", "words", "p_value"),
    [
        (0, 0, "no image changed sides", "p = 1.00"),
        (4, 6, "may be chance", "p = 0.75"),
        (0, 5, "may be chance", "p = 0.062"),
        (0, 7, "hardly chance", "p = 0.016"),
        (40, 0, "not chance", "p < 0.0001"),
    ],
)
def test_a_change_is_put_in_words(only_before: int, only_after: int, words: str, p_value: str) -> None:
    outcome = Paired(both=10, only_before=only_before, only_after=only_after, neither=10)

    assert wording.certainty(outcome) == words
    assert wording.p_value(outcome.p_value) == p_value


@pytest.mark.parametrize(
    ("radius", "words"), [(8 / 255, "8/255"), (0.3, "0.3"), (0.2, "0.2"), (1.0, "1"), (0.5, "0.5")]
)
def test_radius(radius: float, words: str) -> None:
    assert wording.radius(radius) == words


def test_epsilon_is_also_given_in_grey_levels() -> None:
    assert wording.parameter("epsilon", 8 / 255) == "0.03137 = 8/255"
    assert wording.parameter("epsilon", 0.3) == "0.3"
    assert wording.parameter("steps", 40) == "40"


def test_a_class_without_a_name_has_its_number() -> None:
    assert class_label(("cat", " "), 0) == "cat"
    assert class_label(("cat", " "), 1) == "class 1"
    assert class_label((), 7) == "class 7"


def test_a_chart_shows_only_letters_it_has() -> None:
    assert safe_label("cat", "class 0") == "cat"
    assert safe_label("\u732b", "class 0") == "class 0"
    assert safe_label(" ", "class 0") == "class 0"
    assert safe_label("a long name of many words", "class 0") == "a long name of ma\N{HORIZONTAL ELLIPSIS}"


@given(
    data=st.integers(1, 8).flatmap(
        lambda n: st.tuples(
            st.binary(min_size=3 * n, max_size=3 * n), st.binary(min_size=3 * n, max_size=3 * n)
        )
    ),
    channels=st.sampled_from([1, 3]),
)
def test_a_difference_is_never_clipped(data: tuple[bytes, bytes], channels: int) -> None:
    original, adversarial = data
    example = item(original, adversarial, channels)
    factor = images.amplification([example])

    shown = images.difference(example, factor).tobytes()

    for was, now, pixel in zip(original, adversarial, shown, strict=True):
        assert pixel == pytest.approx(min(255, 128 + factor * (now - was) / 2), abs=1)


def test_the_smallest_difference_is_amplified_and_one_factor_serves_all() -> None:
    faint, strong = item(b"\x80", b"\x82"), item(b"\x00", b"\xff")

    assert images.amplification([faint]) == 100
    assert images.amplification([faint, strong]) == 1
    assert images.amplification([]) == 100


def test_pixels_survive_the_png() -> None:
    pixels = bytes(range(12))

    png = images.png(images.to_image(thumbnail(pixels, channels=3)))

    decoded = Image.open(BytesIO(png))
    assert (decoded.mode, decoded.size, decoded.tobytes()) == ("RGB", (4, 1), pixels)


sides = st.integers(0, 2**50)
outcomes = st.builds(Paired, both=sides, only_before=sides, only_after=sides, neither=st.integers(1, 2**50))


@settings(max_examples=10, deadline=None)
@given(outcome=outcomes)
def test_any_accuracy_can_be_drawn(outcome: Paired) -> None:
    chart = accuracy_chart([("Clean images", outcome)])

    for svg in (chart.light, chart.dark):
        assert ET.fromstring(svg).tag.endswith("svg")


losses = st.builds(
    EpochLosses,
    terms=st.dictionaries(st.sampled_from(get_args(TermName)), st.floats(-LARGEST, LARGEST), min_size=1),
)


@settings(max_examples=10, deadline=None)
@given(epochs=st.lists(losses, max_size=40))
def test_any_losses_can_be_drawn_or_left_out(epochs: list[EpochLosses]) -> None:
    chart = losses_chart(epochs)

    assert (chart is None) or len(epochs) >= 2


def test_an_upload_cannot_write_mathematics_in_a_chart() -> None:
    confusion = Confusion(counts=((1, 0), (0, 1)))

    chart = confusion_chart(confusion, confusion, lambda _: safe_label(r"$\frac{1}{0}$", "no"))

    assert chart is not None
    assert ET.fromstring(chart.light).tag.endswith("svg")


@pytest.mark.parametrize("classes", [2, 10, 30, 100])
@pytest.mark.parametrize("name", ["3", "a long name of ma\N{HORIZONTAL ELLIPSIS}"])
def test_the_titles_of_confusion_matrices_are_not_clipped(classes: int, name: str) -> None:
    confusion = Confusion(counts=((1,) * classes,) * classes)
    chart = confusion_chart(confusion, confusion, lambda _: name)
    assert chart is not None
    figure = Figure(figsize=(chart.width, chart.height), layout="constrained")

    chart.draw(figure, LIGHT)
    figure.draw_without_rendering()

    drawn = figure.get_tightbbox()  # in inches
    assert 0 <= drawn.x0 < drawn.x1 <= chart.width
    assert 0 <= drawn.y0 < drawn.y1 <= chart.height


def test_autoattack_stands_right_after_the_worst_case_in_chart_and_table(good: Report) -> None:
    chart, table, *_ = accuracy_section(good.measurements).blocks

    names = [row[0].text for row in table.rows]
    assert names[1:3] == ["Worst case, white-box", "AutoAttack, L\N{INFINITY} 8/255"]
    assert f"{names[2]}: 38.9% before, 76.9% after" in chart.figures[0].alt


def test_an_attack_by_queries_is_not_called_white_box(doubtful: Report) -> None:
    results = doubtful.measurements.attacks

    assert [attack_label(result) for result in results] == ["PGD, white-box", "Square, query (black-box)"]
    replayed = AttackResult.model_validate(results[1].model_dump() | {"setting": "transfer"})
    assert attack_label(replayed) == "Square, transfer"
