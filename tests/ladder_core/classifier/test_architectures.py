"""Architectures users bring, saved in every way, against their eager models.

With fewer channels and layers; ``python -m benchmarks.zoo`` checks the same at full width and depth.
"""

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
from benchmarks.zoo.reduced import REDUCED
from ladder_core.classifier import load_classifier

from .zoo import uploader

CASES = [(name, way) for name, example in REDUCED.items() for way in example.ways]


@pytest.fixture(scope="module")
def upload(tmp_path_factory):
    """``upload(name, way)``: the eager model, the path of the saved file."""
    return uploader(REDUCED, tmp_path_factory.mktemp("architectures"))


def test_the_reduced_zoo_has_the_architectures_of_the_full_one():
    assert REDUCED.keys() == FULL.keys()
    assert all(REDUCED[name].ways == FULL[name].ways for name in FULL)


@pytest.mark.parametrize(("name", "way"), CASES)
def test_an_architecture_is_its_eager_model_however_it_was_saved(upload, name, way):
    """Output, gradients and three training steps."""
    example, (model, path) = REDUCED[name], upload(name, way)
    classifier = load_classifier(path)
    check_output(example, model, classifier, way)
    if way == "frozen":
        check_frozen_training(example, model, classifier)
    else:
        check_gradients(example, copy.deepcopy(model), classifier)
        check_training(example, model, classifier, way)


def test_architectures_trained_and_saved_load_with_torch_alone(upload, tmp_path):
    check_saved([(REDUCED[name], *upload(name, way), way) for name, way in CASES], tmp_path)
