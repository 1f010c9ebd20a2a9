"""Crops and flips against a loop over the images."""

import torch

from ladder_core.training.augmentation import Augmentation


def images(count: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, 6, 5, generator=torch.Generator().manual_seed(1))


def test_every_crop_is_a_window_of_the_padded_image() -> None:
    given = images()
    cropped = Augmentation(crop_padding=2)(given, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(given, [2] * 4)
    corners = []
    for before, after in zip(padded, cropped, strict=True):
        found = [
            (row, column)
            for row in range(5)
            for column in range(5)
            if torch.equal(before[:, row : row + 6, column : column + 5], after)
        ]
        assert len(found) == 1
        corners += found
    assert len(set(corners)) > 10, "every image has a crop of its own"


def test_half_of_the_images_are_mirrored() -> None:
    given = images(400)
    flipped = Augmentation(flip=True)(given, torch.Generator().manual_seed(0))
    same = [torch.equal(a, b) for a, b in zip(given, flipped, strict=True)]
    mirrored = [torch.equal(a.flip(2), b) for a, b in zip(given, flipped, strict=True)]
    assert all(s != m for s, m in zip(same, mirrored, strict=True))
    assert 150 < sum(mirrored) < 250


def test_the_same_stream_gives_the_same_images_in_any_split() -> None:
    augment, given = Augmentation(crop_padding=1, flip=True), images()
    whole = augment(given, torch.Generator().manual_seed(3))
    stream = torch.Generator().manual_seed(3)
    torch.testing.assert_close(torch.cat([augment(part, stream) for part in given.split(23)]), whole)


def test_nothing_asked_is_nothing_done() -> None:
    given = images()
    assert Augmentation()(given, torch.Generator()) is given
