"""Carlini and Wagner's attack against the linear models' closed form."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ladder_core.attacks import cw
from ladder_core.attacks.losses import margin
from tests.ladder_core.attacks.oracles import Affine, affine_case, assert_sound, minimal_distances

FINE = {"search_steps": 6, "iterations": 100, "learning_rate": 0.003, "initial_constant": 0.1}


def far_case(seed: int, classes: int) -> tuple[Affine, Tensor, Tensor, Tensor]:
    """A model, images many steps of the descent away from any boundary, labels, and how far they are."""
    model, images, labels = affine_case(seed, count=100, classes=classes)
    distances = minimal_distances(model, images, labels, "l2")
    far = distances > 0.03
    assert far.sum() > 20
    return model, images[far], labels[far], distances[far]


@pytest.mark.parametrize("classes", [2, 5])
def test_the_distance_is_the_least_there_is(classes: int) -> None:
    model, images, labels, distances = far_case(0, classes)
    result = cw(model, images, labels, **FINE)
    assert result.success.all()
    ratio = result.distances.l2 / distances
    assert ratio.min() >= 0.9999
    assert ratio.mean() < 1.01


def test_a_target_costs_the_least_there_is_where_it_is_the_only_other_class() -> None:
    model, images, labels, distances = far_case(1, classes=2)
    result = cw(model, images, labels, targets=1 - labels, **FINE)
    assert result.success.all()
    assert (result.distances.l2 / distances).mean() < 1.01


def test_targets_are_reached_among_several() -> None:
    model, images, labels = affine_case(2, count=60)
    targets = (labels + 1) % 5
    result = cw(model, images, labels, targets=targets, search_steps=6, iterations=50)
    assert result.success.all()
    assert torch.equal(model(result.images).argmax(dim=1), targets)


def test_confidence_is_the_margin() -> None:
    model, images, labels = affine_case(3, count=60)
    near = cw(model, images, labels, search_steps=6, iterations=100)
    sure = cw(model, images, labels, search_steps=6, iterations=100, confidence=0.5)
    margins = margin(model(sure.images), labels)
    assert margins.min() >= 0.5 - 1e-5
    assert margins.mean() < 0.53
    assert (sure.distances.l2 > near.distances.l2).all()


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_elements_at_their_ends_move(end: float) -> None:
    """All elements are exactly 0 or exactly 1, the label follows from the bias: every change is inwards."""
    model = Affine(0, classes=2)
    with torch.no_grad():
        model.weight[1] = model.weight[0] + (1 if end == 0 else -1) * (0.1 + torch.rand(18))
        model.bias[0] = model.bias[1] + (model.weight[1] - model.weight[0]).sum() * end + 0.5
    images, labels = torch.full((4, 2, 3, 3), end), torch.zeros(4, dtype=torch.int64)
    assert torch.equal(model(images).argmax(dim=1), labels)
    result = cw(model, images, labels, search_steps=10, iterations=200, learning_rate=0.005)
    assert result.success.all()
    assert (result.distances.l2 / minimal_distances(model, images, labels, "l2")).max() < 1.01


def test_leaving_early_costs_no_distance(digits_classifier, digits) -> None:
    images, labels = digits.test.batch(range(20))
    early = cw(digits_classifier, images, labels, search_steps=6, iterations=100)
    patient = cw(digits_classifier, images, labels, search_steps=6, iterations=100, abort_early=False)
    assert early.success.all()
    assert patient.success.all()
    assert early.distances.l2.mean() < 1.01 * patient.distances.l2.mean()
    assert early.gradients.sum() < 0.8 * patient.gradients.sum()


@settings(deadline=None, max_examples=10)
@given(
    seed=st.integers(0, 1000),
    search_steps=st.integers(1, 4),
    iterations=st.integers(1, 25),
    confidence=st.floats(0, 2),
    abort_early=st.booleans(),
    targeted=st.booleans(),
)
def test_promises_hold_on_any_input(
    seed: int, search_steps: int, iterations: int, confidence: float, abort_early: bool, targeted: bool
) -> None:
    assert_sound(
        lambda model, images, labels, targets, _: cw(
            model, images, labels, targets=targets, confidence=confidence, search_steps=search_steps,
            iterations=iterations, learning_rate=0.05, initial_constant=1.0, abort_early=abort_early,
        ),
        seed,
        targeted=targeted,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"confidence": -1.0}, r"confidence is -1\.0: give a margin"),
        ({"search_steps": 0}, "search_steps is 0: give at least 1"),
        ({"iterations": 0}, "iterations is 0: give at least 1"),
        ({"learning_rate": 0.0}, r"learning_rate is 0\.0: give a rate"),
        ({"initial_constant": 0.0}, r"initial_constant is 0\.0: give a constant"),
    ],
)
def test_what_cannot_be_done_is_named(wrong: dict, message: str) -> None:
    model, images, labels = affine_case(0, count=3)
    with pytest.raises(ValueError, match=message):
        cw(model, images, labels, **wrong)
