"""Song et al.'s search in a linear GAN's latent space, where the best code is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from ladder_core.attacks.inversion import invert
from ladder_core.attacks.song import SongSettings, song, song_near

SHAPE, DIMENSION = (1, 2, 3), 6
SCALE = 0.04
QUIET = SongSettings(
    iterations=400, step=0.5, lambda1=1.0, lambda2=1.0, z_epsilon=0.3, noise_epsilon=0.0, candidates=1
)
"""No noise, so that a search is a descent to the minimum."""


class Linear(nn.Module):
    """Two logits that differ by w (x - 0.5) + b."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), bias

    def forward(self, images: Tensor) -> Tensor:
        margin = (images.flatten(1) - 0.5) @ self.weight + self.bias
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


class LinearGan:
    """Images 0.5 + 0.04 M z, whatever the class, M orthogonal: no image leaves [0, 1]."""

    code_dimension, image_shape = DIMENSION, SHAPE

    def __init__(self, auxiliary: nn.Module) -> None:
        drawn = torch.randn(DIMENSION, DIMENSION, generator=torch.Generator().manual_seed(5))
        self.map, self.auxiliary = torch.linalg.qr(drawn).Q, auxiliary

    def generate(self, codes: Tensor, labels: Tensor) -> Tensor:
        return (0.5 + SCALE * codes @ self.map.T).reshape(-1, *SHAPE)

    def classify(self, images: Tensor) -> Tensor:
        return self.auxiliary(images)


def axis(place: int, length: float = 40.0) -> Tensor:
    return length * nn.functional.one_hot(torch.tensor(place), DIMENSION).float()


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def never(bias: float) -> tuple[Linear, LinearGan]:
    """A model and an auxiliary classifier that disagree nowhere: no search ends before its time."""
    same = Linear(axis(0) + axis(3, 15.0), bias)
    return same, LinearGan(same)


@pytest.mark.parametrize("targeted", [False, True])
def test_a_search_ends_at_the_minimum_of_the_objective(targeted: bool) -> None:
    model, gan = never(bias=-1.0)
    labels = torch.zeros(4, dtype=torch.int64)
    targets = torch.ones_like(labels) if targeted else None
    # The objective has a kink at z_epsilon, where a descent goes to and fro by its step.
    settings = replace(QUIET, lambda2=0.4, step=0.05, iterations=400)
    result = song(model, gan, labels, settings=settings, generator=stream(), targets=targets)
    matrix, weight = gan.map.double().numpy(), model.weight.detach().double().numpy()

    def objective(code: np.ndarray, reference: np.ndarray) -> float:
        """Two classes: the least cross-entropy to another class, and the target's, are the one to class 1."""
        margin = SCALE * weight @ matrix @ code - 1.0
        far = np.maximum((reference - code) ** 2 - settings.z_epsilon**2, 0).mean()
        return np.logaddexp(0, -margin) + settings.lambda1 * far + settings.lambda2 * np.logaddexp(0, margin)

    for code, reference in zip(
        result.codes.double().numpy(), result.references.double().numpy(), strict=True
    ):
        best = minimize(objective, reference, args=(reference,), method="Powell", options={"xtol": 1e-8})
        assert objective(code, reference) == pytest.approx(best.fun, abs=1e-3)
        assert objective(reference, reference) > best.fun + 0.1
    assert not result.success.any()
    assert result.iterations == settings.iterations
    assert (result.queries == settings.iterations + 1).all()
    assert (result.gradients == settings.iterations).all()


