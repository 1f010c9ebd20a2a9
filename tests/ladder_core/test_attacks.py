"""Attacks on a linear model, whose best attack is known in closed form."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ladder_core.attacks import fgsm, pgd, pgd_last_iterate
from ladder_core.attacks.base import Oracle, finish


class Linear(nn.Module):
    """Two logits, their difference w x + b: an Linf step of epsilon moves it by epsilon |w|_1 at most."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        stream = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(2 * 3 * 3, generator=stream))
        self.bias = nn.Parameter(-0.5 * self.weight.detach().sum())

    def forward(self, images: Tensor) -> Tensor:
        margin = images.flatten(1) @ self.weight + self.bias
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


def case(seed: int, count: int = 200) -> tuple[Linear, Tensor, Tensor, Tensor]:
    """A model, images away from 0 and 1 so that the bounds never bind, labels, and each one's margin."""
    model = Linear(seed)
    stream = torch.Generator().manual_seed(seed + 1)
    images = 0.4 + 0.2 * torch.rand(count, 2, 3, 3, generator=stream)
    logits = model(images).detach()
    labels = logits.argmax(dim=1)
    return model, images, labels, (logits[:, 1] - logits[:, 0]).abs()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("epsilon", [0.01, 0.05, 0.2])
def test_fgsm_breaks_exactly_what_can_be_broken(seed: int, epsilon: float) -> None:
    model, images, labels, margins = case(seed)
    reach = epsilon * model.weight.abs().sum()
    clear = (margins - reach).abs() > 1e-5
    result = fgsm(model, images, labels, epsilon=epsilon)
    assert torch.equal(result.success[clear], (margins < reach)[clear])


@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("steps", [1, 4, 5, 23])
def test_pgd_breaks_exactly_what_can_be_broken(steps: int, restarts: int) -> None:
    model, images, labels, margins = case(3)
    epsilon = 0.05
    reach = epsilon * model.weight.abs().sum()
    clear = (margins - reach).abs() > 1e-4
    stream = torch.Generator().manual_seed(0)
    result = pgd(model, images, labels, epsilon=epsilon, steps=steps, restarts=restarts, generator=stream)
    assert torch.equal(result.success[clear], (margins < reach)[clear])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), epsilon=st.floats(0.001, 0.9), steps=st.integers(1, 12))
def test_promises_hold_on_any_input(seed: int, epsilon: float, steps: int) -> None:
    model = Linear(seed)
    stream = torch.Generator().manual_seed(seed)
    images = torch.rand(16, 2, 3, 3, generator=stream).round(decimals=1)  # some pixels exactly 0 or 1
    labels = torch.randint(2, (16,), generator=stream)
    for result in (
        fgsm(model, images, labels, epsilon=epsilon),
        pgd(model, images, labels, epsilon=epsilon, steps=steps, generator=stream),
    ):
        assert result.images.min() >= 0
        assert result.images.max() <= 1
        assert (result.images - images).abs().max() <= epsilon + 1e-6
        predicted = model(result.images).argmax(dim=1)
        assert torch.equal(result.success, predicted != labels)


def test_what_an_attack_returns_is_not_believed() -> None:
    model, images, labels, _ = case(0)
    cheat = 1 - images + 0.7  # out of the ball, out of the pixels
    checked = finish(Oracle(model, images), images, labels, cheat, iterations=1, norm="linf", epsilon=0.05)
    assert (checked.images - images).abs().max() <= 0.05 + 1e-6
    assert torch.equal(checked.success, model(checked.images).argmax(dim=1) != labels)


def test_pgd_is_at_least_as_strong_as_fgsm_on_a_real_network(digits_classifier, digits) -> None:
    images, labels = digits.test.batch(range(200))
    one = fgsm(digits_classifier, images, labels, epsilon=0.15).success
    stream = torch.Generator().manual_seed(0)
    many = pgd(digits_classifier, images, labels, epsilon=0.15, steps=20, generator=stream).success
    assert many.sum() >= one.sum() > 0


def test_training_examples_stay_in_the_ball_and_raise_the_loss(digits_classifier, digits) -> None:
    images, labels = digits.train.batch(range(64))
    stream = torch.Generator().manual_seed(0)
    attacked = pgd_last_iterate(
        digits_classifier, images, labels, epsilon=0.1, steps=5, step=0.035, generator=stream
    )
    assert (attacked - images).abs().max() <= 0.1 + 1e-6
    loss = nn.functional.cross_entropy
    assert loss(digits_classifier(attacked), labels) > 2 * loss(digits_classifier(images), labels)


def test_attacks_leave_no_gradient_on_the_model(digits_classifier, digits) -> None:
    images, labels = digits.test.batch(range(8))
    fgsm(digits_classifier, images, labels, epsilon=0.1)
    assert all(p.grad is None for p in digits_classifier.parameters())
