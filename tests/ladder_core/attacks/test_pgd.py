"""PGD against the linear models' closed form, and on a network."""

import pytest
import torch
from torch import nn

from ladder_core.attacks import fgsm, pgd, pgd_last_iterate
from tests.ladder_core.attacks.oracles import case


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
