"""The worst over attacks, image by image, and its parts."""

import numpy as np
import torch

from ladder_core.evaluation.worst_case import class_results, worst_case


def test_the_worst_case_is_over_the_images_all_attacks_ran_on() -> None:
    first = np.array([0, 2, 3, 5, 8]), torch.tensor([[1, 1], [1, 0], [0, 1], [1, 1], [0, 0]]).bool()
    second = np.array([2, 3, 4, 8, 9]), torch.tensor([[1, 1], [1, 1], [1, 1], [1, 1], [1, 1]]).bool()
    third = np.array([2, 3, 8]), torch.tensor([[0, 1], [1, 1], [1, 1]]).bool()
    positions, held = worst_case([first, second, third])
    assert positions.tolist() == [2, 3, 8]
    assert held.tolist() == [[False, False], [False, True], [False, False]]


def test_class_results_add_up_to_the_whole() -> None:
    labels = torch.tensor([0, 0, 1, 2, 2, 2])
    clean = torch.tensor([[1, 1], [0, 1], [1, 0], [1, 1], [1, 1], [0, 0]]).bool()
    found = class_results(clean, labels, clean[[0, 3, 4]], labels[[0, 3, 4]])
    assert [each.label for each in found] == [0, 2], "no image of class 1 was attacked"
    assert [(each.clean.total, each.worst_case.total) for each in found] == [(2, 1), (3, 2)]
    assert found[0].clean.only_after == 1
