"""FGSM against the linear models' closed form."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ladder_core.attacks import Norm, fgsm
from tests.ladder_core.attacks.oracles import affine_case, assert_sound, case, minimal_distances


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("epsilon", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fgsm_breaks_exactly_what_can_be_broken(seed: int, epsilon: float, norm: Norm) -> None:
    model, images, labels, margins = case(seed)
    reach = epsilon * (model.weight.abs().sum() if norm == "linf" else model.weight.norm())
    clear = (margins - reach).abs() > 1e-5
    result = fgsm(model, images, labels, epsilon=epsilon, norm=norm)
    assert torch.equal(result.success[clear], (margins < reach)[clear])


def test_a_target_is_reached_where_it_is_the_only_other_class() -> None:
    model, images, labels = affine_case(0, classes=2)
    near = minimal_distances(model, images, labels, "linf") < 0.05 * 0.999
    result = fgsm(model, images, labels, epsilon=0.05, targets=1 - labels)
    assert near.any()
    assert result.success[near].all()
    assert not fgsm(model, images, labels, epsilon=0.0, targets=1 - labels).success.any()


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    epsilon=st.floats(0.0, 0.9),
    norm=st.sampled_from(["linf", "l2"]),
    targeted=st.booleans(),
)
def test_promises_hold_on_any_input(seed: int, epsilon: float, norm: Norm, targeted: bool) -> None:
    assert_sound(
        lambda model, images, labels, targets, _: fgsm(
            model, images, labels, epsilon=epsilon, norm=norm, targets=targets
        ),
        seed,
        targeted=targeted,
        norm=norm,
        epsilon=epsilon,
    )


def test_what_cannot_be_attacked_is_named() -> None:
    model, images, labels, _ = case(0, count=3)
    with pytest.raises(ValueError, match=r"epsilon is -0\.1: give a radius from 0"):
        fgsm(model, images, labels, epsilon=-0.1)
    with pytest.raises(ValueError, match=r"images' range is .*: scale pixels"):
        fgsm(model, images * 255, labels, epsilon=0.1)
    with pytest.raises(ValueError, match=r"labels' shape is \(2,\): give one class for each of the 3"):
        fgsm(model, images, labels[:2], epsilon=0.1)
    with pytest.raises(ValueError, match="targets' type"):
        fgsm(model, images, labels, epsilon=0.1, targets=labels.float())
    with pytest.raises(ValueError, match="norm is 'l1'"):
        fgsm(model, images, labels, epsilon=0.1, norm="l1")  # type: ignore[arg-type]
