"""LADDER's own examples are judged in full precision, whatever the job around them computes in."""

import torch

from ladder_core.classifier import Classifier
from ladder_core.datasets import Dataset
from ladder_core.evaluation.ladder_attack import measure_ladder_attack
from ladder_core.perturb import Perturbation
from tests.ladder_core.evaluation.bench import clean_of, ledger, subjects


class Still:
    """An attacker that moves nothing, and notes the latents that it was given and makes."""

    targets = "random"

    def __init__(self, original: Classifier, shape: tuple[int, ...]) -> None:
        self.original, self.shape = original, shape
        self.seen: list[torch.Tensor] = []

    def head(self, latents: torch.Tensor) -> torch.Tensor:
        weight, bias = self.original.head_weight.detach(), self.original.head_bias.detach()
        self.seen.append(torch.addmm(bias, latents, weight.T))
        return self.seen[-1]

    def perturb(self, latents: torch.Tensor, labels: torch.Tensor, *_: object) -> Perturbation:
        self.seen.append(latents)
        every = torch.ones(len(latents), dtype=torch.bool)
        return Perturbation(latents, every, ~every, torch.ones(len(latents)), labels)

    def images(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(latents), *self.shape)


def test_latents_are_in_full_precision(digits_classifier: Classifier, digits: Dataset) -> None:
    images, labels = digits.test.batch(range(40))
    of = subjects(digits_classifier, digits_classifier, images, labels, classes=10)
    seen = []
    for lowered in (False, True):
        attacker, clean = Still(digits_classifier, images.shape[1:]), clean_of(of)
        with torch.autocast("cpu", torch.bfloat16, enabled=lowered):
            measure_ladder_attack(attacker, of, ledger(), of.choose(None), clean)
        seen.append(attacker.seen)
    for whole, lower in zip(*seen, strict=True):
        assert torch.equal(whole, lower)
