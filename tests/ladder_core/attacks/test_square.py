"""Square Attack on linear models, and on one that only answers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ladder_core.attacks import AttackResult, Norm, square
from ladder_core.attacks.square_windows import L2Windows, LinfWindows, window_side
from ladder_core.attacks.streams import SampleStreams
from tests.ladder_core.attacks.oracles import affine_case, assert_sound, case, minimal_distances
from tests.ladder_core.attacks.test_apgd import broken_gradients, stream


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.05), ("l2", 0.2)])
def test_it_breaks_most_of_what_can_be_broken_and_nothing_else(norm: Norm, epsilon: float) -> None:
    model, images, labels = affine_case(0)
    least = minimal_distances(model, images, labels, norm)
    result = square(model, images, labels, norm=norm, epsilon=epsilon, iterations=500, generator=stream())
    assert not result.success[least > 1.001 * epsilon].any()
    assert result.success[least < 0.6 * epsilon].float().mean() > 0.9
    assert (result.gradients == 0).all()
    if norm == "l2":  # what it stopped at is what it returns: nothing that it found is lost on the way
        assert result.success[result.queries < 500].all()
        assert (result.queries < 500).any()


def test_in_the_end_every_pixel_of_a_linear_model_is_where_it_should_be() -> None:
    model, images, labels, margins = case(1, 40)
    epsilon = 0.9 * float(margins.min() / model.weight.detach().abs().sum())  # nobody can be broken
    result = square(model, images, labels, epsilon=epsilon, iterations=600, generator=stream(), share=0.1)
    towards = torch.where(labels == 1, -1.0, 1.0)[:, None] * model.weight.sign()
    right = ((result.images - images).flatten(1).sign() == towards).reshape(images.shape)
    # As in the official code, windows of a pixel come everywhere but to the last row and column.
    assert right[:, :, :2, :2].float().mean() > 0.99
    assert not result.success.any()


def test_windows_that_change_nothing_are_not_asked_about() -> None:
    model, images, labels, margins = case(1, 40)
    epsilon = 0.9 * float(margins.min() / model.weight.detach().abs().sum())
    result = square(model, images, labels, epsilon=epsilon, iterations=400, generator=stream())
    assert result.queries.float().mean() < 0.9 * 400
    by_l2 = square(model, images, labels, norm="l2", epsilon=epsilon, iterations=400, generator=stream())
    assert (by_l2.queries == 400 + 3).all()  # the image, the start and the verdict besides


def test_a_proposal_changes_its_first_window_that_is_not_as_it_should_be() -> None:
    windows = LinfWindows(0.1, 1000, 0.8)
    streams = SampleStreams.begin(stream(), 6, torch.device("cpu"))
    states = torch.ones(6, 1, 8, 8, dtype=torch.bool)
    positions = torch.tensor([0, 3, 60, 300, 700, 999])
    table = windows.draw(streams, positions, 2, torch.Size([1, 8, 8]))
    proposals = windows.propose(states, table, torch.zeros(6, dtype=torch.int64), 0)
    for sample in range(6):
        lowering = (table[sample, :6, 3] < 0.5) & (table[sample, :6, 2] > 0)
        assert bool(proposals.changed[sample]) == bool(lowering.any())
        steps = int(lowering.nonzero()[0]) + 1 if lowering.any() else 6
        assert int(proposals.steps[sample]) == steps
        top, left, side, _ = (int(value) for value in table[sample, steps - 1])
        wanted = states[sample].clone()
        if lowering.any():
            wanted[:, top : top + side, left : left + side] = False
        assert torch.equal(proposals.states[sample], wanted)


def test_windows_shrink_as_in_the_official_code() -> None:
    sides = {
        at: window_side(at, 0.8, 28, 28, 1) for at in (0, 10, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)
    }
    assert sides == {
        0: 25, 10: 25, 11: 18, 51: 13, 201: 9, 501: 6, 1001: 4, 2001: 3, 4001: 2, 6001: 2, 8001: 1
    }  # fmt: skip


def test_l2_proposals_keep_to_the_ball_and_move_length_between_two_windows() -> None:
    windows = L2Windows(0.5, 100, 0.3)
    streams = SampleStreams.begin(stream(), 5, torch.device("cpu"))
    images = 0.5 * torch.ones(5, 3, 10, 10)
    states = windows.images(images, windows.start(images, streams)) - images
    torch.testing.assert_close(states.flatten(1).norm(dim=1), torch.full((5,), 0.5))
    table = windows.draw(streams, torch.zeros(5, dtype=torch.int64), 4, images.shape[1:])
    proposals = windows.propose(states, table, torch.ones(5, dtype=torch.int64), 1)
    torch.testing.assert_close(proposals.states.flatten(1).norm(dim=1), torch.full((5,), 0.5))
    changed = (proposals.states != states).any(dim=1).flatten(1).sum(dim=1)
    assert (changed <= 2 * 5 * 5).all()
    assert (changed >= 5 * 5).all()


def test_targets_are_reached() -> None:
    model, images, labels = affine_case(2, 60)
    targets = (labels + 1) % 5
    for norm, epsilon in (("linf", 0.3), ("l2", 1.0)):
        result = square(
            model,
            images,
            labels,
            norm=norm,
            epsilon=epsilon,
            targets=targets,
            generator=stream(),
            iterations=300,
        )
        assert result.success.float().mean() > 0.7
        assert torch.equal(model(result.images).argmax(dim=1) == targets, result.success)


def test_restarts_break_no_less() -> None:
    model, images, labels = affine_case(3, 80)
    once = square(model, images, labels, epsilon=0.04, generator=stream(), iterations=30)
    thrice = square(model, images, labels, epsilon=0.04, generator=stream(), iterations=30, restarts=3)
    assert (thrice.success | ~once.success).all()
    assert thrice.success.sum() > once.success.sum()


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (5, 2), (12, 12), (7, 20)])
def test_images_of_any_size_are_attacked(size: tuple[int, int]) -> None:
    images = 0.4 + 0.2 * torch.rand(6, 1, *size, generator=stream())
    weight = torch.randn(size[0] * size[1], 3, generator=stream())

    class Model(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (images - 0.5).flatten(1) @ weight

    labels = Model()(images).argmax(dim=1)
    for norm in ("linf", "l2"):
        result = square(Model(), images, labels, norm=norm, epsilon=0.5, generator=stream(), iterations=60)
        assert result.success.any()
        assert getattr(result.distances, norm).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("kind", ["saturated", "nan", "constant"])
def test_it_needs_no_gradients(kind: str) -> None:
    model, images, labels = broken_gradients(kind)
    result = square(model, images, labels, epsilon=0.3, generator=stream(), iterations=200)
    assert result.success.float().mean() > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": -1.0}, "epsilon is -1.0: give a radius from 0 on"),
        ({"iterations": 0}, "iterations is 0: give at least 1"),
        ({"restarts": 0}, "restarts is 0: give at least 1"),
        ({"norm": "l1"}, "norm is 'l1': give 'linf' or 'l2'"),
        ({"share": 0.0}, "share is 0.0: give a part of the pixels"),
    ],
)
def test_parameters_out_of_range_are_named(options: dict[str, object], message: str) -> None:
    model, images, labels, _ = case(0, 4)
    with pytest.raises(ValueError, match=message):
        square(model, images, labels, **{"epsilon": 0.1, "generator": stream()} | options)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 1000),
    epsilon=st.floats(0.001, 0.9),
    norm=st.sampled_from(["linf", "l2"]),
    iterations=st.integers(1, 60),
    targeted=st.booleans(),
)
def test_promises_hold_on_any_input(
    seed: int, epsilon: float, norm: Norm, iterations: int, targeted: bool
) -> None:
    def attack(model, images, labels, targets, generator) -> AttackResult:
        return square(
            model,
            images,
            labels,
            epsilon=epsilon,
            norm=norm,
            iterations=iterations,
            targets=targets,
            generator=generator,
        )

    assert_sound(attack, seed, targeted=targeted, norm=norm, epsilon=epsilon)
