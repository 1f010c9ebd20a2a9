"""Every small model of the zoo, saved in every way, against the eager model it came from."""

import pytest

from benchmarks.zoo.checks import (
    check_frozen_training,
    check_gradients,
    check_output,
    check_saved,
    check_training,
)
from ladder_core.classifier import load_classifier

from .zoo import SMALL, uploader

CASES = [(name, way) for name, example in SMALL.items() for way in example.ways]
UNFROZEN = [case for case in CASES if case[1] != "frozen"]
FROZEN = [name for name, way in CASES if way == "frozen"]


@pytest.fixture(scope="session")
def upload(tmp_path_factory):
    """``upload(name, way)``: the eager model, the path of the saved file."""
    return uploader(SMALL, tmp_path_factory.mktemp("zoo"))


@pytest.mark.parametrize(("name", "way"), CASES)
def test_output_equals_eager(upload, name, way):
    model, path = upload(name, way)
    check_output(SMALL[name], model, load_classifier(path), way)


@pytest.mark.parametrize(("name", "way"), UNFROZEN)
def test_gradients_equal_eager(upload, name, way):
    model, path = upload(name, way)
    check_gradients(SMALL[name], model, load_classifier(path))


@pytest.mark.parametrize(("name", "way"), UNFROZEN)
def test_three_training_steps_equal_eager(upload, name, way):
    model, path = upload(name, way)
    check_training(SMALL[name], model, load_classifier(path), way)


@pytest.mark.parametrize("name", FROZEN)
def test_three_training_steps_of_a_frozen_file_equal_the_folded_network(upload, name):
    model, path = upload(name, "frozen")
    check_frozen_training(SMALL[name], model, load_classifier(path))


def test_saved_files_load_with_torch_alone(upload, tmp_path):
    check_saved([(SMALL[name], *upload(name, way), way) for name, way in CASES], tmp_path)
