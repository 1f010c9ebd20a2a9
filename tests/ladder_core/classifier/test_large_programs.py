"""Programs that are deep, or small and large once every use of a value is counted: read in bounded time."""

from pathlib import Path

import pytest
import torch

from ladder_core.classifier import load_classifier
from ladder_core.errors import ModelError
from ladder_core.harm import check_model
from ladder_schema.errors import ErrorCode
from tests.hostile.programs import says

IMAGES = torch.rand(4, 1, 8, 8)
FEATURES = "torch.flatten(x, 1)"


def chain(first: str, step: str, length: int) -> list[str]:
    """Lines that name ``v0``, then each next value after the one before it."""
    return [f"v0 = {first}", *(f"v{n + 1} = {step.replace('_', f'v{n}')}" for n in range(length))]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "lines",
    [
        # Each doubles what stands before it: 2 ** 60 uses of one weight.
        [
            *chain("self.fc.weight", "torch.add(_, _)", 60),
            f"return torch.linear({FEATURES}, v60, self.fc.bias)",
        ],
        [
            *chain("self.fc.weight", "torch.mul(_, 1.0)", 3000),
            f"return torch.linear({FEATURES}, v3000, self.fc.bias)",
        ],
        [
            *chain(f"torch.linear({FEATURES}, self.fc.weight, self.fc.bias)", "torch.contiguous(_)", 3000),
            "return v3000",
        ],
    ],
    ids=["doubled weight", "long chain of weights", "long tail"],
)
def test_it_is_read(tmp_path: Path, lines: list[str]) -> None:
    classifier = load(tmp_path, lines)
    assert classifier.probe(IMAGES).num_classes == 3


@pytest.mark.timeout(60)
def test_branches_that_share_what_is_before_them_are_read(tmp_path: Path) -> None:
    lines = [f"y0 = torch.linear({FEATURES}, self.fc.weight, self.fc.bias)"]
    for n in range(30):
        lines += [
            f"if torch.gt(torch.size(x, 0), {n}):",
            f"  y{n + 1} = torch.alias(y{n})",
            "else:",
            f"  y{n + 1} = torch.contiguous(y{n})",
        ]
    assert load(tmp_path, [*lines, "return y30"]).probe(IMAGES).num_classes == 3


def test_numbers_folded_stay_small(tmp_path: Path) -> None:
    lines = [*chain("3", "torch.mul(_, _)", 64), "x = torch.add(x, torch.mul(torch.remainder(v5, 2), 0))"]
    assert load(tmp_path, lines).probe(IMAGES).num_classes == 3


def test_loops_beyond_what_python_nests_are_refused(tmp_path: Path) -> None:
    lines = [f"{' ' * n}for i{n} in range(2):" for n in range(22)]
    with pytest.raises(ModelError, match="nested too deeply") as refusal:
        load(tmp_path, [*lines, f"{' ' * 22}x = torch.neg(x)"])
    assert refusal.value.code is ErrorCode.MODEL_UNSUPPORTED


def test_a_division_by_zero_is_the_models(tmp_path: Path) -> None:
    lines = ["n = torch.size(x, 0)", "a = torch.floordiv(n, torch.sub(n, 4))", "x = torch.add(x, a)"]
    with pytest.raises(ModelError, match="by zero") as refusal:
        load(tmp_path, lines).probe(IMAGES)
    assert refusal.value.code is ErrorCode.MODEL_REJECTS_IMAGES


def load(directory: Path, lines: list[str]):
    path = directory / "model.pt"
    says(*lines)(path, directory / "outside")
    check_model(path)
    return load_classifier(path)
