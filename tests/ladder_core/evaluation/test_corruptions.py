"""Both models under every corruption, in one go and with interruptions."""

import numpy as np
import pytest
import torch

from ladder_core.attacks.streams import SampleStreams
from ladder_core.classifier import Classifier
from ladder_core.corruptions import SEVERITIES, corrupt, suitable
from ladder_core.counting import PairedTally
from ladder_core.datasets import Dataset, Split
from ladder_core.errors import StopRequested
from ladder_core.evaluation.corruptions import evaluate_corruption, evaluate_corruptions
from ladder_core.seeding import torch_stream
from ladder_schema.report import CorruptionResult

CPU = torch.device("cpu")


@pytest.fixture
def split(digits: Dataset) -> Split:
    return digits.test.subset(np.arange(50))


@pytest.fixture
def weakened(digits_classifier: Classifier) -> Classifier:
    """A model that differs: half the last layer's weights of two classes are gone."""
    model = digits_classifier.clone()
    with torch.no_grad():
        list(model.parameters())[-2][:2, ::2] = 0
    return model


def evaluate(
    original: Classifier, hardened: Classifier, split: Split, **changes: object
) -> tuple[CorruptionResult, ...]:
    arguments = {"batch_size": 50, "seed": 3, "device": CPU, "known": ()}
    callbacks = {"on_result": lambda _: None, "on_step": lambda _: None}
    return evaluate_corruptions(original, hardened, split, **{**arguments, **callbacks, **changes})


@pytest.fixture
def results(
    digits_classifier: Classifier, weakened: Classifier, split: Split
) -> tuple[CorruptionResult, ...]:
    return evaluate(digits_classifier, weakened, split)


def test_every_corruption_is_measured_at_every_severity(
    results: tuple[CorruptionResult, ...], digits_classifier: Classifier, weakened: Classifier, split: Split
) -> None:
    keys = [(name, severity) for name in suitable(1) for severity in SEVERITIES]
    assert [(result.corruption, result.severity) for result in results] == keys
    images, labels = split.batch(range(50))
    for result in results:
        stream = torch_stream(3, f"corrupt-{result.corruption}", result.severity)
        seen = corrupt(images, result.corruption, result.severity, SampleStreams.begin(stream, 50, CPU))
        with torch.no_grad():
            before, after = (m(seen).argmax(dim=1) == labels for m in (digits_classifier, weakened))
        tally = PairedTally(CPU)
        tally.add(before, after)
        assert result.outcome == tally.paired()
    assert any(result.outcome.only_before for result in results)


def test_the_batch_size_does_not_matter(
    results: tuple[CorruptionResult, ...], digits_classifier: Classifier, weakened: Classifier, split: Split
) -> None:
    assert evaluate(digits_classifier, weakened, split, batch_size=17) == results


def test_a_clean_model_loses_most_at_the_worst(
    results: tuple[CorruptionResult, ...], digits_classifier: Classifier, split: Split
) -> None:
    images, labels = split.batch(range(50))
    with torch.no_grad():
        clean = int((digits_classifier(images).argmax(dim=1) == labels).sum())
    worst = min(result.outcome.before.correct for result in results)
    assert worst < clean - 5


def test_stopped_it_goes_on_to_the_same_end(
    results: tuple[CorruptionResult, ...], digits_classifier: Classifier, weakened: Classifier, split: Split
) -> None:
    kept: list[CorruptionResult] = []

    def stop(result: CorruptionResult) -> None:
        kept.append(result)
        if len(kept) == 23:
            raise StopRequested

    with pytest.raises(StopRequested):
        evaluate(digits_classifier, weakened, split, on_result=stop)
    later: list[CorruptionResult] = []
    shares: list[float] = []
    resumed = evaluate(
        digits_classifier, weakened, split, known=kept, on_result=later.append, on_step=shares.append
    )

    assert resumed == results
    assert (*kept, *later) == results
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (pytest.approx(24 / 55), 1.0)


def test_one_of_them_can_be_had_alone(
    results: tuple[CorruptionResult, ...], digits_classifier: Classifier, weakened: Classifier, split: Split
) -> None:
    found = evaluate_corruption(
        "fog", 5, digits_classifier, weakened, split,
        batch_size=20, seed=3, device=CPU, on_step=lambda _: None,
    )  # fmt: skip

    assert found in results
    assert (found.corruption, found.severity) == ("fog", 5)


def test_an_answer_that_is_no_number_is_no_class(split: Split) -> None:
    class Broken(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images), 10), torch.nan)

    zeros = Split(split.batch(range(20))[0].numpy(), np.zeros(20, dtype=np.int64), np.arange(20), 1.0)
    found = evaluate_corruption(
        "fog", 1, Broken(), Broken(), zeros, batch_size=20, seed=3, device=CPU, on_step=lambda _: None
    )

    assert found.outcome.neither == 20, "argmax of nothing but NaN is 0, the label of all of them"
