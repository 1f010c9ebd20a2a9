"""What is found again, what is refused, and that neither a file found nor one lost ends a run."""

import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError
from torch import nn

from ladder_core.checkpoints import Checkpoints, Keeper, fingerprint
from ladder_core.classifier import Classifier
from ladder_core.datasets import Dataset
from ladder_core.errors import StopRequested
from ladder_core.progress import Progress
from ladder_core.records import Record, RecordError, Stored, load_record
from ladder_core.training import PgdSource, begin_retraining, retrain
from ladder_core.training_state import TrainingState
from ladder_schema.config import PgdConfig, RetrainingConfig, ThreatModel, resolve_config
from ladder_schema.jobs import Stage
from ladder_schema.protocol import CheckpointName
from ladder_schema.report import EpochLosses
from tests.ladder_core.attempts import NEVER, Tensors, rewrite

CPU = torch.device("cpu")
LATENTS = CheckpointName.LATENTS


class Count(BaseModel):
    count: int


RECORD = Record({"values": torch.ones(1000)}, {"count": Count(count=7)})


def read(stored: Stored) -> float:
    return stored.tensor("values", (1000,)).sum().item() + stored.value("count", Count).count


def keeper(
    tmp_path: Path,
    run: str = "a run",
    *,
    on_saved: Callable[[CheckpointName], None] = lambda _: None,
    on_progress: Callable[..., bool] = lambda *_: True,
) -> Keeper:
    """A keeper in the stage of latents, that finds what earlier ones of the same directory saved."""
    progress = Progress(dict.fromkeys(Stage, 1.0), lambda *_: True)
    progress.enter(Stage.LATENTS)
    progress._callback = on_progress
    directory = tmp_path / "checkpoints"
    return Keeper(Checkpoints(directory, directory, NEVER, on_saved), run, progress)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint that is found as it stands."""
    keeper(tmp_path).save(LATENTS, RECORD, complete=True)
    assert keeper(tmp_path).find(LATENTS, read) == 1007
    return tmp_path / "checkpoints" / LATENTS


def test_a_checkpoint_is_whole_when_it_is_told_of_and_may_be_moved_away(tmp_path: Path) -> None:
    told: list[Stored] = []

    def move(name: CheckpointName) -> None:
        path = tmp_path / "checkpoints" / name
        assert [file.name for file in path.parent.iterdir()] == [name]
        told.append(load_record(path))
        path.rename(tmp_path / "moved")

    for _ in range(2):
        keeper(tmp_path, on_saved=move).save(LATENTS, RECORD, complete=True)
    (tmp_path / "moved").unlink()
    assert [read(stored) for stored in told] == [1007, 1007]
    assert told[0].about.id != told[1].about.id


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[:-100],
    "cut in the header": lambda content: content[:100],
    "longer": lambda content: content + b"\0",
    "a bit of a tensor": lambda content: content[:-20] + bytes([content[-20] ^ 1]) + content[-19:],
    "a digit of a value": lambda content: content.replace(rb"\"count\": 7", rb"\"count\": 8"),
    "an endless header": lambda content: b"\xff" * 8 + content[8:],
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_as_good_as_none(damage: str, saved: Path, tmp_path: Path, caplog) -> None:
    content = DAMAGES[damage](saved.read_bytes())
    assert content != saved.read_bytes()
    saved.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert keeper(tmp_path).find(LATENTS, read) is None
    assert "checkpoint latents is not used" in caplog.text


class Bomb:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.path, "was here")


@pytest.mark.parametrize("dump", [pickle.dump, torch.save], ids=["pickle", "torch"])
def test_nobodys_code_is_run(dump, saved: Path, tmp_path: Path) -> None:
    bomb = Bomb(tmp_path / "trace")
    with saved.open("wb") as file:
        dump(bomb, file)
    assert keeper(tmp_path).find(LATENTS, read) is None
    assert not bomb.path.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.update(format=2),
        lambda about: about.update(name="boundary"),
        lambda about: about.update(name="other"),
        lambda about: about.update(built_on=["an earlier stage's"]),
        lambda about: about.update(seconds=-1.0),
        lambda about: about.update(seconds=float("nan")),
        lambda about: about.update(seconds=1e300),
        lambda about: about.update(complete=[]),
        lambda about: about.update(unknown=1),
        lambda about: about.pop("fingerprint"),
    ],
)
def test_what_a_checkpoint_says_of_itself_must_fit(change, saved: Path, tmp_path: Path) -> None:
    rewrite(saved, lambda texts, _: change(texts["about"]))
    assert keeper(tmp_path).find(LATENTS, read) is None


def test_a_rewritten_checkpoint_is_found_where_nothing_was_changed(saved: Path, tmp_path: Path) -> None:
    rewrite(saved, lambda *_: None)
    assert keeper(tmp_path).find(LATENTS, read) == 1007


@pytest.mark.parametrize(
    "change",
    [
        lambda values, _: values.clear(),
        lambda values, _: values.update(count=None),
        lambda values, _: values.update(count={"count": "many"}),
        lambda values, _: values.update(count={"count": float("inf")}),
        lambda _, tensors: tensors.clear(),
        lambda _, tensors: tensors.update(values=torch.ones(1000, dtype=torch.float64)),
        lambda _, tensors: tensors.update(values=torch.ones(1000, dtype=torch.int32)),
        lambda _, tensors: tensors.update(values=torch.ones(999)),
        lambda _, tensors: tensors.update(values=torch.ones(1000, 1)),
    ],
)
def test_what_a_checkpoint_holds_must_fit(change, saved: Path, tmp_path: Path) -> None:
    rewrite(saved, lambda texts, tensors: change(texts["values"], tensors))
    assert keeper(tmp_path).find(LATENTS, read) is None


def test_another_runs_checkpoint_is_not_used(saved: Path, tmp_path: Path) -> None:
    assert keeper(tmp_path, "another run").find(LATENTS, read) is None
    config = resolve_config({})
    runs = [
        (config, "m", "d"), (config, "m2", "d"), (config, "m", "d2"),
        (resolve_config({"seed": 1}), "m", "d"), (resolve_config({"method": "pgd"}), "m", "d"),
        (resolve_config({"retraining": {"epochs": 4}}), "m", "d"),
    ]  # fmt: skip
    assert len({fingerprint(*run) for run in runs}) == len(runs)
    assert fingerprint(*runs[0]) == fingerprint(resolve_config({}), "m", "d")


def test_what_was_built_on_a_stage_that_was_done_again_is_not_used(saved: Path, tmp_path: Path) -> None:
    first = keeper(tmp_path)
    assert first.find(LATENTS, read) == 1007
    first.save(CheckpointName.BOUNDARY, RECORD, complete=True)
    second = keeper(tmp_path)
    assert [second.find(name, read) for name in (LATENTS, CheckpointName.BOUNDARY)] == [1007, 1007]

    again = keeper(tmp_path)
    again.save(LATENTS, RECORD, complete=True)
    assert again.find(CheckpointName.BOUNDARY, read) is None


def test_what_cannot_be_saved_is_logged_and_does_not_end_the_run(tmp_path: Path, caplog) -> None:
    told: list[CheckpointName] = []
    unknown = Record({"values": torch.ones(3, dtype=torch.complex128)})
    with caplog.at_level(logging.WARNING):
        keeper(tmp_path, on_saved=told.append).save(LATENTS, unknown, complete=True)
    assert "checkpoint latents was not saved: KeyError" in caplog.text
    assert not list((tmp_path / "checkpoints").iterdir())

    (tmp_path / "checkpoints").rmdir()
    (tmp_path / "checkpoints").write_text("a file where the directory should be")
    with caplog.at_level(logging.WARNING):
        keeper(tmp_path, on_saved=told.append).save(LATENTS, RECORD, complete=True)
    assert "checkpoint latents was not saved: FileExistsError" in caplog.text
    assert not told


def test_a_stop_while_a_checkpoint_is_read_is_honoured(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(StopRequested):
        keeper(tmp_path, on_progress=lambda *_: False).find(LATENTS, read)


def own_memory() -> int:
    """Bytes that are this process's own, and not mapped from a file."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line]
    return int(line.split()[1]) << 10