def test_the_least_cross_entropy_of_many_classes_goes_to_the_nearest() -> None:
    weights = torch.stack([axis(0, 0.0), axis(1), axis(2), axis(3)])
    biases = torch.tensor([2.0, 0.0, 1.0, -1.0])

    class Classes(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (images.flatten(1) - 0.5) @ weights.T + biases

    gan = LinearGan(Linear(axis(5, 0.0), -1.0))  # says 0 of everything
    labels = torch.zeros(20, dtype=torch.int64)
    references = torch.zeros(20, DIMENSION)
    found = song(Classes(), gan, labels, settings=QUIET, generator=stream(), references=references)
    assert found.success.all()
    assert (Classes()(found.images).argmax(dim=1) == 2).all()
    targets = torch.arange(20) % 3 + 1
    found = song(
        Classes(), gan, labels, settings=replace(QUIET, lambda1=0.0), generator=stream(),
        references=references, targets=targets,
    )  # fmt: skip
    assert found.success.all()
    assert torch.equal(Classes()(found.images).argmax(dim=1), targets)


def case() -> tuple[Linear, LinearGan, Tensor]:
    """The model and the auxiliary classifier look at different pixels: both can be had."""
    return Linear(axis(0), -0.5), LinearGan(Linear(axis(1), -0.5)), torch.zeros(40, dtype=torch.int64)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_what_is_returned_is_what_the_networks_say_of_it(noise: float) -> None:
    model, gan, labels = case()
    settings = replace(QUIET, noise_epsilon=noise, gradient_noise=0.01, lambda1=0.1)
    result = song(model, gan, labels, settings=settings, generator=stream())
    assert torch.equal(result.fooled, model(result.images).argmax(dim=1) == 1)
    assert torch.equal(result.recognised, gan.classify(result.images).argmax(dim=1) == 0)
    assert torch.equal(result.success, result.fooled & result.recognised)
    assert result.success.all()
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    moved = (result.images - gan.generate(result.codes, labels)).abs()
    assert moved.max() <= noise + 1e-6
    assert (moved.max() > 0.01) == (noise > 0)


def test_a_search_ends_where_it_first_succeeds() -> None:
    model, gan, labels = case()
    result = song(model, gan, labels, settings=QUIET, generator=stream())
    began = gan.generate(result.references, labels)
    at_once = (model(began).argmax(dim=1) == 1) & (gan.classify(began).argmax(dim=1) == 0)
    assert 0 < at_once.sum() < len(labels)
    assert torch.equal(result.codes[at_once], result.references[at_once])
    assert (result.queries[at_once] < result.queries[~at_once].max()).all()


@pytest.mark.parametrize("confidence", [0.6, 0.95])
def test_the_auxiliary_classifier_can_be_asked_to_be_sure(confidence: float) -> None:
    model, gan, labels = case()
    settings = replace(QUIET, confidence=confidence, lambda2=5.0, lambda1=0.1)
    result = song(model, gan, labels, settings=settings, generator=stream())
    assert result.success.all()
    assert (gan.classify(result.images).softmax(dim=1)[:, 0] >= confidence).all()


def test_a_neighbourhood_holds_the_code() -> None:
    model, gan = never(bias=-1.0)
    labels = torch.zeros(8, dtype=torch.int64)
    settings = replace(QUIET, lambda1=50.0, lambda2=0.0, step=5e-3)
    result = song(model, gan, labels, settings=settings, generator=stream())
    moved = (result.codes - result.references).abs().amax(dim=1)
    assert moved.min() > 0.9 * settings.z_epsilon
    assert moved.max() < 1.1 * settings.z_epsilon


def test_a_sample_does_not_depend_on_its_batch() -> None:
    model, gan, labels = case()
    settings = replace(QUIET, gradient_noise=0.01, noise_epsilon=0.1, candidates=3)
    whole = song(model, gan, labels, settings=settings, generator=stream())
    again = song(model, gan, labels, settings=settings, generator=stream())
    assert torch.equal(whole.images, again.images)
    other = song(model, gan, labels, settings=settings, generator=stream(1))
    assert not torch.equal(whole.references, other.references)
    one_stream = stream()
    parts = [song(model, gan, part, settings=settings, generator=one_stream) for part in labels.split(10)]
    torch.testing.assert_close(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([part.queries for part in parts]), whole.queries)


def test_inversion_finds_the_code_of_what_the_gan_can_make() -> None:
    _, gan, labels = case()
    codes = torch.randn(len(labels), DIMENSION, generator=stream(3))
    images = gan.generate(codes, labels)
    found = invert(gan, images, labels, generator=stream(), iterations=300)
    torch.testing.assert_close(found, codes, atol=0.02, rtol=0)


def test_from_an_image_the_search_stays_near_it() -> None:
    model, gan, labels = case()
    images = gan.generate(0.1 * torch.randn(len(labels), DIMENSION, generator=stream(3)), labels)
    assert (model(images).argmax(dim=1) == 0).all()
    result = song_near(model, gan, images, labels, settings=QUIET, generator=stream())
    assert result.success.all()
    # The margin of about 0.5 is a distance of 0.5 / 40 along the model's weight.
    assert result.distances.l2.min() >= 0.5 / 40 - 0.01
    assert result.distances.l2.median() < 3 * 0.5 / 40 + SCALE * 0.3 * math.sqrt(DIMENSION)
    torch.testing.assert_close(result.distances.linf, (result.images - images).flatten(1).abs().amax(dim=1))


def test_a_search_begins_from_the_surest_of_its_candidates() -> None:
    model, gan, labels = case()

    def losses(candidates: int) -> Tensor:
        settings = replace(QUIET, candidates=candidates, iterations=1)
        result = song(model, gan, labels, settings=settings, generator=stream())
        assert (result.queries == 1 + 1 + (candidates if candidates > 1 else 0)).all()
        images = gan.generate(result.references, labels)
        loss = nn.functional.cross_entropy
        return loss(model(images), labels, reduction="none") + loss(
            gan.classify(images), labels, reduction="none"
        )

    one, four = losses(1), losses(4)
    assert (four <= one).double().mean() > 0.9
    assert four.mean() < 0.8 * one.mean()


def test_the_released_codes_settings() -> None:
    released = SongSettings.released()
    assert (released.lambda1, released.lambda2, released.z_epsilon) == (100, 100, 0.1)
    assert (released.step * 64, released.iterations, released.gradient_noise) == (1, 1000, 0.01)
    assert (released.noise_epsilon, released.candidates, released.confidence) == (0, 1, 0)


def test_a_search_takes_an_iteration() -> None:
    with pytest.raises(ValueError, match="iterations is 0"):
        SongSettings(iterations=0)


def test_no_gradient_is_left_on_the_model() -> None:
    model, gan, labels = case()
    song(model, gan, labels, settings=replace(QUIET, iterations=5), generator=stream())
    assert model.weight.grad is None
