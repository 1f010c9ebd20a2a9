"""An AC-GAN of the digits: what it learns, whose turn it is, and that it goes on where it was."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ladder_core.attacks.song import SongSettings, song
from ladder_core.checkpoints import Checkpoints, Keeper
from ladder_core.classifier import Classifier
from ladder_core.datasets import Dataset
from ladder_core.errors import StopRequested, TrainingError
from ladder_core.generators.acgan import AcGan, AcGanSettings
from ladder_core.generators.acgan_training import begin_acgan_training, train_acgan
from ladder_core.progress import Progress
from ladder_core.training_state import TrainingState
from ladder_schema.jobs import Stage
from ladder_schema.protocol import CheckpointName

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)
SMALL = AcGanSettings(rounds=6, critic_turns=2, penalty_every=2, width=8, code_dimension=16, batch_size=32)


def begin(settings: AcGanSettings = SMALL, seed: int = 0) -> TrainingState:
    return begin_acgan_training(SHAPE, 10, settings, seed=seed, device=CPU)


def train(state: TrainingState, digits: Dataset, until: int | None = None) -> None:
    """Train until so many turns are done."""

    def on_step(share: float) -> None:
        assert share == state.done / state.steps
        if state.done == until:
            raise StopRequested

    try:
        train_acgan(state, digits.train, seed=0, on_step=on_step)
    except StopRequested:
        assert state.done == until


def state_of(state: TrainingState) -> dict[str, list]:
    return {name: tensor.tolist() for name, tensor in state.record().tensors.items()}


def keeper(directory: Path) -> Keeper:
    progress = Progress({Stage.GENERATOR: 1.0}, lambda *_: True)
    progress.enter(Stage.GENERATOR)
    return Keeper(Checkpoints(directory, directory, 1e9, lambda _: None), "a run", progress)


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (1, 9, 8), (2, 15, 17), (1, 28, 28), (3, 32, 32), (3, 40, 24), (3, 224, 224)]
)
def test_images_of_any_size(shape: tuple[int, int, int]) -> None:
    gan = AcGan(shape, 3, AcGanSettings(width=4)).eval()
    labels = torch.tensor([2, 0])
    images = gan.generate(torch.randn(2, 128, generator=torch.Generator().manual_seed(0)), labels)
    assert images.shape == (2, *shape)
    assert images.min() >= 0
    assert images.max() <= 1
    scores, logits = gan.critic(images)
    assert scores.shape == (2,)
    assert logits.shape == (2, 3)
    assert torch.equal(gan.classify(images), logits)


def test_smaller_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"image_shape is \(1, 8, 7\).*8 x 8 pixels or more"):
        AcGan((1, 8, 7), 10, SMALL)


def weights(players: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in players.parameters()]


def same(before: list[Tensor], after: list[Tensor]) -> list[bool]:
    return [torch.equal(one, other) for one, other in zip(before, after, strict=True)]


def test_a_turn_moves_the_player_whose_turn_it_is(digits: Dataset) -> None:
    state = begin()
    players = (state.module.critic, state.module.generator)
    for turn in range(2 * (SMALL.critic_turns + 1)):
        before = [weights(player) for player in players]
        train(state, digits, until=turn + 1)
        still = [same(old, weights(player)) for old, player in zip(before, players, strict=True)]
        critics = turn % (SMALL.critic_turns + 1) < SMALL.critic_turns
        moved, rested = still if critics else reversed(still)
        assert not any(moved)
        assert all(rested)


def test_the_gradient_penalty_holds_the_critics_slope_near_1(digits: Dataset) -> None:
    def slope(penalty: float) -> float:
        state = begin(replace(SMALL, rounds=60, penalty=penalty, learning_rate=3e-3))
        train(state, digits)
        images, _ = digits.train.batch(range(200))
        images.requires_grad_()
        (gradient,) = torch.autograd.grad(state.module.critic(images)[0].sum(), images)
        return gradient.flatten(1).norm(dim=1).mean().item()

    assert 0.3 < slope(10.0) < 2.0 < slope(0.0)


def test_the_same_seed_gives_the_same_gan(digits: Dataset) -> None:
    states = [begin(), begin(), begin(seed=1)]
    for number, state in enumerate(states):
        torch.manual_seed(number)  # the default stream has no say
        train(state, digits)
    first, again, other = ([p.tolist() for p in state.module.parameters()] for state in states)
    assert first == again != other


@pytest.mark.parametrize("until", [1, 2, 3, 7, 17])
def test_a_training_goes_on_as_if_it_had_not_ended(until: int, digits: Dataset, tmp_path: Path) -> None:
    whole, first, second = begin(), begin(), begin(seed=5)
    torch.manual_seed(0)
    train(whole, digits)
    torch.manual_seed(0)
    train(first, digits, until)
    keeper(tmp_path).save(CheckpointName.GENERATOR, first.record(), complete=False)
    assert keeper(tmp_path).find(CheckpointName.GENERATOR, second.load) is False
    assert state_of(second) == state_of(first)
    train(second, digits)
    assert state_of(second) == state_of(whole)
    assert not second.module.training


def test_a_training_that_diverges_says_so(digits: Dataset) -> None:
    state = begin(replace(SMALL, learning_rate=float("inf")))
    with pytest.raises(
        TrainingError, match=r"not a number after 18 turns: lower its learning_rate \(now inf\)"
    ):
        train(state, digits)


def test_it_learns_the_digits_and_song_finds_those_that_fool(
    digits: Dataset, digits_classifier: Classifier
) -> None:
    settings = AcGanSettings(
        rounds=400, critic_turns=1, penalty_every=2, learning_rate=2e-3, code_dimension=32
    )
    state = begin(settings)
    train(state, digits)
    gan = state.module
    images, labels = digits.test.batch(range(400))
    assert (gan.classify(images).argmax(dim=1) == labels).double().mean() > 0.9

    labels = torch.arange(100) % 10
    codes = torch.randn(100, 32, generator=torch.Generator().manual_seed(0))
    made = gan.generate(codes, labels)
    known = digits_classifier(made).argmax(dim=1) == labels
    assert known.double().mean() > 0.8
    nearest = torch.cdist(made.flatten(1), digits.train.batch(np.arange(len(digits.train)))[0].flatten(1))
    assert nearest.amin(dim=1).median() < 2.0  # of real ones from each other: about 1.3

    found = song(
        digits_classifier, gan, labels, settings=SongSettings(iterations=100),
        generator=torch.Generator().manual_seed(0), references=codes,
    )  # fmt: skip
    assert found.success.double().mean() > 0.8
    assert torch.equal(found.fooled, digits_classifier(found.images).argmax(dim=1) != labels)
