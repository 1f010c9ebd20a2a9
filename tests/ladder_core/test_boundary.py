"""The attention SVM against a literal reading of the paper, and on data whose boundary is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ladder_core.boundary import (
    LOW_RANK,
    MAX_FULL_DIMENSION,
    Boundaries,
    choose_pairs,
    fit_boundaries,
)
from ladder_core.comparison import compare_with_linear_svc, map_latents
from ladder_core.pool import pool_latents
from ladder_schema.config import BoundaryConfig


def blobs(classes: int, dimension: int, per_class: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    """Gaussian clouds around well separated centres."""
    stream = torch.Generator().manual_seed(0)
    centres = 4 * torch.nn.functional.normalize(torch.randn(classes, dimension, generator=stream), dim=1)
    labels = torch.arange(classes).repeat_interleave(per_class)
    noise = 0.3 / math.sqrt(dimension) * torch.randn(len(labels), dimension, generator=stream)
    return centres[labels] + noise, labels, centres


def fit(
    latents: Tensor,
    labels: Tensor,
    classes: int,
    seed: int = 0,
    steps: int = 60,
    pairs: Tensor | None = None,
) -> Boundaries:
    if pairs is None:
        pairs = torch.combinations(torch.arange(classes), 2)
    pool = pool_latents(latents, labels, classes)
    return fit_boundaries(pool, pairs, BoundaryConfig(steps=steps), seed=seed)


def test_attention_is_equation_2_sample_by_sample() -> None:
    latents, labels, _ = blobs(3, 7)
    boundaries = fit(latents, labels, 3)
    pair = 1
    (conv,), bias = [m[pair] for m in boundaries.maps], boundaries.bias[pair]
    attention = boundaries.attention(latents[:5], pair)
    for z, beta in zip(latents[:5] / boundaries.scale, attention, strict=True):
        a = [
            math.tanh(sum(z[i].item() * conv[i, j].item() for i in range(7)) + bias[j].item())
            for j in range(7)
        ]
        softmax = [math.exp(value) / sum(math.exp(other) for other in a) for value in a]
        # Ours is the paper's beta times N: the same direction, of mean 1.
        assert beta.tolist() == pytest.approx([7 * value for value in softmax], rel=1e-4)
    assert attention.mean(dim=1).tolist() == pytest.approx([1.0] * 5, rel=1e-5)


def test_every_pair_separates_its_held_out_latents() -> None:
    latents, labels, _ = blobs(6, 20)
    boundaries = fit(latents, labels, 6)
    assert boundaries.held_out_accuracy.shape == (15,)
    assert boundaries.held_out_accuracy.min() == 1.0


def test_inseparable_classes_are_reported_as_such() -> None:
    stream = torch.Generator().manual_seed(1)
    latents = torch.randn(400, 10, generator=stream)
    labels = torch.arange(2).repeat(200)
    assert 0.3 < fit(latents, labels, 2).held_out_accuracy.item() < 0.7


def test_directions_lead_from_the_source_to_the_target() -> None:
    latents, labels, centres = blobs(4, 30)
    boundaries = fit(latents, labels, 4)
    targets = (labels + 1) % 4
    directions = boundaries.directions(latents, labels, targets)
    towards = torch.nn.functional.normalize(centres[targets] - centres[labels], dim=1)
    assert directions.norm(dim=1).tolist() == pytest.approx([1.0] * len(latents), rel=1e-5)
    assert (directions * towards).sum(dim=1).min() > 0.5
    # The way back is the SVM's own normal the other way round.
    back = boundaries.directions(latents, targets, labels)
    torch.testing.assert_close(back, -directions)


def test_a_pair_is_trained_as_if_it_were_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One batched problem, but neither the other pairs nor the chunks they are trained in may matter."""
    latents, labels, _ = blobs(4, 9)
    together = fit(latents, labels, 4, steps=25)
    for row, pair in enumerate(together.pairs):
        alone = fit(latents, labels, 4, steps=25, pairs=pair[None])
        torch.testing.assert_close(alone.normal[0], together.normal[row], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(alone.maps[0][0], together.maps[0][row], rtol=1e-4, atol=1e-6)
    monkeypatch.setattr("ladder_core.boundary._CHUNK_BYTES", 1)
    torch.testing.assert_close(fit(latents, labels, 4, steps=25).normal, together.normal)


def test_a_rare_class_weighs_as_much_as_a_common_one() -> None:
    stream = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 300 + [1] * 12)[torch.randperm(312, generator=stream)]
    latents = torch.randn(312, 5, generator=stream) + 2.0 * labels[:, None]
    boundaries = fit(latents, labels, 2, steps=200)
    sides = boundaries.directions(latents, labels, 1 - labels)
    assert boundaries.held_out_accuracy.item() > 0.9
    assert (sides[labels == 1].sum(dim=1) < 0).all()


