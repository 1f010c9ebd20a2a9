"""Wording, images and charts by themselves, at the edges of what the schema lets through."""

import base64
import sys
from io import BytesIO
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ladder_report import charts, images, wording
from ladder_schema.report import Accuracy, EpochLosses, GalleryItem, Thumbnail

LARGEST = sys.float_info.max


def thumbnail(pixels: bytes, channels: int) -> Thumbnail:
    side_by_side = len(pixels) // channels
    return Thumbnail.model_validate(
        {"height": 1, "width": side_by_side, "channels": channels, "pixels": base64.b64encode(pixels)}
    )


def item(original: bytes, adversarial: bytes, channels: int = 1) -> GalleryItem:
    return GalleryItem(
        original=thumbnail(original, channels), adversarial=thumbnail(adversarial, channels),
        label=0, rho=None, predicted_original=0, predicted_adversarial=1, predicted_hardened=0,
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
    ("before", "after", "words", "direction"),
    [
        (500, 753, "+25.3", "up"),
        (753, 500, "\N{MINUS SIGN}25.3", "down"),
        (500, 500, "\N{PLUS-MINUS SIGN}0.0", "same"),
    ],
)
def test_points(before: int, after: int, words: str, direction: str) -> None:
    pair = Accuracy(correct=before, total=1000), Accuracy(correct=after, total=1000)

    assert wording.points(*pair) == words
    assert wording.direction(*pair) == direction


def test_a_change_too_small_to_show_has_no_direction() -> None:
    pair = Accuracy(correct=5000, total=10_000), Accuracy(correct=5001, total=10_000)

    assert wording.direction(*pair) == "same"


def test_epsilon_is_also_given_in_grey_levels() -> None:
    assert wording.parameter("epsilon", 8 / 255) == "0.03137 = 8/255"
    assert wording.parameter("epsilon", 0.3) == "0.3"
    assert wording.parameter("steps", 40) == "40"


def test_a_class_without_a_name_has_its_number() -> None:
    assert wording.class_label(("cat", " "), 0) == "cat"
    assert wording.class_label(("cat", " "), 1) == "class 1"
    assert wording.class_label((), 7) == "class 7"


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

    uri = images.data_uri(images.to_image(thumbnail(pixels, channels=3)))

    decoded = Image.open(BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
    assert (decoded.mode, decoded.size, decoded.tobytes()) == ("RGB", (4, 1), pixels)


counts = st.integers(1, 2**53).flatmap(
    lambda total: st.builds(Accuracy, correct=st.integers(0, total), total=st.just(total))
)


@settings(max_examples=20, deadline=None)
@given(before=counts, after=counts)
def test_any_accuracy_can_be_drawn(before: Accuracy, after: Accuracy) -> None:
    chart = charts.accuracy_chart([charts.Pair("Clean images", before, after)])

    for uri in (chart.light, chart.dark):
        root = ET.fromstring(base64.b64decode(uri.removeprefix("data:image/svg+xml;base64,")))
        assert root.tag.endswith("svg")


losses = st.builds(EpochLosses, clean=st.floats(-LARGEST, LARGEST), adversarial=st.floats(-LARGEST, LARGEST))


@settings(max_examples=20, deadline=None)
@given(epochs=st.lists(losses, max_size=40))
def test_any_losses_can_be_drawn_or_left_out(epochs: list[EpochLosses]) -> None:
    chart = charts.losses_chart(epochs)

    assert (chart is None) or len(epochs) >= 2