def test_a_large_tensor_stays_on_disk(tmp_path: Path) -> None:
    size = 64 << 20
    values = np.lib.format.open_memmap(tmp_path / "v.npy", mode="w+", dtype=np.float32, shape=(size // 4,))
    values[-1] = 3.0
    before = own_memory()
    keeper(tmp_path).save(LATENTS, Record({"values": torch.from_numpy(values)}), complete=True)
    found = keeper(tmp_path).find(LATENTS, lambda stored: stored.tensor("values", (size // 4,)).numpy())
    (tmp_path / "checkpoints" / LATENTS).unlink()
    assert found is not None
    assert found[-1] == 3.0
    assert own_memory() - before < size // 4


# Trainings

RETRAINING = RetrainingConfig(epochs=2, batch_size=50)
STEPS = 6


def training(model: Classifier) -> TrainingState:
    return begin_retraining(model, RETRAINING, 150, CPU)


def train(state: TrainingState, digits: Dataset, until: int) -> None:
    """Train on 150 digits until so many steps are done."""

    def on_step(*_: object) -> None:
        if state.done == until:
            raise StopRequested

    source, split = (
        PgdSource(PgdConfig(steps=2), ThreatModel(epsilon=0.1), seed=0),
        digits.train.subset(np.arange(150)),
    )
    with pytest.raises(StopRequested):
        retrain(state, split, source, RETRAINING, seed=0, on_step=on_step)


def state_of(state: TrainingState) -> tuple[dict[str, list], object]:
    record = state.record()
    return {name: tensor.tolist() for name, tensor in record.tensors.items()}, record.values


@pytest.fixture
def halfway(digits_classifier: Classifier, digits: Dataset, tmp_path: Path) -> Path:
    """A kept retraining after the fourth of six steps, the first of its second epoch."""
    state = training(digits_classifier.clone())
    train(state, digits, until=4)
    keeper(tmp_path).save(LATENTS, state.record(), complete=False)
    return tmp_path / "checkpoints" / LATENTS


@pytest.mark.parametrize("until", [1, 2, 3, 5])
def test_a_training_goes_on_as_if_it_had_not_ended(
    until: int, digits_classifier: Classifier, digits: Dataset, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    whole, first, second = (training(digits_classifier.clone()) for _ in range(3))
    train(whole, digits, until=STEPS)
    torch.manual_seed(0)
    train(first, digits, until)
    keeper(tmp_path).save(LATENTS, first.record(), complete=False)
    torch.manual_seed(1)  # a process of its own begins with another stream
    assert keeper(tmp_path).find(LATENTS, second.load) is False
    assert state_of(second) == state_of(first)
    train(second, digits, until=STEPS)
    assert state_of(second) == state_of(whole)


class Counting(nn.Module):
    """Counts its calls in a buffer that no state_dict has; one parameter never gets a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 4))
        self.unused = nn.Parameter(torch.ones(2))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.layers(x) * self.calls


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_all_that_a_training_changes_is_kept(momentum: float, schedule: str, tmp_path: Path) -> None:
    config = RETRAINING.model_copy(update={"momentum": momentum, "schedule": schedule})
    torch.manual_seed(0)
    first = begin_retraining(Counting(), config, 150, CPU)
    second = begin_retraining(Counting(), config, 150, CPU)

    def step(state: TrainingState) -> None:
        loss = state.module(torch.ones(2, 3)).square().sum()
        state.step(loss, torch.stack([loss, loss]))
        if state.done % 3 == 0:
            state.end_epoch(EpochLosses(clean=1.0, adversarial=2.0))

    for _ in range(4):
        step(first)
    keeper(tmp_path).save(LATENTS, first.record(), complete=False)
    step(first)
    step(first)
    assert keeper(tmp_path).find(LATENTS, second.load) is False
    step(second)
    step(second)
    assert state_of(second) == state_of(first)
    assert second.module.calls == second.done == 6


def weight(tensors: Tensors) -> str:
    return next(name for name in tensors if name.startswith("module.") and tensors[name].dim() == 4)


@pytest.mark.parametrize(
    "change",
    [
        lambda at, _: at.update(done=-1),
        lambda at, _: at.update(done=7),
        lambda at, _: at.update(done=1),
        lambda at, _: at.update(done="x"),
        lambda at, _: at.update(losses=[]),
        lambda at, _: at.update(losses=[{"clean": float("nan"), "adversarial": 1.0}]),
        lambda at, _: at.update(losses=at["losses"] * 2),
        lambda _, tensors: tensors.pop(weight(tensors)),
        lambda _, tensors: tensors.update({weight(tensors): torch.ones(2, 2)}),
        lambda _, tensors: tensors.update({weight(tensors): tensors[weight(tensors)].double()}),
        lambda _, tensors: tensors.update({"optimiser.0.momentum_buffer": torch.ones(3)}),
        lambda _, tensors: tensors.update(sums=torch.ones(3)),
        lambda _, tensors: tensors.pop("random.cpu"),
        lambda _, tensors: tensors.update({"random.cpu": torch.zeros(5056, dtype=torch.uint8)}),
        lambda _, tensors: tensors.update({"random.cpu": torch.zeros(16, dtype=torch.uint8)}),
    ],
)
def test_a_training_that_does_not_fit_leaves_the_present_one_as_it_is(
    change, halfway: Path, digits_classifier: Classifier, tmp_path: Path
) -> None:
    state = training(digits_classifier)
    before = state_of(state)
    rewrite(halfway, lambda texts, tensors: change(texts["values"]["training"], tensors))
    with pytest.raises((RecordError, ValidationError, RuntimeError)):
        state.load(load_record(halfway))
    assert keeper(tmp_path).find(LATENTS, state.load) is None
    assert state_of(state) == before


def test_a_training_said_to_be_complete_before_its_end_does_not_fit(
    halfway: Path, digits_classifier: Classifier
) -> None:
    rewrite(halfway, lambda texts, _: texts["about"].update(complete=True))
    with pytest.raises(RecordError, match="step 4 of 6"):
        training(digits_classifier).load(load_record(halfway))


def test_another_models_training_does_not_fit(halfway: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no tensor"):
        training(nn.Linear(3, 4)).load(load_record(halfway))
