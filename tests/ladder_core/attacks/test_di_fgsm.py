"""DI2-FGSM: what it draws, its gradient, and what it finds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from ladder_core.attacks import Norm, di_fgsm
from ladder_core.attacks.di_fgsm import random_resize
from ladder_core.attacks.streams import SampleStreams
from tests.ladder_core.attacks.oracles import assert_sound, case


def stream() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def streams(count: int) -> SampleStreams:
    return SampleStreams.begin(stream(), count, torch.device("cpu"))


def test_images_are_resized_as_by_interpolate_and_padded_with_zeros() -> None:
    images = torch.rand(60, 3, 20, 30, generator=stream()) + 0.1
    tall, wide = random_resize(images, streams(60), probability=1.0, resize_rate=0.6)
    resized = tall @ images @ wide.mT
    places = set()
    for before, after in zip(images, resized, strict=True):
        rows, columns = (after[0] > 0).any(dim=1).nonzero()[:, 0], (after[0] > 0).any(dim=0).nonzero()[:, 0]
        top, left, size = int(rows[0]), int(columns[0]), (len(rows), len(columns))
        places.add((top, left, size))
        assert size[0] >= 12
        assert size[1] >= 18
        expected = torch.zeros_like(after)
        expected[:, top : top + size[0], left : left + size[1]] = functional.interpolate(
            before[None], size, mode="bilinear", align_corners=False
        )[0]
        torch.testing.assert_close(after, expected)
    assert len(places) > 40


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_so_many_images_are_resized(probability: float) -> None:
    images = torch.rand(1000, 1, 40, 40, generator=stream())
    tall, wide = random_resize(images, streams(1000), probability, resize_rate=0.5)
    same = (tall @ images @ wide.mT == images).flatten(1).all(dim=1)
    # Of the 20 sizes that are drawn one is the image's own.
    assert 1 - float(same.float().mean()) == pytest.approx(0.95 * probability, abs=0.04)
    assert probability > 0 or same.all()


def test_without_diversity_a_linear_model_is_broken_exactly_within_reach() -> None:
    model, images, labels, margins = case(1)
    reach = 0.05 * model.weight.abs().sum()
    clear = (margins - reach).abs() > 1e-4
    result = di_fgsm(model, images, labels, epsilon=0.05, steps=4, generator=stream(), probability=0.0)
    assert torch.equal(result.success[clear], (margins < reach)[clear])


def test_the_gradient_goes_through_the_resizing() -> None:
    """On a linear model a step follows the sign of the weights as the resized image meets them."""
    model, images, labels, _ = case(2, count=50)
    result = di_fgsm(
        model, images, labels, epsilon=0.01, steps=1, generator=stream(), probability=1.0, resize_rate=0.4
    )
    tall, wide = random_resize(images, streams(50), probability=1.0, resize_rate=0.4)
    inputs = images.clone().requires_grad_()
    logits = model(tall @ inputs @ wide.mT)
    functional.cross_entropy(logits, labels, reduction="sum").backward()
    torch.testing.assert_close(result.images, images + 0.01 * inputs.grad.sign())


def test_examples_are_found_and_every_step_is_taken(digits_classifier, digits) -> None:
    images, labels = digits.test.batch(range(100))
    result = di_fgsm(digits_classifier, images, labels, epsilon=0.2, steps=10, generator=stream())
    assert result.success.float().mean() > 0.9
    attacked = digits_classifier(images).argmax(dim=1) == labels
    assert (result.gradients == 10 * attacked).all()


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 1000),
    epsilon=st.floats(0.0, 0.9),
    steps=st.integers(1, 5),
    norm=st.sampled_from(["linf", "l2"]),
    momentum=st.sampled_from([0.0, 1.0]),
    probability=st.floats(0, 1),
    targeted=st.booleans(),
)
def test_promises_hold_on_any_input(
    seed: int, epsilon: float, steps: int, norm: Norm, momentum: float, probability: float, targeted: bool
) -> None:
    assert_sound(
        lambda model, images, labels, targets, generator: di_fgsm(
            model, images, labels, epsilon=epsilon, steps=steps, generator=generator, norm=norm,
            momentum=momentum, probability=probability, targets=targets,
        ),
        seed,
        targeted=targeted,
        norm=norm,
        epsilon=epsilon,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps is 0: give at least 1"),
        ({"epsilon": -1.0}, r"epsilon is -1\.0: give a radius"),
        ({"step": -0.1}, r"step is -0\.1: give a length"),
        ({"momentum": 2.0}, r"momentum is 2\.0: give a share"),
        ({"probability": 1.1}, r"probability is 1\.1: give one"),
        ({"resize_rate": 0.0}, r"resize_rate is 0\.0: give a share"),
        ({"norm": "l1"}, "norm is l1: give 'linf' or 'l2'"),
    ],
)
def test_what_cannot_be_done_is_named(wrong: dict, message: str) -> None:
    model, images, labels, _ = case(0, count=3)
    with pytest.raises(ValueError, match=message):
        di_fgsm(model, images, labels, **{"epsilon": 0.1, "steps": 2, "generator": stream(), **wrong})
