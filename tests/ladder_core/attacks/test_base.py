"""What every attack goes through: the check of what it found, and a model left as it was."""

import torch

from ladder_core.attacks import fgsm
from ladder_core.attacks.base import Oracle, finish
from tests.ladder_core.attacks.oracles import case


def test_what_an_attack_returns_is_not_believed() -> None:
    model, images, labels, _ = case(0)
    cheat = 1 - images + 0.7  # out of the ball, out of the pixels
    checked = finish(Oracle(model, images), images, labels, cheat, iterations=1, norm="linf", epsilon=0.05)
    assert (checked.images - images).abs().max() <= 0.05 + 1e-6
    assert torch.equal(checked.success, model(checked.images).argmax(dim=1) != labels)


def test_attacks_leave_no_gradient_on_the_model(digits_classifier, digits) -> None:
    images, labels = digits.test.batch(range(8))
    fgsm(digits_classifier, images, labels, epsilon=0.1)
    assert all(p.grad is None for p in digits_classifier.parameters())
