"""What every attack goes through: the check of what it found, and a model left as it was."""

import torch

from ladder_core.attacks import fgsm
from ladder_core.attacks.base import NO_CLASS, Oracle, finish, predicted_classes, succeeded
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


def test_a_class_left_out_by_minus_infinity_is_not_named_and_the_others_are() -> None:
    inf, nan = torch.inf, torch.nan
    logits = torch.tensor(
        [[5.0, 1.0, -inf], [nan, 2.0, 1.0], [inf, 0.0, 1.0], [-inf, -inf, -inf], [0.0, 1.0, 2.0]]
    )
    assert predicted_classes(logits).tolist() == [0, NO_CLASS, NO_CLASS, NO_CLASS, 2]
    labels = torch.tensor([0, 1, 0, 0, 2])
    assert succeeded(logits, labels, None).tolist() == [False, True, True, True, False]
    assert succeeded(logits, labels, labels).tolist() == [True, False, False, False, True]
