"""Planted duplicates and wrong labels are counted one by one."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ladder_core.checks.data import find_contradictions, find_duplicates
from ladder_core.checks.judging_data import judge_duplicates, judge_labels, judge_sample_size
from ladder_core.checks.values import Contradictions, Duplicates
from ladder_core.datasets import Split
from ladder_schema.report import Paired

CPU = torch.device("cpu")


def photos(count: int, seed: int, side: int = 40) -> np.ndarray:
    """Smooth random images (count, 3, side, side), uint8; as in photos, the channels are much alike."""
    stream = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 6, 6, generator=stream) + 0.2 * torch.rand(count, 3, 6, 6, generator=stream)
    images = nn.functional.interpolate(coarse / 1.2, (side, side), mode="bicubic").clamp(0, 1)
    return (images * 255).round().to(torch.uint8).numpy()


def split_of(images: np.ndarray, labels: np.ndarray | None = None) -> Split:
    labels = np.zeros(len(images), dtype=np.int64) if labels is None else labels
    return Split(images, labels, np.arange(len(images)), 1 / 255 if images.dtype == np.uint8 else 1.0)


def as_jpeg(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer)).transpose(2, 0, 1)


def duplicates(test: Split, train: Split, compared: int = 1_000) -> Duplicates:
    positions = np.arange(min(compared, len(test)))
    return find_duplicates(
        test, train, compared=positions, given=True, batch_size=17, device=CPU, on_step=lambda _: None
    )


def test_copies_and_near_copies_are_counted() -> None:
    train, test = photos(150, seed=0), photos(60, seed=1)
    test[3:8] = train[20:25]
    test[30:34] = [as_jpeg(image) for image in train[90:94]]
    test[50] = (0.8 * train[149]).astype(np.uint8)
    found = duplicates(split_of(test), split_of(train))
    assert (found.tested, found.exact, found.compared, found.near) == (60, 5, 60, 5)


def test_only_so_many_are_compared_and_all_are_looked_up() -> None:
    train, test = photos(40, seed=0), photos(30, seed=1)
    test[2], test[20] = as_jpeg(train[0]), as_jpeg(train[1])
    test[29] = train[39]
    found = duplicates(split_of(test), split_of(train), compared=10)
    assert (found.exact, found.compared, found.near) == (1, 10, 1)


def test_a_copy_in_another_precision_is_a_copy() -> None:
    train = photos(20, seed=0)
    test = (train[4:9] / 255).astype(np.float32)
    assert duplicates(split_of(test), split_of(train)).exact == 5


def test_flat_images_are_like_none_but_themselves() -> None:
    train = photos(20, seed=0)
    train[0] = 7
    test = np.full((2, 3, 40, 40), 7, dtype=np.uint8)
    test[1] = 8
    found = duplicates(split_of(test), split_of(train))
    assert (found.exact, found.near) == (1, 0)


def test_digits_of_other_people_are_no_duplicates(splits) -> None:
    found = duplicates(splits[1], splits[0])
    assert (found.exact, found.near) == (0, 0)


@pytest.mark.parametrize(
    ("exact", "near", "given", "status"),
    [
        (0, 0, True, "pass"), (2, 0, True, "pass"), (14, 0, True, "warn"), (0, 14, True, "warn"),
        (90, 0, True, "fail"), (0, 90, True, "fail"), (0, 0, False, "warn"), (90, 0, False, "fail"),
    ],
)  # fmt: skip
def test_how_many_duplicates_matter(exact: int, near: int, given: bool, status: str) -> None:
    check = judge_duplicates(Duplicates(1_000, 5_000, exact, 1_000, near, given))
    assert check.status == status
    assert (check.remedy is None) == (status == "pass")


def contradictions(model: nn.Module, split: Split, other: nn.Module | None = None) -> Contradictions:
    return find_contradictions(
        (model, other or model), split, split, classes=10, batch_size=64, device=CPU, on_step=lambda _: None
    )


def test_wrong_labels_are_contradicted(digits_network, robust_network, splits) -> None:
    test = splits[1]
    labels = test.targets().copy()
    wrong = np.random.default_rng(0).permutation(len(labels))[:60]
    labels[wrong] = (labels[wrong] + 3) % 10
    found = contradictions(digits_network, Split(test.images, labels, test.indices, 1.0), robust_network)
    # Where the models are unsure the contradiction is not confident.
    assert 40 <= found.test_contradicted <= 62
    assert found.train_contradicted == found.test_contradicted
    assert judge_labels(found).status == "warn"


def test_one_models_own_mistakes_are_not_called_wrong_labels(digits_network, splits) -> None:
    """A model that swaps two classes is contradicted by the other, so neither contradicts the labels."""
    swapped = torch.nn.Linear(10, 10, bias=False)
    with torch.no_grad():
        swapped.weight.copy_(torch.eye(10)[[1, 0, *range(2, 10)]])
    mistaken = nn.Sequential(digits_network, swapped).eval()
    assert contradictions(mistaken, splits[1]).test_contradicted > 60
    assert contradictions(mistaken, splits[1], digits_network).test_contradicted <= 5


@pytest.mark.parametrize(("contradicted", "status"), [(0, "pass"), (30, "pass"), (60, "warn"), (200, "fail")])
def test_how_many_contradictions_matter(contradicted: int, status: str) -> None:
    assert judge_labels(Contradictions(1_000, 0, 1_000, contradicted)).status == status
    assert judge_labels(Contradictions(1_000, contradicted, 1_000, 0)).status == status


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ((50, 10, 300, 90), "pass"),
        ((5, 1, 4, 10), "warn"),  # a gain of 15 points on 20 images
        ((40, 4, 14, 42), "warn"),  # surely a gain; of 2 or of 18 points?
        ((50, 30, 10, 10), "pass"),  # no gain to be claimed
    ],
)
def test_a_gain_needs_enough_images(counts, status) -> None:
    both, only_before, only_after, neither = counts
    worst_case = Paired(both=both, only_before=only_before, only_after=only_after, neither=neither)
    assert judge_sample_size(worst_case).status == status


def test_no_number_of_images_is_asked_for_that_nobody_has() -> None:
    tiny = judge_sample_size(Paired(both=205, only_before=40, only_after=44, neither=161))
    assert tiny.status == "warn"
    assert "take it for none" in (tiny.remedy or "")
    small = judge_sample_size(Paired(both=5, only_before=1, only_after=4, neither=10))
    assert "With about 1" in (small.remedy or ""), small.remedy
