"""AutoAttack and its components beside the official code (``pyautoattack``): verdicts, calls, CPU time.

Each case is a network, a norm and a radius; each attack runs once a seed on either side, in turns. A sample
on which the two disagree is tried again with further seeds: a flip at the edge is broken by some seeds of
both sides, a fault by all of the one and none of the other.
"""

import contextlib
import io
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn

from ladder_core.attacks import Norm, apgd, apgd_targeted, autoattack, fab_targeted, square

EXTRA_SEEDS = (10, 11, 12, 13)


@dataclass(frozen=True)
class Case:
    """What is attacked by what.

    Attributes:
        attack: "standard" for the whole, or a component.
        network: By its recipe's name.
        norm: Of the ball.
        epsilon: Its radius, in pixels.
        samples: The first so many test images.
    """

    attack: str
    network: str
    norm: Norm
    epsilon: float
    samples: int

    def __str__(self) -> str:
        return f"{self.attack} {self.network} {self.norm} {self.epsilon:.4f} n={self.samples}"


@dataclass
class Side:
    """One side's runs: CPU seconds, images the model saw, and the rows it broke, a seed."""

    seconds: list[float] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    broken: list[list[int]] = field(default_factory=list)


@dataclass
class Outcome:
    """A case's runs.

    Attributes:
        ours: Of this project.
        official: Of pyautoattack.
        disagreements: By row: how many of all seeds tried broke it, "ours a of b, official c of d".
    """

    ours: Side = field(default_factory=Side)
    official: Side = field(default_factory=Side)
    disagreements: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict[str, dict]) -> "Outcome":
        return cls(Side(**kept["ours"]), Side(**kept["official"]), kept["disagreements"])


class Counted(nn.Module):
    """The model, and how many images it was asked about."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.images = model, 0

    def forward(self, images: Tensor) -> Tensor:
        self.images += len(images)
        logits: Tensor = self.model(images)
        return logits


def compare(case: Case, model: nn.Module, images: Tensor, labels: Tensor, seeds: list[int]) -> Outcome:
    """Run both sides, a seed at a time, and look into what they disagree on in the median of the seeds."""
    images, labels = images[: case.samples], labels[: case.samples]
    outcome = Outcome()
    for seed in seeds:
        for side, attack in ((outcome.official, official), (outcome.ours, ours)):
            counted, start = Counted(model), time.process_time()
            adversarial = attack(case, counted, images, labels, seed)
            side.seconds.append(time.process_time() - start)
            side.calls.append(counted.images)
            side.broken.append(wrong(model, adversarial, labels))
    for row in sorted({row for pair in disagreements(outcome) for row in pair}):
        outcome.disagreements[str(row)] = explained(case, outcome, model, images, labels, row)
    return outcome


def disagreements(outcome: Outcome) -> Iterator[set[int]]:
    for ours_broke, official_broke in zip(outcome.ours.broken, outcome.official.broken, strict=True):
        yield set(ours_broke) ^ set(official_broke)


def explained(
    case: Case, outcome: Outcome, model: nn.Module, images: Tensor, labels: Tensor, row: int
) -> str:
    """Try a sample with further seeds on both sides."""
    answers = []
    for name, side, attack in (("ours", outcome.ours, ours), ("official", outcome.official, official)):
        hits = [row in broken for broken in side.broken]
        one, label = images[row : row + 1], labels[row : row + 1]
        hits += [bool(wrong(model, attack(case, model, one, label, seed), label)) for seed in EXTRA_SEEDS]
        answers.append(f"{name} {sum(hits)} of {len(hits)}")
    return ", ".join(answers)


@torch.no_grad()
def wrong(model: nn.Module, images: Tensor, labels: Tensor) -> list[int]:
    parts = zip(images.split(250), labels.split(250), strict=True)
    predictions = torch.cat([model(part).argmax(dim=1) != label for part, label in parts])
    return predictions.nonzero().squeeze(1).tolist()


def ours(case: Case, model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    attacks: dict[str, Callable] = {
        "standard": autoattack,
        "apgd-ce": apgd,
        "apgd-t": apgd_targeted,
        "fab-t": fab_targeted,
        "square": square,
    }
    attack = attacks[case.attack]
    return attack(model, images, labels, norm=case.norm, epsilon=case.epsilon, generator=stream).images


def official(case: Case, model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Tensor:
    """Run pyautoattack, at its own batch size and settings."""
    from pyautoattack import AutoAttack  # noqa: PLC0415 - a peer, which the other comparisons do without

    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    peer = AutoAttack(
        model, eps=case.epsilon, norm=case.norm.capitalize(), seed=seed, version="standard", device="cpu"
    )
    if case.attack != "standard":
        peer.attacks_to_run = [case.attack]
    with contextlib.redirect_stdout(io.StringIO()):
        adversarial, _ = peer.run_standard_evaluation(images, labels)
    return adversarial


def mcnemar(outcome: Outcome) -> float:
    """McNemar's exact p (two-sided) on the first seed's verdicts: is one side broken more often?"""
    from scipy.stats import binomtest  # noqa: PLC0415 - slow to import, and only for the table

    first, second = (set(side.broken[0]) for side in (outcome.ours, outcome.official))
    alone, other = len(first - second), len(second - first)
    return float(binomtest(alone, alone + other).pvalue) if alone + other else 1.0
