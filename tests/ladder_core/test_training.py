"""Eq. 6 against a plain loop, and the sources of its examples."""

import numpy as np
import pytest
import torch
from torch import nn

from ladder_core.attacks import LadderAttacker
from ladder_core.boundary import choose_pairs, fit_boundaries
from ladder_core.classifier import Classifier
from ladder_core.datasets import Dataset
from ladder_core.errors import StopRequested, TrainingError
from ladder_core.generators import (
    ConvGenerator,
    MlpGenerator,
    begin_generator_training,
    build_generator,
    train_generator,
)
from ladder_core.generators.quality import measure_fidelity
from ladder_core.latents import Latents, compute_latents
from ladder_core.pool import pool_latents
from ladder_core.seeding import numpy_stream
from ladder_core.training import (
    LadderSource,
    Partners,
    PgdSource,
    StoredSource,
    begin_retraining,
    move_once,
    retrain,
)
from ladder_schema.config import BoundaryConfig, GeneratorConfig, PgdConfig, RetrainingConfig, ThreatModel
from ladder_schema.errors import ErrorCode

CPU = torch.device("cpu")


@pytest.fixture
def latents(digits_classifier: Classifier, digits: Dataset, tmp_path) -> Latents:
    return compute_latents(
        digits_classifier, digits.train, tmp_path / "z.npy",
        classes=10, batch_size=100, device=CPU, on_step=lambda _: None,
    )  # fmt: skip


@pytest.fixture
def attacker(digits_classifier: Classifier, digits: Dataset, latents: Latents) -> LadderAttacker:
    labels = digits.train.targets()
    boundaries = fit_boundaries(
        pool_latents(latents.batch(range(400), CPU), torch.from_numpy(labels[:400]), 10),
        choose_pairs(np.arange(10), latents.confusion, 100),
        BoundaryConfig(steps=5),
        seed=0,
    )
    torch.manual_seed(0)
    generator = build_generator("auto", latents.dimension, digits.train.image_shape)
    config = GeneratorConfig(steps=60)
    training = begin_generator_training(generator, config, CPU)
    train_generator(training, latents, digits.train, config, seed=0, on_step=lambda _: None)
    weight, bias = digits_classifier.head_weight, digits_classifier.head_bias
    return LadderAttacker(boundaries, generator, weight.detach().clone(), bias.detach().clone(), "random")


class Shifted:
    """A source whose examples are known: darker images, every third one not valid."""

    def begin_block(self, positions: np.ndarray, number: int) -> None:
        pass

    def partners(self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor, offset: int) -> Partners:
        return Partners(images * 0.5, torch.arange(len(images)) % 3 != 0)


def test_latents_are_what_the_head_turns_into_the_models_answer(digits_classifier, digits, latents) -> None:
    images, _ = digits.train.batch(range(50))
    z = latents.batch(range(50), CPU)
    torch.testing.assert_close(digits_classifier.head(z), digits_classifier(images), rtol=1e-4, atol=1e-4)
    assert latents.confusion.sum(dim=1).tolist() == pytest.approx([1.0] * 10, rel=1e-4)
    assert (latents.confusion.argmax(dim=1) == torch.arange(10)).all()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_retraining_is_equation_6(alpha: float, digits_classifier: Classifier, digits: Dataset) -> None:
    """The same epoch by a plain loop over the formula, sample losses written out."""
    split = digits.train.subset(np.arange(150))
    config = RetrainingConfig(
        alpha=alpha, epochs=2, batch_size=50, learning_rate=0.02, momentum=0.5, weight_decay=0.0,
        schedule="constant",
    )  # fmt: skip
    ours, plain = digits_classifier.clone(), digits_classifier.clone()
    torch.manual_seed(1)
    training = begin_retraining(ours, config, len(split), CPU)
    retrain(training, split, Shifted(), config, seed=0, on_step=lambda *_: None)

    torch.manual_seed(1)
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.02, momentum=0.5)
    plain.train()
    for epoch in range(2):
        for positions in np.split(numpy_stream(0, "retrain", epoch).permutation(150), 3):
            images, labels = split.batch(positions)
            log_p = plain(torch.cat([images, images * 0.5])).log_softmax(dim=1)
            clean = [-log_p[i, labels[i]] for i in range(50)]
            adversarial = [-log_p[50 + i, labels[i]] for i in range(50) if i % 3 != 0]
            loss = alpha * sum(clean) / 50 + (1 - alpha) * sum(adversarial) / len(adversarial)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    for (name, a), (_, b) in zip(ours.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)


def test_fresh_examples_change_and_fixed_ones_stay(attacker, digits, latents) -> None:
    labels = digits.train.targets()
    arguments = (attacker, latents, labels, (0.5, 1.5), 0, CPU)

    def images_twice(source: LadderSource) -> list[torch.Tensor]:
        result = []
        for number in range(2):
            source.begin_block(np.arange(10, 40), number)
            images, classes = digits.train.batch(range(10, 40))
            result.append(source.partners(nn.Identity(), images, classes, 0).images)
        return result

    first, again = images_twice(LadderSource.fresh(*arguments))
    assert not torch.equal(first, again)
    first, again = images_twice(LadderSource.fixed(attacker, move_once(*arguments), CPU))
    assert torch.equal(first, again)


