"""A surrogate is as good as the original, began with nothing, and errs in its own way."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ladder_core.classifier import Classifier, load_classifier
from ladder_core.datasets import Dataset
from ladder_core.errors import StopRequested, TrainingError
from ladder_core.evaluation.surrogate import begin_surrogate, forget, train_surrogate
from ladder_core.records import About, load_record, save_record
from ladder_core.seeding import scoped_seed
from ladder_core.training_state import TrainingState
from ladder_schema.errors import ErrorCode
from ladder_schema.protocol import CheckpointName

CPU = torch.device("cpu")
STEPS = 200


def begin(
    original: Classifier, *, steps: int = STEPS, learning_rate: float = 0.05, seed: int = 0
) -> TrainingState:
    return begin_surrogate(original, steps=steps, learning_rate=learning_rate, seed=seed, device=CPU)


def train(
    training: TrainingState, digits: Dataset, on_step: Callable[[float], None] = lambda _: None
) -> nn.Module:
    with scoped_seed(0, "surrogate"):
        train_surrogate(training, digits.train, batch_size=64, seed=0, on_step=on_step)
    return training.module


def predictions(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(images).argmax(dim=1)


@pytest.fixture
def noisy(digits: Dataset) -> tuple[Tensor, Tensor]:
    """Test images so noisy that the original errs on a sixth of them."""
    images, labels = digits.test.batch(range(len(digits.test)))
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + 0.3 * noise).clamp(0, 1), labels


def test_forgetting_keeps_the_values_and_nothing_else(digits_classifier: Classifier, digits: Dataset) -> None:
    images, labels = digits.test.batch(range(len(digits.test)))
    model = digits_classifier.clone()

    forget(model, torch.Generator().manual_seed(0))

    for (name, before), (_, after) in zip(
        digits_classifier.named_parameters(), model.named_parameters(), strict=True
    ):
        assert torch.equal(before.flatten().sort().values, after.flatten().sort().values), name
        if before.dim() > 1:
            centred = [weight.flatten() - weight.mean() for weight in (before, after)]
            likeness = torch.cosine_similarity(*centred, dim=0).abs()
            assert likeness < 4 / before.numel() ** 0.5, name
    buffers = dict(model.named_buffers())
    assert buffers["1.running_mean"].eq(0).all()
    assert buffers["1.running_var"].eq(1).all()
    assert buffers["1.num_batches_tracked"] == 0
    assert (predictions(model, images) == labels).float().mean() < 0.3


def test_it_learns_what_the_original_knows(digits_classifier: Classifier, digits: Dataset) -> None:
    kept = {name: tensor.clone() for name, tensor in digits_classifier.state_dict().items()}
    images, labels = digits.test.batch(range(len(digits.test)))

    surrogate = train(begin(digits_classifier), digits)

    def accuracy(model: nn.Module) -> float:
        return float((predictions(model, images) == labels).float().mean())

    assert not surrogate.training
    assert accuracy(surrogate) > accuracy(digits_classifier) - 0.02
    assert all(torch.equal(tensor, kept[name]) for name, tensor in digits_classifier.state_dict().items())


def test_its_errors_are_its_own(
    digits_classifier: Classifier, digits: Dataset, noisy: tuple[Tensor, Tensor]
) -> None:
    """Where the original errs, it agrees no more than a network that never saw the original's weights does.

    A copy trained on by the same steps, which is no independent model, shares most of the errors.
    """
    images, labels = noisy
    copied, fresh = begin(digits_classifier), begin(digits_classifier)
    copied.module.load_state_dict(digits_classifier.state_dict())
    initialised = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10),
    )  # fmt: skip
    with scoped_seed(1, "initialisation"):
        for layer in initialised:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    fresh.module.load_state_dict(initialised.state_dict())
    answer = predictions(digits_classifier, images)
    wrong = answer != labels
    assert wrong.sum() > 50

    surrogate, copy, independent = (
        float((predictions(train(training, digits), images) == answer)[wrong].float().mean())
        for training in (begin(digits_classifier), copied, fresh)
    )

    assert surrogate < independent + 0.15
    assert surrogate < copy - 0.2


def test_another_seed_is_another_surrogate(digits_classifier: Classifier) -> None:
    weights = [next(begin(digits_classifier, seed=seed).module.parameters()) for seed in (0, 0, 1)]

    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("stop_after", [1, 20, 37])
def test_stopped_it_goes_on_to_the_same_end(
    stop_after: int, digits_classifier: Classifier, digits: Dataset, tmp_path: Path
) -> None:
    whole = train(begin(digits_classifier, steps=40), digits)
    stopped = begin(digits_classifier, steps=40)

    def stop(share: float) -> None:
        if stopped.done == stop_after:
            # As a run does it: kept between two steps, and then stopped.
            about = About(name=CheckpointName.RETRAIN, fingerprint="", built_on=(), complete=False, seconds=0)
            save_record(tmp_path / "state", about, stopped.record())
            raise StopRequested

    with pytest.raises(StopRequested):
        train(stopped, digits, stop)
    resumed = begin(digits_classifier, steps=40)
    with scoped_seed(0, "surrogate"):
        resumed.load(load_record(tmp_path / "state"))
        train_surrogate(resumed, digits.train, batch_size=64, seed=0, on_step=lambda _: None)

    for (name, expected), (_, found) in zip(
        whole.state_dict().items(), resumed.module.state_dict().items(), strict=True
    ):
        assert torch.equal(expected, found), name


def test_a_frozen_file_has_a_surrogate_too(
    digits_network: nn.Module, digits: Dataset, tmp_path: Path
) -> None:
    """Its norm layers are folded into its convolutions, and no scale is learned anew by itself."""
    frozen = torch.jit.freeze(torch.jit.script(digits_network))
    frozen.save(str(tmp_path / "frozen.pt"))
    original = load_classifier(tmp_path / "frozen.pt")
    images, labels = digits.test.batch(range(len(digits.test)))

    surrogate = train(begin(original), digits)

    assert (predictions(surrogate, images) == labels).float().mean() > 0.93


def test_progress_is_told_to_the_end(digits_classifier: Classifier, digits: Dataset) -> None:
    shares: list[float] = []
    train(begin(digits_classifier, steps=7), digits, shares.append)

    np.testing.assert_allclose(shares, np.arange(1, 8) / 7)


def test_a_training_that_diverges_says_so(digits_classifier: Classifier, digits: Dataset) -> None:
    with pytest.raises(TrainingError, match=r"evaluation\.surrogate_learning_rate") as raised:
        train(begin(digits_classifier, steps=30, learning_rate=1e30), digits)

    assert raised.value.code is ErrorCode.TRAINING_DIVERGED
