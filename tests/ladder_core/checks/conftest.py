"""Digits with a model, and one that was trained against PGD for a moment."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from ladder_core.attacks import pgd_last_iterate
from ladder_core.datasets import Split
from ladder_schema.config import ThreatModel

THREAT = ThreatModel(epsilon=0.1)


@pytest.fixture(scope="session")
def splits(digits_arrays: dict[str, np.ndarray]) -> tuple[Split, Split]:
    """Training and test images."""
    return tuple(
        Split(digits_arrays[f"x_{part}"][:, None], digits_arrays[f"y_{part}"], np.arange(size), 1.0)
        for part, size in (("train", len(digits_arrays["y_train"])), ("test", len(digits_arrays["y_test"])))
    )


@pytest.fixture(scope="session")
def robust_network(digits_network: nn.Module, splits: tuple[Split, Split]) -> nn.Module:
    network = copy.deepcopy(digits_network)
    optimiser = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    stream = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(3):
            for _, images, labels in splits[0].batches(64):
                attacked = pgd_last_iterate(
                    network.eval(),
                    images,
                    labels,
                    epsilon=THREAT.epsilon,
                    steps=5,
                    step=0.35 * THREAT.epsilon,
                    generator=stream,
                )
                optimiser.zero_grad()
                logits = network.train()(torch.cat([images, attacked]))
                nn.functional.cross_entropy(logits, labels.repeat(2)).backward()
                optimiser.step()
    return network.eval()
