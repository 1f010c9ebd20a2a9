"""A trade-off measured on real classifiers that differ in one setting, in one go and with interruptions."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from ladder_core.classifier import Classifier
from ladder_core.datasets import Split
from ladder_core.errors import ConfigError, StopRequested
from ladder_core.evaluation.trade_off import measure_trade_off
from ladder_core.pipeline import run_pipeline
from ladder_schema.config import resolve_config
from ladder_schema.errors import ErrorCode
from ladder_schema.report import Accuracy, TradeOff, TradeOffPoint

VALUES = (0.5, 0.0, 0.2)


def damaged(original: Classifier, share: float) -> Classifier:
    """The model with that share of noise in its weights: the more, the worse it is."""
    model = original.clone()
    stream = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(share * weight.std(correction=0) * torch.randn(weight.shape, generator=stream))
    return model


def accuracy(model: nn.Module, split: Split, noise: float) -> Accuracy:
    images, labels = split.batch(range(len(split)))
    images += noise * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        right = model(images).argmax(dim=1) == labels
    return Accuracy(correct=int(right.sum()), total=len(split))


@pytest.fixture
def measured(digits_classifier: Classifier, digits) -> Callable[..., TradeOff]:
    def measure(known=(), on_point=lambda point: None, values=VALUES) -> TradeOff:
        return measure_trade_off(
            "epsilon",
            values,
            lambda value: damaged(digits_classifier, value),
            lambda model: (accuracy(model, digits.test, 0.0), accuracy(model, digits.test, 0.3)),
            attack="pgd",
            known=known,
            on_point=on_point,
        )

    return measure


def test_each_value_has_its_own_model(measured, digits_classifier: Classifier, digits) -> None:
    found = measured()

    assert [point.value for point in found.points] == sorted(VALUES)
    for point in found.points:
        assert point.clean == accuracy(damaged(digits_classifier, point.value), digits.test, 0.0)
    assert found.points[0].clean.rate > found.points[-1].clean.rate
    assert all(point.robust.rate < point.clean.rate for point in found.points)


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_stopped_anywhere_it_goes_on_to_the_same_end(stop_after: int, measured) -> None:
    kept: list[TradeOffPoint] = []

    def stop(point: TradeOffPoint) -> None:
        kept.append(point)
        if len(kept) == stop_after:
            raise StopRequested

    with pytest.raises(StopRequested):
        measured(on_point=stop)
    later: list[TradeOffPoint] = []
    resumed = measured(kept, later.append)

    assert resumed == measured()
    assert [point.value for point in kept + later] == sorted(VALUES)


def test_known_points_of_other_values_do_not_show(measured) -> None:
    whole = measured()

    assert measured(whole.points, values=(0.2,)).points == whole.points[1:2]


@pytest.mark.parametrize("values", [(), (0.5, 0.2, 0.5)])
def test_values_that_make_no_curve_are_refused(values: tuple[float, ...], measured) -> None:
    with pytest.raises(ValueError, match="each once"):
        measured(values=values)


def test_more_examples_than_training_images_are_refused_with_a_remedy(
    digits_model: Path, digits_npz: Path, tmp_path: Path
) -> None:
    config = resolve_config({"evaluation": {"trade_off_examples": [100, 4_000, 5_000]}})
    with pytest.raises(ConfigError, match=r"holds 4000, 5000, but .* give at most \d+") as raised:
        run_pipeline(digits_model, digits_npz, tmp_path, config, device="cpu", on_progress=lambda *_: True)
    assert raised.value.code is ErrorCode.CONFIG_UNSUITABLE
