"""Each objective against its formula written out, sample by sample, and where its gradients go."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ladder_core.attacks import LadderAttacker
from ladder_core.boundary import choose_pairs, fit_boundaries
from ladder_core.classifier import Classifier
from ladder_core.datasets import Dataset
from ladder_core.pool import pool_latents
from ladder_core.training import (
    LatentLadderSource,
    MovedLatents,
    Objective,
    Partners,
    Term,
    most_divergent,
)
from ladder_core.training.objectives import divergence
from ladder_schema.config import BoundaryConfig


class Scaled:
    """Images made darker; every n-th one is not valid."""

    def __init__(self, factor: float, n: int) -> None:
        self._factor, self._n = factor, n

    def begin_block(self, positions: np.ndarray, number: int) -> None:
        pass

    def partners(self, model: nn.Module, images: Tensor, labels: Tensor, offset: int) -> Partners:
        return Partners(images * self._factor, torch.arange(len(images)) % self._n != 0)


class Shifted:
    """Latents moved by a constant."""

    def begin_block(self, positions: np.ndarray, number: int) -> None:
        pass

    def moved(self, model: nn.Module, latents: Tensor, labels: Tensor, offset: int) -> MovedLatents:
        return MovedLatents(latents + 0.5, torch.ones(len(latents), dtype=torch.bool))


def log_p(model: Classifier, images: Tensor) -> Tensor:
    return model(images).log_softmax(dim=1)


def test_trades_and_ladder_together_are_their_formula(digits_classifier: Classifier, digits: Dataset) -> None:
    model = digits_classifier
    images, labels = digits.train.batch(range(20))
    objective = Objective(
        [
            Term("clean", 0.7),
            Term("divergence", 6.0, Scaled(0.6, 4), loss="kl"),
            Term("ladder", 0.3, Scaled(0.3, 3)),
            Term("latent", 0.2, Shifted()),
        ]
    )
    loss, terms = objective(model, images, labels, 0)

    clean, attacked, made = (log_p(model, images * factor) for factor in (1, 0.6, 0.3))
    moved = model.head(model.features(images) + 0.5).log_softmax(dim=1)
    kl = [
        sum(clean[i, k].exp() * (clean[i, k] - attacked[i, k]) for k in range(10)) for i in range(20) if i % 4
    ]
    ladder = [-made[i, labels[i]] for i in range(20) if i % 3]
    expected = [
        -sum(clean[i, labels[i]] for i in range(20)) / 20,
        sum(kl) / len(kl),
        sum(ladder) / len(ladder),
        -sum(moved[i, labels[i]] for i in range(20)) / 20,
    ]
    assert terms.tolist() == pytest.approx([float(value) for value in expected], rel=1e-4)
    weighted = 0.7 * expected[0] + 6 * expected[1] + 0.3 * expected[2] + 0.2 * expected[3]
    assert loss.item() == pytest.approx(weighted.item(), rel=1e-4)
    parameters = list(model.parameters())
    for ours, plain in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(weighted, parameters), strict=True
    ):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-5)


def test_label_smoothing_is_torchs_on_every_cross_entropy(digits_classifier, digits) -> None:
    images, labels = digits.train.batch(range(12))
    objective = Objective([Term("clean", 1.0)], label_smoothing=0.1)
    expected = nn.CrossEntropyLoss(label_smoothing=0.1)(digits_classifier(images), labels)
    torch.testing.assert_close(objective(digits_classifier, images, labels, 0)[0], expected)


def test_a_term_without_valid_examples_is_nothing(digits_classifier, digits) -> None:
    images, labels = digits.train.batch(range(6))
    objective = Objective([Term("clean", 0.0), Term("adversarial", 1.0, Scaled(0.5, 1))])
    loss, _ = objective(digits_classifier, images, labels, 0)
    assert loss.item() == 0
    assert all(not g.any() for g in torch.autograd.grad(loss, list(digits_classifier.parameters())))


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 0.8)])
def test_trades_examples_diverge_and_stay_in_the_ball(norm, epsilon, digits_classifier, digits) -> None:
    images, _ = digits.train.batch(range(50))

    def attacked(steps: int) -> Tensor:
        stream = torch.Generator().manual_seed(0)
        return most_divergent(
            digits_classifier,
            images,
            epsilon=epsilon,
            steps=steps,
            step=epsilon / 3,
            generator=stream,
            norm=norm,
        )

    found = attacked(8)
    moved = (found - images).flatten(1)
    length = moved.abs().amax(dim=1) if norm == "linf" else moved.norm(dim=1)
    assert length.max() <= epsilon + 1e-5
    assert found.min() >= 0
    assert found.max() <= 1
    clean = digits_classifier(images).detach()
    few, many = (divergence(clean, digits_classifier(attacked(n)).detach()).mean() for n in (1, 8))
    assert many > few > 0


@pytest.fixture
def attacker(digits_classifier: Classifier, digits: Dataset) -> LadderAttacker:
    images, labels = digits.train.batch(range(400))
    latents = digits_classifier.features(images).detach()
    boundaries = fit_boundaries(
        pool_latents(latents, labels, 10),
        choose_pairs(np.arange(10), torch.zeros(10, 10), 100),
        BoundaryConfig(steps=20),
        seed=0,
    )
    head = digits_classifier.head_weight.detach().clone(), digits_classifier.head_bias.detach().clone()
    return LadderAttacker(boundaries, nn.Identity(), *head, "random")


def test_latent_training_follows_the_present_head(attacker, digits_classifier, digits) -> None:
    """At rho = 1 the present head is undecided, also after it was changed."""
    model = digits_classifier.clone()
    with torch.no_grad():
        model.head_weight.mul_(3.0)
        model.head_bias.sub_(0.1)
    images, labels = digits.train.batch(range(100))
    source = LatentLadderSource(attacker, (1.0, 1.0), seed=0)
    source.begin_block(np.arange(100), 0)
    latents = model.features(images)
    moved = source.moved(model, latents, labels, 0)
    logits = model.head(moved.latents)[moved.valid]
    own = logits.gather(1, labels[moved.valid][:, None]).squeeze(1)
    others = logits.scatter(1, labels[moved.valid][:, None], -torch.inf)
    closest = (others - own[:, None]).abs().amin(dim=1)
    assert moved.valid.sum() > 50
    assert closest.max() < 1e-2 * logits.abs().max()


def test_latent_training_moves_the_features_and_the_head(attacker, digits_classifier, digits) -> None:
    model = digits_classifier
    images, labels = digits.train.batch(range(30))
    source = LatentLadderSource(attacker, (0.5, 1.5), seed=0)
    source.begin_block(np.arange(30), 0)
    objective = Objective([Term("clean", 0.0), Term("latent", 1.0, source)])
    loss, _ = objective(model, images, labels, 0)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    again, _ = objective(model, images, labels, 0)
    assert again.item() == loss.item(), "the same block draws the same steps"
