"""The expected calibration error against its definition, written out sample by sample."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ladder_core.classifier import Classifier
from ladder_core.datasets import Dataset
from ladder_core.errors import StopRequested
from ladder_core.evaluation.calibration import BINS, CalibrationTally, calibration

CPU = torch.device("cpu")


def reference(logits: np.ndarray, labels: np.ndarray) -> float:
    """Guo et al., Eq. 3: sum over bins of |B_m| / n * |acc(B_m) - conf(B_m)|."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    error = 0.0
    for m in range(BINS):
        inside = (confidence > m / BINS) & (confidence <= (m + 1) / BINS)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


def tallied(logits: np.ndarray, labels: np.ndarray, batch: int) -> CalibrationTally:
    tally = CalibrationTally(CPU)
    for begin in range(0, len(logits), batch):
        part = slice(begin, begin + batch)
        tally.add(torch.from_numpy(logits[part]), torch.from_numpy(labels[part]))
    return tally


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(2, 12), st.floats(0.05, 20.0))
def test_the_error_is_its_definition(seed: int, samples: int, classes: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=scale, size=(samples, classes))
    labels = rng.integers(classes, size=samples)

    found = tallied(logits, labels, 64).calibration()

    assert found.ece == pytest.approx(reference(logits, labels), abs=1e-12)
    assert sum(b.total for b in found.bins) == samples
    assert sum(b.correct for b in found.bins) == (logits.argmax(axis=1) == labels).sum()


def test_a_bin_holds_its_upper_edge() -> None:
    """Probabilities of exactly 3/5, 4/5 and 1: the upper edges of bins 8, 11 and 14."""
    logits = np.log(np.array([[0.6, 0.4], [0.8, 0.2], [1.0, 1e-300]]))

    found = tallied(logits, np.array([0, 1, 0]), 3).calibration()

    assert [m for m, b in enumerate(found.bins) if b.total] == [8, 11, 14]
    assert found.ece == pytest.approx((0.4 + 0.8 + 0.0) / 3)


def test_logits_that_are_no_numbers_are_wrong_with_full_confidence() -> None:
    logits = np.array([[np.nan, 0.0], [np.inf, 0.0], [50.0, 0.0]])

    found = tallied(logits, np.array([0, 0, 0]), 3).calibration()

    assert (found.bins[-1].total, found.bins[-1].correct) == (3, 1)
    assert found.ece == pytest.approx(2 / 3)


def test_a_model_is_measured_on_the_whole_split(digits_classifier: Classifier, digits: Dataset) -> None:
    images, labels = digits.test.batch(range(len(digits.test)))
    with torch.no_grad():
        logits = digits_classifier(images).double().numpy()
    shares: list[float] = []

    found = calibration(digits_classifier, digits.test, batch_size=97, device=CPU, on_step=shares.append)

    assert found.ece == pytest.approx(reference(logits, labels.numpy()), abs=1e-6)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_ten_times_the_logits_is_overconfident(digits_classifier: Classifier, digits: Dataset) -> None:
    """Temperature scaling run backwards: the same predictions, made with a confidence they do not deserve."""

    class Sharpened(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return 10 * digits_classifier(images + 0.3 * torch.sin(1e4 * images))

    class Plain(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return digits_classifier(images + 0.3 * torch.sin(1e4 * images))

    arguments = {"batch_size": 200, "device": CPU, "on_step": lambda _: None}
    plain, sharpened = (calibration(m, digits.test, **arguments) for m in (Plain(), Sharpened()))

    assert sum(b.correct for b in plain.bins) == sum(b.correct for b in sharpened.bins)
    assert sharpened.ece > plain.ece


def test_a_stop_is_passed_on(digits_classifier: Classifier, digits: Dataset) -> None:
    def stop(share: float) -> None:
        raise StopRequested

    with pytest.raises(StopRequested):
        calibration(digits_classifier, digits.test, batch_size=50, device=CPU, on_step=stop)


def test_nothing_counted_is_no_calibration() -> None:
    with pytest.raises(ValueError, match="no sample"):
        CalibrationTally(CPU).calibration()
