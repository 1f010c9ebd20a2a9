"""Thumbnails are the images themselves, and walks go where the head says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ladder_core.artifacts import ExampleSet
from ladder_core.pictures import DrawnRun, draw_pictures, gallery, reconstructions, walks
from ladder_core.pictures.images import GALLERY_ITEMS, WALK_STEPS, WALKS
from ladder_core.thumbnails import thumbnails
from ladder_schema.report import Thumbnail, Walk

CPU = torch.device("cpu")
MOST_BYTES = 4_000_000


class Recorder(nn.Module):
    """A generator that keeps the latents it was given."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self._generator = generator
        self.latents: list[Tensor] = []

    def forward(self, latents: Tensor) -> Tensor:
        self.latents.append(latents)
        return self._generator(latents)


def pixels(thumbnail: Thumbnail) -> np.ndarray:
    shape = (thumbnail.height, thumbnail.width, thumbnail.channels)
    return np.frombuffer(thumbnail.pixels, dtype=np.uint8).reshape(shape)


def as_pixels(image: Tensor | np.ndarray) -> np.ndarray:
    return np.rint(np.asarray(image).transpose(1, 2, 0) * 255).astype(np.uint8)


def examples(images: Tensor) -> ExampleSet:
    classes = torch.arange(len(images)) % 10
    moved = (images + 0.1).clamp(0, 1)
    return ExampleSet(images, moved, classes, classes, classes + 1, classes + 2, classes + 3)


def walked(run: DrawnRun) -> tuple[Walk, ...]:
    return walks(run.attacker, run.original, run.hardened, run.test, batch_size=70, seed=0, device=CPU)


def test_small_images_are_shown_as_they_are() -> None:
    images = torch.rand(30, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    items = gallery(examples(images), "pgd")
    assert len(items) == GALLERY_ITEMS
    for number, item in enumerate(items):
        assert np.array_equal(pixels(item.original), as_pixels(images[number]))
        assert np.array_equal(pixels(item.adversarial), as_pixels((images[number] + 0.1).clamp(0, 1)))
        predicted = (item.predicted_original, item.predicted_adversarial, item.predicted_hardened)
        assert predicted == (number % 10, number % 10 + 1, number % 10 + 3)
        assert (item.label, item.attack, item.rho) == (number % 10, "pgd", None)


def test_no_examples_make_an_empty_gallery() -> None:
    assert gallery(examples(torch.empty(0, 3, 224, 224)), "ladder") == ()


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(64, 128, (16, 32)), (1, 200, (1, 32)), (20, 10, (20, 10))]
)
def test_large_images_are_averaged_to_the_side(height: int, width: int, expected: tuple[int, int]) -> None:
    images = torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(0))
    for thumbnail, image in zip(thumbnails(images, 32), images, strict=True):
        assert (thumbnail.height, thumbnail.width) == expected
        assert pixels(thumbnail).mean() / 255 == pytest.approx(float(image.mean()), abs=0.01)


def test_reconstructions_are_the_generators(digits_run) -> None:
    shown = reconstructions(
        digits_run.attacker, digits_run.original, digits_run.train, digits_run.test, seed=0, device=CPU
    )
    assert [item.split for item in shown] == ["train"] * 8 + ["test"] * 8
    for item in shown:
        split = digits_run.train if item.split == "train" else digits_run.test
        images, _ = split.batch(np.arange(len(split)))
        (source,) = [image for image in images if np.array_equal(as_pixels(image), pixels(item.original))]
        with torch.no_grad():
            made = digits_run.attacker.images(digits_run.original.features(source[None]))[0]
        assert np.abs(pixels(item.reconstructed).astype(int) - as_pixels(made)).max() <= 1


def test_walks_cross_the_heads_boundary_at_one(digits_run) -> None:
    recorder = Recorder(digits_run.attacker.generator)
    run = replace(digits_run, attacker=replace(digits_run.attacker, generator=recorder))
    shown = walked(run)
    assert [walk.label for walk in shown] == list(range(10))
    for walk, latents in zip(shown, recorder.latents, strict=True):
        assert walk.label != walk.target
        logits = run.attacker.head(latents)
        margins = logits[:, walk.label] - logits[:, walk.target]
        # Linear along the walk, from the image's own margin to 0 at a step of 1.
        first = float(margins[0]) / (1 - WALK_STEPS[0])
        assert first > 0
        expected = [first * (1 - rho) for rho in WALK_STEPS]
        assert margins.tolist() == pytest.approx(expected, abs=1e-3 * first)


def test_walks_show_what_both_models_say(digits_run) -> None:
    recorder = Recorder(digits_run.attacker.generator)
    run = replace(digits_run, attacker=replace(digits_run.attacker, generator=recorder))
    shown, walked_latents = walked(run), list(recorder.latents)
    originals, labels = run.test.batch(np.arange(len(run.test)))
    for walk, latents in zip(shown, walked_latents, strict=True):
        assert tuple(step.rho for step in walk.steps) == WALK_STEPS
        with torch.no_grad():
            images = run.attacker.images(latents)
            before, after = (model(images).argmax(dim=1).tolist() for model in (run.original, run.hardened))
        assert [step.predicted_original for step in walk.steps] == before
        assert [step.predicted_hardened for step in walk.steps] == after
        for step, image in zip(walk.steps, images, strict=True):
            assert np.array_equal(pixels(step.image), as_pixels(image))
        same = [np.array_equal(as_pixels(image), pixels(walk.original)) for image in originals]
        assert labels[same].tolist() == [walk.label]


def test_the_same_seed_draws_the_same(digits_run) -> None:
    assert walked(digits_run) == walked(digits_run)


def test_pictures_of_large_photos_fit_a_report(photo_run) -> None:
    images, _ = photo_run.test.batch(np.arange(60))
    pictures = draw_pictures(
        photo_run, gallery(examples(images), "ladder"), rho=1.2, batch_size=16, seed=0, device=CPU
    )
    assert len(pictures.gallery) >= 8
    assert len(pictures.reconstructions) >= 8
    assert 3 <= len(pictures.walks) <= WALKS
    assert pictures.latent_planes
    assert pictures.latent_map is not None
    assert len(pictures.model_dump_json()) < MOST_BYTES
    # Its generator is perfect, but for rounding and the borders of a thumbnail's quarters.
    for item in pictures.reconstructions:
        assert np.abs(pixels(item.original).astype(int) - pixels(item.reconstructed)).mean() < 1
