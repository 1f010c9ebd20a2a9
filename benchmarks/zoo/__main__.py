"""What works for each architecture, saved in each way, as a Markdown table.

python -m benchmarks.zoo [--only NAME] [--quick]

Each cell is one saved file. Its marks, in order: the output is eager's; so are the gradients of images and
parameters; three training steps end in eager's state_dict; and the trained file, saved, says the same when
torch alone loads it. A frozen file's parameters are not eager's: its gradients are compared by its training.
The figure is the time of forward and backward over that of the eager model, both measured in turns; below 1
is faster than eager.
"""

import argparse
import copy
import gc
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.zoo import checks
from benchmarks.zoo.small import SMALL
from benchmarks.zoo.ways import WAYS, Example, export
from ladder_core.classifier import load_classifier
from ladder_core.errors import ModelError

ROUNDS = 9
SECONDS_PER_TURN = 0.03
REASON_LENGTH = 160


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="NAME", help="one model, or all whose name holds NAME")
    parser.add_argument("--quick", action="store_true", help="the small models of the tests only")
    options = parser.parse_args()
    torch.set_num_threads(1)  # Equal results must not depend on how work is split.
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    zoo = dict(SMALL)
    if not options.quick:
        from benchmarks.zoo.full import FULL  # noqa: PLC0415 - needs timm, the small zoo does not

        zoo |= FULL
    chosen = {name: example for name, example in zoo.items() if not options.only or options.only in name}
    if not chosen:
        parser.error(f"--only {options.only}: the zoo has {', '.join(zoo)}")
    print_table(chosen)


def print_table(zoo: dict[str, Example]) -> None:
    notes: list[str] = []
    print(f"torch {torch.__version__}, one thread; output, gradients, training, saved; time over eager's")
    print(f"\n| model | {' | '.join(WAYS)} |\n|---|{'---|' * len(WAYS)}")
    for name, example in zoo.items():
        with tempfile.TemporaryDirectory() as folder:
            cells = examine(example, Path(folder))
        print(f"| {name} | {' | '.join(str(cells.get(way, '')) for way in WAYS)} |", flush=True)
        notes += [f"- {name}, {way}: {note}" for way, cell in cells.items() for note in cell.notes]
        gc.collect()
    if notes:
        print("\n" + "\n".join(notes))


@dataclass
class Cell:
    """What was found out about one saved file."""

    marks: str = ""
    ratio: float | None = None
    notes: list[str] = field(default_factory=list)

    def record(self, check: Callable[[], object]) -> None:
        try:
            check()
        except Exception as error:
            self.fail(error)
        else:
            self.marks += "✓"

    def fail(self, reason: object) -> None:
        text = " ".join(f"{type(reason).__name__}: {reason}".split())
        self.marks += "✗"
        self.notes.append(text if len(text) <= REASON_LENGTH else text[:REASON_LENGTH] + " ...")

    def __str__(self) -> str:
        return self.marks if self.ratio is None else f"{self.marks} {self.ratio:.2f}"


def examine(example: Example, folder: Path) -> dict[str, Cell]:
    """The cells of one model, by way of saving it."""
    cells: dict[str, Cell] = {}
    uploads: list[tuple[Example, nn.Module, Path, str]] = []
    for way in example.ways:
        cell = cells[way] = Cell()
        model, path = example.model(), folder / f"uploaded-{way}"
        try:
            export(model, example.images(seed=7), way, path)
        except Exception as error:
            cell.marks = "not exported"
            cell.notes.append(f"PyTorch cannot save it: {' '.join(str(error).split())[:REASON_LENGTH]}")
            continue
        try:
            load_classifier(path)
        except ModelError as error:
            cell.fail(error)
            continue
        for check in checks_of(example, model, path, way):
            cell.record(check)
        uploads.append((example, model, path, way))
        cell.ratio = time_ratio(example, model, path)
    (folder / "saved").mkdir()
    answers = checks.answers_of_torch_alone(uploads, folder / "saved")
    for (*_, way), answer in zip(uploads, answers, strict=True):
        cells[way].marks += "✓" if answer == "same" else "✗"
        if answer != "same":
            cells[way].notes.append(f"the saved file {answer}")
    return cells


def checks_of(example: Example, model: nn.Module, path: Path, way: str) -> list[Callable[[], None]]:
    """Output, gradients and training; a frozen file's gradients are compared in its training."""

    def output() -> None:
        checks.check_output(example, model, load_classifier(path), way)

    def gradients() -> None:
        checks.check_gradients(example, copy.deepcopy(model), load_classifier(path))

    def training() -> None:
        checks.check_training(example, model, load_classifier(path), way)

    def frozen_training() -> None:
        checks.check_frozen_training(example, model, load_classifier(path))

    return [output, frozen_training] if way == "frozen" else [output, gradients, training]


def time_ratio(example: Example, model: nn.Module, path: Path) -> float:
    """Forward and backward of the compiled classifier over the eager model's: the median of paired turns."""
    classifier, eager = load_classifier(path), copy.deepcopy(model)
    x = example.images().requires_grad_()

    def ours() -> None:
        backward(classifier(x))

    def theirs() -> None:
        backward(checks.scores(eager(x)))

    single = min(seconds(theirs, 1) for _ in range(3))
    seconds(ours, 1)
    repeats = max(1, round(SECONDS_PER_TURN / single))
    ratios = []
    for turn in range(ROUNDS):
        pair = (ours, theirs) if turn % 2 else (theirs, ours)
        times = {run: seconds(run, repeats) for run in pair}
        ratios.append(times[ours] / times[theirs])
    return statistics.median(ratios)


def backward(scores: Tensor) -> None:
    scores.sum().backward()


def seconds(run: Callable[[], None], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
