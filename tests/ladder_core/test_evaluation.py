"""What counts as robust: exact counts on models whose answers are known."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ladder_core.attacks import fgsm
from ladder_core.counting import Tally
from ladder_core.datasets import Split
from ladder_core.evaluation import GradientAttack, clean_accuracy, evaluate_gradient_attack, gradient_attacks
from ladder_schema.config import EvaluationConfig
from tests.ladder_core.attacks.oracles import Linear, case

CPU = torch.device("cpu")


def split_of(images: Tensor, labels: Tensor) -> Split:
    return Split(images.numpy(), labels.numpy(), np.arange(len(labels)), 1.0)


def evaluate(attack: GradientAttack, original: nn.Module, hardened: nn.Module, split: Split):
    return evaluate_gradient_attack(
        attack, original, hardened, split, batch_size=33, device=CPU, on_step=lambda _: None
    )


def test_clean_accuracy_counts_every_image() -> None:
    model, images, labels, _ = case(0)
    flipped = labels.clone()
    flipped[:17] = 1 - flipped[:17]
    found = clean_accuracy(
        model, split_of(images, flipped), batch_size=30, device=CPU, on_step=lambda _: None
    )
    assert (found.correct, found.total) == (183, 200)


@pytest.mark.parametrize("which", [0, 1])
def test_white_box_counts_are_the_closed_form_ones(which: int) -> None:
    """On a linear model exactly the samples within epsilon |w|_1 of the boundary fall."""
    model, images, labels, margins = case(5)
    epsilon = 0.05
    attack = gradient_attacks(epsilon, EvaluationConfig(pgd_steps=20), seed=0)[which]
    white_box, _ = evaluate(attack, model, model, split_of(images, labels))
    expected = int((margins > epsilon * model.weight.abs().sum()).sum())
    assert white_box.before.correct == white_box.after.correct == expected
    assert white_box.before.total == 200


def test_an_image_wrong_from_the_start_is_never_robust() -> None:
    model, images, labels, _ = case(6)
    wrong = 1 - labels  # the attack pushes these images back over the boundary
    attack = gradient_attacks(0.3, EvaluationConfig(), seed=0)[0]
    white_box, transfer = evaluate(attack, model, model, split_of(images, wrong))
    assert white_box.before.correct == transfer.before.correct == 0


def test_replayed_examples_have_the_attacks_whole_strength() -> None:
    """A model a little more robust than the original must still face steps taken to the end."""
    original, images, labels, margins = case(7)
    hardened = Linear(7)
    with torch.no_grad():  # the same boundary, seen from images pulled away from it
        hardened.bias.copy_(original.bias)
    epsilon, reach = 0.05, 0.05 * float(original.weight.abs().sum())
    attack = gradient_attacks(epsilon, EvaluationConfig(pgd_steps=40), seed=0)[1]
    replayed = attack.replayed(original, images, labels)
    moved = (original(replayed) - original(images)).detach()
    gap = (moved[:, 1] - moved[:, 0]).abs()
    # Early exit would leave them just past the boundary; all the way is epsilon |w|_1.
    assert (gap > 0.99 * reach).all()
    _, transfer = evaluate(attack, original, hardened, split_of(images, labels))
    assert transfer.after.correct == int((margins > reach).sum())


def test_failed_attempts_are_replayed_as_they_are() -> None:
    model, images, labels, _ = case(8)
    attacked = fgsm(model, images, labels, epsilon=1e-4)
    assert not attacked.success.all()
    assert (attacked.images != images).flatten(1).any(dim=1).all()


def test_a_tally_of_nothing_has_no_rate() -> None:
    with pytest.raises(ValueError, match="no verdict"):
        Tally(CPU).accuracy()
