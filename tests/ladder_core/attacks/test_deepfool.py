"""DeepFool against the linear models' closed form: its linearisation is exact there."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ladder_core.attacks import Norm, deepfool
from tests.ladder_core.attacks.oracles import affine_case, assert_sound, minimal_distances


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_nearest_boundary_is_crossed_by_the_overshoot(norm: Norm, seed: int) -> None:
    model, images, labels = affine_case(seed)
    result = deepfool(model, images, labels, norm=norm, overshoot=0.005)
    assert result.success.all()
    distances = minimal_distances(model, images, labels, norm)
    ratio = getattr(result.distances, norm) / distances
    assert ratio.min() > 1
    assert ratio[distances > 1e-3].max() < 1.01
    assert result.iterations == 2  # a step, and the look that finds it enough


def test_a_boundary_that_is_not_considered_is_not_stepped_onto() -> None:
    model, images, labels = affine_case(3)
    second = model(images).topk(2, dim=1).indices[:, 1]
    result = deepfool(model, images, labels, top_k=2, overshoot=0.0)
    everything = deepfool(model, images, labels, overshoot=0.0)
    assert (result.distances.l2 >= everything.distances.l2 - 1e-5).all()
    assert (result.distances.l2 > everything.distances.l2 + 1e-3).any()
    others = torch.where(result.success, model(result.images).argmax(dim=1), second)
    assert (others == second).float().mean() > 0.8  # on the way it may pass into a nearer class


def test_a_target_is_walked_to() -> None:
    model, images, labels = affine_case(4)
    targets = (labels + 2) % 5
    result = deepfool(model, images, labels, targets=targets, overshoot=0.1, iterations=100)
    assert torch.equal(result.success, model(result.images).argmax(dim=1) == targets)
    assert result.success.float().mean() > 0.3  # the target need only pass the label: another may be above


def test_a_real_network_is_fooled_nearby(digits_classifier, digits) -> None:
    images, labels = digits.test.batch(range(100))
    result = deepfool(digits_classifier, images, labels)
    assert result.success.all()
    assert result.distances.l2.mean() < 0.25 * images.flatten(1).norm(dim=1).mean()


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    norm=st.sampled_from(["linf", "l2"]),
    iterations=st.integers(1, 6),
    top_k=st.integers(2, 8),
    overshoot=st.floats(0, 0.5),
    targeted=st.booleans(),
)
def test_promises_hold_on_any_input(
    seed: int, norm: Norm, iterations: int, top_k: int, overshoot: float, targeted: bool
) -> None:
    assert_sound(
        lambda model, images, labels, targets, _: deepfool(
            model, images, labels, targets=targets, norm=norm, iterations=iterations, top_k=top_k,
            overshoot=overshoot,
        ),
        seed,
        targeted=targeted,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"norm": "l1"}, "norm is l1: give 'linf' or 'l2'"),
        ({"iterations": 0}, "iterations is 0: give at least 1"),
        ({"top_k": 1}, "top_k is 1: give at least 2"),
        ({"overshoot": -0.1}, r"overshoot is -0\.1: give a share"),
    ],
)
def test_what_cannot_be_done_is_named(wrong: dict, message: str) -> None:
    model, images, labels = affine_case(0, count=3)
    with pytest.raises(ValueError, match=message):
        deepfool(model, images, labels, **wrong)