def test_nothing_is_claimed_of_pairs_without_held_out_samples() -> None:
    latents, labels, _ = blobs(3, 9, per_class=1)
    assert fit(latents, labels, 3, steps=2).held_out_accuracy.isnan().all()


def test_the_normals_are_close_to_a_linear_svc() -> None:
    latents, labels, _ = blobs(5, 16, per_class=200)
    pool = pool_latents(latents, labels, 5)
    boundaries = fit(latents, labels, 5)
    summary = compare_with_linear_svc(boundaries, pool, seed=0)
    assert summary is not None
    assert summary.pairs == 10
    assert summary.held_out_accuracy_mean == 1.0
    assert summary.cosine_mean > 0.5


def test_the_latent_map_is_the_plane_the_latents_lie_in() -> None:
    stream = torch.Generator().manual_seed(0)
    plane = torch.linalg.qr(torch.randn(20, 2, generator=stream)).Q
    points = torch.randn(100, 2, generator=stream)
    found = map_latents(points @ plane.T + 3.0, np.arange(100) % 3)
    assert found is not None
    assert sum(found.explained_variance) == pytest.approx(1.0)
    projected = torch.tensor([found.first, found.second], dtype=torch.float64).T
    expected = torch.pdist(points.double())
    torch.testing.assert_close(torch.pdist(projected), expected, atol=1e-4, rtol=0)


def test_unbuilt_pairs_have_no_direction() -> None:
    latents, labels, _ = blobs(3, 9)
    boundaries = fit(latents, labels, 3, steps=5, pairs=torch.tensor([[0, 1]]))
    directions = boundaries.directions(latents[:2], torch.tensor([0, 0]), torch.tensor([2, 1]))
    assert directions[0].abs().sum() == 0
    assert directions[1].norm().item() == pytest.approx(1.0)


def test_large_latents_get_a_factored_attention() -> None:
    dimension = MAX_FULL_DIMENSION + 8
    latents, labels, _ = blobs(2, dimension)
    boundaries = fit(latents, labels, 2, steps=20)
    assert [tuple(m.shape) for m in boundaries.maps] == [(1, dimension, LOW_RANK), (1, LOW_RANK, dimension)]
    assert boundaries.held_out_accuracy.item() == 1.0


def test_the_same_seed_gives_the_same_boundaries() -> None:
    latents, labels, _ = blobs(3, 9)
    first, second, other = (fit(latents, labels, 3, seed=seed, steps=5) for seed in (1, 1, 2))
    assert torch.equal(first.normal, second.normal)
    assert not torch.equal(first.normal, other.normal)


def test_few_classes_get_every_pair() -> None:
    pairs = choose_pairs(np.arange(4), torch.zeros(4, 4), max_pairs=6)
    assert pairs.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]


def test_many_classes_get_their_most_confused_pairs() -> None:
    confusion = torch.rand(50, 50, generator=torch.Generator().manual_seed(0)) * 0.01
    confusion[3, 17] = 0.4
    pairs = choose_pairs(np.arange(50), confusion, max_pairs=60)
    assert len(pairs) == 60
    assert [3, 17] in pairs.tolist()
    assert set(pairs.flatten().tolist()) == set(range(50)), "every class keeps a boundary"


def test_classes_without_samples_have_no_pairs() -> None:
    pairs = choose_pairs(np.array([0, 2, 5]), torch.zeros(6, 6), max_pairs=100)
    assert pairs.tolist() == [[0, 2], [0, 5], [2, 5]]
