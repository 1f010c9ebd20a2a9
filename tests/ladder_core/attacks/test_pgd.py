"""PGD against the linear models' closed form, a plain reference, and on a network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from ladder_core.attacks import Norm, fgsm, pgd, pgd_last_iterate
from ladder_core.attacks.losses import LossName
from tests.ladder_core.attacks.oracles import Affine, affine_case, assert_sound, case, minimal_distances


def stream() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("steps", [1, 4, 5, 23])
def test_pgd_breaks_exactly_what_can_be_broken(steps: int, restarts: int) -> None:
    model, images, labels, margins = case(3)
    epsilon = 0.05
    reach = epsilon * model.weight.abs().sum()
    clear = (margins - reach).abs() > 1e-4
    result = pgd(model, images, labels, epsilon=epsilon, steps=steps, restarts=restarts, generator=stream())
    assert torch.equal(result.success[clear], (margins < reach)[clear])


@pytest.mark.parametrize(("loss", "least"), [("ce", 0.75), ("dlr", 0.9), ("cw", 0.95)])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.007), ("l2", 0.03)])
def test_every_loss_breaks_most_of_what_is_within_reach(
    norm: Norm, epsilon: float, momentum: float, loss: LossName, least: float
) -> None:
    """And nothing beyond. The way to the nearest boundary need not be the steepest, least so for CE's."""
    model, images, labels = affine_case(1)
    distances = minimal_distances(model, images, labels, norm)
    result = pgd(
        model, images, labels, epsilon=epsilon, steps=30, generator=stream(), norm=norm, restarts=2,
        momentum=momentum, loss=loss,
    )  # fmt: skip
    assert not result.success[distances > epsilon * 1.001].any()
    near = distances < epsilon * 0.999
    assert result.success[near].float().mean() > least
    assert 50 < near.sum() < 150


def test_targets_are_reached() -> None:
    model, images, labels = affine_case(2, classes=4)
    targets = (labels + 1) % 4
    for loss in ("ce", "dlr", "cw"):
        result = pgd(
            model, images, labels, epsilon=0.4, steps=20, generator=stream(), targets=targets, loss=loss
        )
        assert torch.equal(result.success, model(result.images).argmax(dim=1) == targets)
        assert result.success.float().mean() > 0.95


def plain_pgd(model: nn.Module, images: Tensor, labels: Tensor, start: Tensor, norm: Norm) -> Tensor:
    """Ten steps of 0.02 in a ball of 0.1, as the paper writes them."""
    current = start
    for _ in range(10):
        current = current.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(
            functional.cross_entropy(model(current), labels, reduction="sum"), current
        )
        if norm == "linf":
            moved = (current.detach() + 0.02 * gradient.sign() - images).clamp(-0.1, 0.1)
        else:
            moved = (
                current.detach() + 0.02 * functional.normalize(gradient.flatten(1)).view_as(images) - images
            )
            moved = torch.renorm(moved, p=2, dim=0, maxnorm=0.1)
        current = (images + moved).clamp(0, 1)
    return current


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_last_iterate_is_the_papers(norm: Norm, digits_classifier, digits) -> None:
    images, labels = digits.test.batch(range(50))
    begin = (images + 0.05).clamp(0, 1) if norm == "linf" else images
    ours = pgd_last_iterate(
        digits_classifier, images, labels, epsilon=0.1, steps=10, step=0.02, generator=stream(), norm=norm,
        start=begin,
    )  # fmt: skip
    theirs = plain_pgd(digits_classifier, images, labels, begin, norm)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_what_is_broken_leaves_the_batch(digits_classifier, digits) -> None:
    images, labels = digits.test.batch(range(100))
    result = pgd(digits_classifier, images, labels, epsilon=0.1, steps=20, restarts=2, generator=stream())
    assert 0 < result.success.sum() < 100
    # The first look, each restart's steps, the look in between and the final check.
    assert (result.queries[~result.success] == 43).all()
    assert (result.gradients[~result.success] == 40).all()
    assert (result.gradients[result.success] < 40).any()
    assert result.iterations == 40


def test_random_starts_fill_the_ball() -> None:
    model, images = Affine(0), torch.full((400, 2, 3, 3), 0.5)
    labels = torch.zeros(400, dtype=torch.int64)
    for norm, epsilon, mean in (("linf", 0.1, 0.05), ("l2", 0.1, 0.1 * 18 / 19)):
        start = pgd_last_iterate(
            model, images, labels, epsilon=epsilon, steps=1, step=0.0, generator=stream(), norm=norm
        )
        moved = (start - images).flatten(1)
        size = moved.abs() if norm == "linf" else moved.norm(dim=1)
        assert size.max() <= epsilon + 1e-6
        assert size.mean() == pytest.approx(mean, rel=0.05)
        assert moved.mean().abs() < 0.003


def test_pgd_is_at_least_as_strong_as_fgsm_on_a_real_network(digits_classifier, digits) -> None:
    images, labels = digits.test.batch(range(200))
    one = fgsm(digits_classifier, images, labels, epsilon=0.15).success
    many = pgd(digits_classifier, images, labels, epsilon=0.15, steps=20, generator=stream()).success
    assert many.sum() >= one.sum() > 0


def test_training_examples_stay_in_the_ball_and_raise_the_loss(digits_classifier, digits) -> None:
    images, labels = digits.train.batch(range(64))
    attacked = pgd_last_iterate(
        digits_classifier, images, labels, epsilon=0.1, steps=5, step=0.035, generator=stream()
    )
    assert (attacked - images).abs().max() <= 0.1 + 1e-6
    loss = nn.functional.cross_entropy
    assert loss(digits_classifier(attacked), labels) > 2 * loss(digits_classifier(images), labels)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 1000),
    epsilon=st.floats(0.001, 0.9),
    steps=st.integers(1, 7),
    norm=st.sampled_from(["linf", "l2"]),
    loss=st.sampled_from(["ce", "dlr", "cw"]),
    momentum=st.sampled_from([0.0, 0.5, 1.0]),
    targeted=st.booleans(),
)
def test_promises_hold_on_any_input(
    seed: int, epsilon: float, steps: int, norm: Norm, loss: LossName, momentum: float, targeted: bool
) -> None:
    assert_sound(
        lambda model, images, labels, targets, generator: pgd(
            model, images, labels, epsilon=epsilon, steps=steps, generator=generator, norm=norm, restarts=2,
            momentum=momentum, loss=loss, targets=targets,
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
        ({"restarts": 0}, "restarts is 0: give at least 1"),
        ({"step": -0.1}, r"step is -0\.1: give a length"),
        ({"momentum": 1.5}, r"momentum is 1\.5: give a share"),
        ({"epsilon": float("nan")}, "epsilon is nan"),
        ({"loss": "mse"}, "loss is 'mse': give 'ce', 'dlr' or 'cw'"),
        ({"start": torch.zeros(1, 2, 3, 3)}, r"start's shape is \(1, 2, 3, 3\)"),
        ({"loss": "dlr"}, "at least 3 classes"),
    ],
)
def test_what_cannot_be_done_is_named(wrong: dict, message: str) -> None:
    model, images, labels, _ = case(0, count=3)
    with pytest.raises(ValueError, match=message):
        pgd(model, images, labels, **{"epsilon": 0.1, "steps": 2, "generator": stream(), **wrong})
