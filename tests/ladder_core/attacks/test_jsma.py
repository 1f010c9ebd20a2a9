"""JSMA against the map of all pairs, looked at one by one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ladder_core.attacks import jsma
from ladder_core.attacks.saliency import best_pairs, front_of
from tests.ladder_core.attacks.oracles import Affine, affine_case, assert_sound, coarse_images


def plain_best_pair(alpha: Tensor, beta: Tensor, free: Tensor) -> tuple[int, int] | None:
    """The whole map, as the paper writes it: rows p, columns q, the first maximum."""
    toward, against = alpha[:, None] + alpha[None], beta[:, None] + beta[None]
    salient = (toward > 0) & (against > 0) & free[:, None] & free[None]
    salient.fill_diagonal_(fill_value=False)
    saliency = torch.where(salient, toward * against, 0)
    if saliency.max() == 0:
        return None
    return divmod(int(saliency.flatten().argmax()), len(alpha))


@settings(deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 10_000),
    elements=st.integers(2, 60),
    shift=st.floats(-1.5, 1.5),
    coarse=st.booleans(),
    together=st.floats(-1, 1),
)
def test_the_best_pair_is_that_of_the_whole_map(
    seed: int, elements: int, shift: float, coarse: bool, together: float
) -> None:
    """Also where many are equal, where alpha and beta rule each other out, and where there is none."""
    stream = torch.Generator().manual_seed(seed)
    alpha = torch.randn(3, elements, generator=stream) + shift
    beta = torch.randn(3, elements, generator=stream) + together * alpha
    if coarse:
        alpha, beta = alpha.round(), beta.round()
    free = torch.rand(3, elements, generator=stream) < 0.8
    front = front_of(alpha, beta, free)
    pairs, exists = best_pairs(front, front.width())
    for row in range(3):
        expected = plain_best_pair(alpha[row], beta[row], free[row])
        assert bool(exists[row]) == (expected is not None)
        if expected is not None:
            assert tuple(pairs[row].tolist()) == expected


def test_of_thousands_of_elements_few_are_looked_at() -> None:
    stream = torch.Generator().manual_seed(0)
    alpha, beta = torch.randn(2, 20, 3072, generator=stream)
    assert front_of(alpha, beta, torch.ones(20, 3072, dtype=torch.bool)).width() < 60


def test_where_alpha_and_beta_rule_each_other_out_memory_is_still_bounded() -> None:
    """All of 3x32x32 elements are in the front: one sample's pairs are looked at at a time."""
    alpha = torch.linspace(0.1, 1, 3072).repeat(3, 1)
    front = front_of(alpha, 1.5 - alpha, torch.ones_like(alpha, dtype=torch.bool))
    assert front.width() == 3072
    pairs, exists = best_pairs(front, front.width())
    assert exists.all()
    for first, second in pairs.tolist():
        # a (3 - a) grows up to a sum of 1.5.
        assert float(alpha[0, first] + alpha[0, second]) == pytest.approx(1.5, abs=1e-3)


def plain_jsma(model: nn.Module, image: Tensor, target: int, theta: float, budget: int) -> Tensor:
    """Algorithm 3 for an image (1, C, H, W), with the whole map."""
    sign = 1 if theta > 0 else -1
    for _ in range(budget):
        jacobian = torch.autograd.functional.jacobian(model, image).reshape(5, -1)
        if int(model(image).argmax()) == target:
            break
        flat = image.flatten()
        free = flat < 0.99 if theta > 0 else flat > 0.01
        alpha, others = jacobian[target], jacobian.sum(dim=0) - jacobian[target]
        pair = plain_best_pair(sign * alpha, -sign * others, free)
        if pair is None:
            break
        flat = flat.clone()
        flat[list(pair)] += theta
        image = flat.clamp(0, 1).reshape(image.shape)
    return image


class Curved(nn.Module):
    """A small network with a Jacobian that changes on the way."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.first, self.second = Affine(seed, classes=12), nn.Linear(12, 5)
        with torch.no_grad():
            self.second.weight.copy_(
                torch.randn(5, 12, generator=torch.Generator().manual_seed(seed))
            ).requires_grad_(requires_grad=False)
            self.second.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.second(self.first(images).tanh())
        return logits


@pytest.mark.parametrize("theta", [1.0, -1.0, 0.3, -0.2])
def test_every_step_is_the_papers(theta: float) -> None:
    model, images = Curved(1), coarse_images(1, 20)
    labels = model(images).argmax(dim=1)
    targets = (labels + 1) % 5
    result = jsma(model, images, labels, targets=targets, theta=theta, gamma=0.7)
    for row in range(20):
        expected = plain_jsma(model, images[row : row + 1], int(targets[row]), theta, budget=6)
        assert torch.equal(result.images[row : row + 1], expected)
    assert 0 < result.success.sum() < 20


def test_no_more_elements_change_than_gamma_allows() -> None:
    model, images, labels = affine_case(0)
    for gamma in (0.05, 0.12, 0.5):
        result = jsma(model, images, labels, targets=(labels + 1) % 5, gamma=gamma)
        assert result.distances.l0.max() <= 18 * gamma
        assert result.iterations <= 18 * gamma / 2


def test_without_targets_classes_are_tried_until_one_is_reached() -> None:
    model, images, labels = affine_case(5)
    tried = [
        jsma(model, images, labels, theta=0.06, gamma=0.12, targets=(labels + k) % 5).success
        for k in range(1, 5)
    ]
    one, all_classes = (jsma(model, images, labels, theta=0.06, gamma=0.12, top_k=k) for k in (2, 5))
    assert (all_classes.success >= torch.stack(tried).any(dim=0)).all()
    assert all_classes.success.sum() > one.success.sum() > 0


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 1000),
    theta=st.sampled_from([1.0, -1.0, 0.25, -0.4]),
    gamma=st.floats(0.01, 1),
    targeted=st.booleans(),
)
def test_promises_hold_on_any_input(seed: int, theta: float, gamma: float, targeted: bool) -> None:
    assert_sound(
        lambda model, images, labels, targets, _: jsma(
            model, images, labels, targets=targets, theta=theta, gamma=gamma
        ),
        seed,
        targeted=targeted,
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"theta": 0.0}, r"theta is 0\.0: give a change"),
        ({"theta": 1.5}, r"theta is 1\.5: give a change"),
        ({"gamma": 0.0}, r"gamma is 0\.0: give a share"),
        ({"top_k": 1}, "top_k is 1: give at least 2"),
    ],
)
def test_what_cannot_be_done_is_named(wrong: dict, message: str) -> None:
    model, images, labels = affine_case(0, count=3)
    with pytest.raises(ValueError, match=message):
        jsma(model, images, labels, **wrong)
