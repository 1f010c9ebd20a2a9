"""A report comes from a process nobody trusts: what cannot be true is refused before anybody reads it."""

import base64
from typing import Any

import pytest
from pydantic import ValidationError
from scipy.stats import binomtest

from ladder_schema.report import Accuracy, GalleryItem, Thumbnail


def thumbnail(height: int, width: int, channels: int, size: int) -> dict[str, Any]:
    pixels = base64.b64encode(bytes(size))
    return {"height": height, "width": width, "channels": channels, "pixels": pixels}


@pytest.mark.parametrize(("correct", "total"), [(2, 1), (-1, 1), (0, 0), (0, 10**400)])
def test_an_impossible_accuracy_is_refused(correct: int, total: int) -> None:
    with pytest.raises(ValidationError):
        Accuracy(correct=correct, total=total)


@pytest.mark.parametrize(("correct", "total"), [(0, 1), (1, 1), (45, 50), (9_731, 10_000)])
def test_the_interval_is_wilsons(correct: int, total: int) -> None:
    reference = binomtest(correct, total).proportion_ci(0.95, method="wilson")

    interval = Accuracy(correct=correct, total=total).interval

    assert interval == pytest.approx((reference.low, reference.high), abs=1e-12)


@pytest.mark.parametrize("correct", [0, 2**53])
def test_the_interval_holds_its_rate_at_the_largest_counts(correct: int) -> None:
    accuracy = Accuracy(correct=correct, total=2**53)
    low, high = accuracy.interval

    assert 0.0 <= low <= high <= 1.0
    assert low == pytest.approx(accuracy.rate, abs=1e-12)


@pytest.mark.parametrize("size", [0, 11, 13])
def test_a_thumbnail_has_all_its_pixels(size: int) -> None:
    with pytest.raises(ValidationError, match="12"):
        Thumbnail.model_validate(thumbnail(2, 2, 3, size))


def test_the_images_of_a_pair_have_one_shape() -> None:
    numbers = {"label": 0, "attack": "ladder", "rho": None, "predicted_original": 0}

    with pytest.raises(ValidationError, match="adversarial image"):
        GalleryItem.model_validate(
            {
                **numbers,
                "predicted_adversarial": 0,
                "predicted_hardened": 0,
                "original": thumbnail(2, 2, 1, 4),
                "adversarial": thumbnail(2, 1, 1, 2),
            }
        )
