"""Architectures users bring, at full width and depth, saved in every way, against their eager models."""

import copy

import pytest

from benchmarks.zoo.checks import (
    check_frozen_training,
    check_gradients,
    check_output,
    check_saved,
    check_training,
)
from benchmarks.zoo.full import FULL
from ladder_core.classifier import load_classifier

from .zoo import export

# The others take minutes each on two cores; python -m benchmarks.zoo checks them all in the same way.
QUICK = ("resnet18", "squeezenet1_1")


@pytest.mark.parametrize("name", QUICK)
def test_an_architecture_is_its_eager_model_however_it_was_saved(tmp_path, name):
    """Output, gradients, three training steps, and the saved file where torch alone reads it."""
    example, cases = FULL[name], []
    for way in example.ways:
        model = example.model()
        path = export(model, example.images(seed=7), way, tmp_path / f"{way}.pt")
        check_output(example, model, load_classifier(path), way)
        if way == "frozen":
            check_frozen_training(example, copy.deepcopy(model), load_classifier(path))
        else:
            check_gradients(example, copy.deepcopy(model), load_classifier(path))
            check_training(example, copy.deepcopy(model), load_classifier(path), way)
        cases.append((example, model, path, way))
    saved = tmp_path / "saved"
    saved.mkdir()
    check_saved(cases, saved)
