"""FGSM against the linear models' closed form."""

import pytest
import torch

from ladder_core.attacks import fgsm
from tests.ladder_core.attacks.oracles import case


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("epsilon", [0.01, 0.05, 0.2])
def test_fgsm_breaks_exactly_what_can_be_broken(seed: int, epsilon: float) -> None:
    model, images, labels, margins = case(seed)
    reach = epsilon * model.weight.abs().sum()
    clear = (margins - reach).abs() > 1e-5
    result = fgsm(model, images, labels, epsilon=epsilon)
    assert torch.equal(result.success[clear], (margins < reach)[clear])
