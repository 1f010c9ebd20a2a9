"""What was measured is not measured again, and nothing in a foreign checkpoint is believed."""

from pathlib import Path

import pytest
import torch

from ladder_core.checkpoints import Checkpoints, Keeper
from ladder_core.errors import StopRequested
from ladder_core.evaluation.ledger import Column, Ledger
from ladder_core.progress import Progress
from ladder_schema.jobs import Stage
from ladder_schema.report import Accuracy

COLUMNS = {"value": Column(torch.int64), "flag": Column(torch.bool, ())}


class Evaluation:
    """An evaluation in several attempts; ``stop_at`` is the batch before which one is told to stop."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.batches: list[tuple[int, int]] = []
        self.shares: list[float] = []

    def attempt(self, stop_after: int = 1_000) -> Ledger:
        self.batches, self.shares = [], []

        def told(_: Stage, share: float, __: str) -> bool:
            self.shares.append(share)
            return len(self.batches) < stop_after

        progress = Progress({Stage.EVALUATE: 1.0}, told)
        kept = Checkpoints(self.directory, self.directory, 1e9, lambda _: None)
        progress.enter(Stage.EVALUATE)
        costs = {"a": 1.0, "results": 1.0, "b": 2.0}
        return Ledger.open(Keeper(kept, "job", progress), progress, costs)

    def measure(self, start: int, end: int) -> dict[str, torch.Tensor]:
        self.batches.append((start, end))
        rows = torch.arange(start, end)
        return {"value": torch.stack([rows, rows**2], dim=1), "flag": rows % 2 == 0}

    def columns(self, ledger: Ledger, name: str, count: int = 10) -> dict[str, torch.Tensor]:
        return dict(ledger.columns(name, count, COLUMNS, self.measure, batch_size=4))


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    return Evaluation(tmp_path)


def test_columns_go_on_where_they_were_stopped(evaluation: Evaluation) -> None:
    with pytest.raises(StopRequested):
        evaluation.columns(evaluation.attempt(stop_after=2), "a")
    assert evaluation.batches == [(0, 4), (4, 8)]
    ledger = evaluation.attempt()
    found = evaluation.columns(ledger, "a")
    assert evaluation.batches == [(8, 10)]
    assert found["value"][:, 1].tolist() == [n**2 for n in range(10)]
    assert found["flag"].tolist() == [True, False] * 5
    evaluation.columns(ledger, "b", 5)
    assert evaluation.shares == sorted(evaluation.shares)


def test_what_is_whole_is_not_measured_again(evaluation: Evaluation) -> None:
    first = evaluation.columns(evaluation.attempt(), "a")
    second = evaluation.columns(evaluation.attempt(), "a")
    assert evaluation.batches == []
    assert all(torch.equal(first[name], second[name]) for name in COLUMNS)


def test_columns_of_another_size_are_measured_again(evaluation: Evaluation, caplog) -> None:
    evaluation.columns(evaluation.attempt(), "a")
    assert len(evaluation.columns(evaluation.attempt(), "a", 12)["flag"]) == 12
    assert evaluation.batches == [(0, 4), (4, 8), (8, 12)]
    assert "kept measurement a is not used" in caplog.text


def test_a_value_is_measured_once(evaluation: Evaluation) -> None:
    value = Accuracy(correct=3, total=4)
    assert evaluation.attempt().value("b", Accuracy, lambda _: value) == value
    assert evaluation.attempt().value("b", Accuracy, lambda _: pytest.fail("measured again")) == value


def test_results_are_kept_as_they_come(evaluation: Evaluation) -> None:
    def measure(known, keep, on_step) -> list[Accuracy]:
        found = list(known)
        while len(found) < 4:
            on_step(len(found) / 4)
            evaluation.batches.append((len(found), len(found) + 1))
            found.append(Accuracy(correct=len(found), total=4))
            keep(found[-1])
        return found

    with pytest.raises(StopRequested):
        evaluation.attempt(stop_after=3).results("results", Accuracy, measure)
    found = evaluation.attempt().results("results", Accuracy, measure)
    assert [each.correct for each in found] == [0, 1, 2, 3]
    assert evaluation.batches == [(3, 4)]