def test_partners_belong_to_their_own_images(attacker, digits, latents) -> None:
    """With next to no step, the partner of an image is its own reconstruction, wherever the batch starts."""
    labels = digits.train.targets()
    source = LadderSource.fresh(attacker, latents, labels, (1e-6, 1e-6), 0, CPU)
    block = np.random.default_rng(0).permutation(len(labels))[:64]
    source.begin_block(block, 0)
    images, classes = digits.train.batch(block[20:50])
    partners = source.partners(nn.Identity(), images, classes, 20)
    expected = attacker.images(latents.batch(block[20:50], CPU))
    torch.testing.assert_close(partners.images, expected, rtol=1e-3, atol=1e-4)


def test_pgd_partners_leave_the_model_in_training_mode(digits_classifier, digits) -> None:
    model = digits_classifier.clone().train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    images, labels = digits.train.batch(range(16))
    partners = PgdSource(PgdConfig(), ThreatModel(epsilon=0.1), seed=0).partners(model, images, labels, 0)
    assert model.training
    assert partners.valid.all()
    assert (partners.images - images).abs().max() <= 0.1 + 1e-6
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_stored_partners_are_what_was_made(digits, tmp_path) -> None:
    split = digits.train.subset(np.arange(50, 90))
    source = StoredSource.make(
        tmp_path / "e.npy",
        lambda images, labels: images * 0.5 + labels[:, None, None, None] / 100,
        split,
        batch_size=16,
        device=CPU,
        on_step=lambda _: None,
    )
    block = np.random.default_rng(0).permutation(40)
    source.begin_block(block, 0)
    images, labels = split.batch(block[10:25])
    partners = source.partners(nn.Identity(), images, labels, 10)
    torch.testing.assert_close(partners.images, images * 0.5 + labels[:, None, None, None] / 100)


@pytest.mark.parametrize("batch_size", [2, 7, 64, 5_000])
def test_every_sample_is_seen_once_an_epoch(batch_size: int, digits_classifier, digits, monkeypatch) -> None:
    monkeypatch.setattr("ladder_core.training.retraining.BLOCK_SIZE", 30)
    split = digits.train.subset(np.arange(97))
    seen: list[int] = []

    class Watching(Shifted):
        def begin_block(self, positions: np.ndarray, number: int) -> None:
            self.block = positions

        def partners(self, model, images, labels, offset) -> Partners:
            rows = self.block[offset : offset + len(images)]
            assert len(images) <= batch_size
            assert split.labels[split.indices[rows]].tolist() == labels.tolist()
            seen.extend(rows.tolist())
            return super().partners(model, images, labels, offset)

    steps: list[float] = []
    config = RetrainingConfig(batch_size=batch_size, epochs=1)
    training = begin_retraining(digits_classifier, config, len(split), CPU)
    retrain(training, split, Watching(), config, seed=0, on_step=lambda done, _: steps.append(done))
    assert sorted(seen) == list(range(97))
    assert steps[-1] == 1.0
    assert len(steps) == -(-97 // batch_size)


def test_divergence_is_an_error_that_names_the_learning_rate(digits_classifier, digits) -> None:
    for parameter in digits_classifier.parameters():
        parameter.data *= 1e18
    config = RetrainingConfig(learning_rate=10.0)
    training = begin_retraining(digits_classifier, config, len(digits.train), CPU)
    with pytest.raises(TrainingError, match=r"retraining\.learning_rate") as raised:
        retrain(training, digits.train, Shifted(), config, seed=0, on_step=lambda *_: None)
    assert raised.value.code is ErrorCode.TRAINING_DIVERGED


def test_a_stop_request_ends_training_at_once(digits_classifier, digits) -> None:
    steps = 0

    def stop(done: float, _: str) -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise StopRequested

    config = RetrainingConfig()
    training = begin_retraining(digits_classifier, config, len(digits.train), CPU)
    with pytest.raises(StopRequested):
        retrain(training, digits.train, Shifted(), config, seed=0, on_step=stop)
    assert steps == training.done == 3


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 33, 50), (3, 3, 3), (3, 224, 224)]
)
@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_generators_make_images_of_any_size(architecture, shape: tuple[int, int, int]) -> None:
    if architecture == "mlp" and np.prod(shape) > 10_000:
        shape = (3, 50, 50)
    generator = build_generator(architecture, 12, shape).eval()
    images = generator(torch.randn(2, 12))
    assert images.shape == (2, *shape)
    assert images.min() >= 0
    assert images.max() <= 1


def test_auto_takes_the_perceptron_for_small_images_only() -> None:
    assert isinstance(build_generator("auto", 8, (3, 32, 32)), MlpGenerator)
    assert isinstance(build_generator("auto", 8, (3, 64, 64)), ConvGenerator)


def test_the_generator_learns_to_reconstruct(digits_classifier, digits, attacker) -> None:
    images, _ = digits.train.batch(range(len(digits.train)))
    of_the_mean = (images - images.mean(dim=0)).square().mean().item()
    fidelity = measure_fidelity(
        attacker.generator,
        digits_classifier,
        digits.test,
        batch_size=100,
        device=CPU,
        on_step=lambda _: None,
    )
    assert fidelity.mse < 0.6 * of_the_mean
    assert fidelity.accuracy.total == len(digits.test)
    assert fidelity.accuracy.rate > 0.8
