"""The worst over attacks, image by image, and its parts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ladder_core.evaluation import bind
from ladder_core.evaluation.evaluate import _Attacked
from ladder_core.evaluation.white_box import Verdicts, measure_attack
from ladder_core.evaluation.worst_case import class_results, worst_case
from tests.ladder_core.attacks.oracles import Linear, case
from tests.ladder_core.evaluation.bench import clean_of, ledger, subjects


def test_the_worst_case_is_over_the_images_all_attacks_ran_on() -> None:
    first = np.array([0, 2, 3, 5, 8]), torch.tensor([[1, 1], [1, 0], [0, 1], [1, 1], [0, 0]]).bool()
    second = np.array([2, 3, 4, 8, 9]), torch.tensor([[1, 1], [1, 1], [1, 1], [1, 1], [1, 1]]).bool()
    third = np.array([2, 3, 8]), torch.tensor([[0, 1], [1, 1], [1, 1]]).bool()
    positions, held = worst_case([first, second, third])
    assert positions.tolist() == [2, 3, 8]
    assert held.tolist() == [[False, False], [False, True], [False, False]]


def test_an_attack_elsewhere_breaks_images_and_costs_none() -> None:
    first = np.array([0, 2, 3]), torch.tensor([[1, 1], [1, 0], [1, 1]]).bool()
    fewer = np.array([2, 5]), torch.tensor([[0, 1], [0, 0]]).bool()
    positions, held = worst_case([first], [fewer])
    assert positions.tolist() == [0, 2, 3]
    assert held.tolist() == [[True, True], [False, False], [True, True]]
    assert first[1].tolist() == [[True, True], [True, False], [True, True]], "verdicts are left as they were"


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdicts]:
    """FGSM of a 30th of the radius, which breaks next to nothing, beside DeepFool, which has no radius."""
    model, images, labels, _ = case(5, 60)
    of = subjects(model, Linear(3), images, labels, epsilon=0.02, norm="l2", costly_samples=40)
    weak = bind("fgsm", of.threat_model.model_copy(update={"epsilon": 0.02 / 30}), of.config)
    found = {"fgsm": measure_attack(weak, of, ledger(), of.choose(None), clean_of(of))}
    deepfool = bind("deepfool", of.threat_model, of.config)
    found["deepfool"] = measure_attack(deepfool, of, ledger(), of.choose(40), clean_of(of))
    return found


def test_an_unbounded_attacks_examples_within_the_radius_count(verdicts: dict[str, Verdicts]) -> None:
    fgsm, minimal = verdicts["fgsm"], verdicts["deepfool"]
    positions, held = _Attacked((fgsm, minimal), None).worst_case(enough=60)
    expected = fgsm.held_within.clone()
    expected[np.isin(fgsm.positions, minimal.positions)] &= minimal.held_within
    assert positions.tolist() == list(range(60)), "that it ran on 40 costs the others no image"
    assert torch.equal(held, expected)
    lost = (fgsm.held_within & ~held).sum(dim=0)
    assert lost[0] >= 5
    assert held[:, 0].any()


@pytest.mark.parametrize(("enough", "images"), [(41, 60), (40, 40)])
def test_a_bounded_attack_on_enough_images_decides_on_which(
    enough: int, images: int, verdicts: dict[str, Verdicts]
) -> None:
    fgsm, some = verdicts["fgsm"], verdicts["deepfool"]
    bounded = replace(some, attack=replace(some.attack, is_bounded=True))
    positions, held = _Attacked((fgsm, bounded), None).worst_case(enough)
    assert len(positions) == len(held) == images


def test_class_results_add_up_to_the_whole() -> None:
    labels = torch.tensor([0, 0, 1, 2, 2, 2])
    clean = torch.tensor([[1, 1], [0, 1], [1, 0], [1, 1], [1, 1], [0, 0]]).bool()
    found = class_results(clean, labels, clean[[0, 3, 4]], labels[[0, 3, 4]])
    assert [each.label for each in found] == [0, 2], "no image of class 1 was attacked"
    assert [(each.clean.total, each.worst_case.total) for each in found] == [(2, 1), (3, 2)]
    assert found[0].clean.only_after == 1
