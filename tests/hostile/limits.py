"""Attacks made of nothing but allowed operators: only limits on the process can stop them."""

from pathlib import Path

import torch
from torch import Tensor

from ladder_schema.errors import ErrorCode
from tests.hostile.base import Hostile, Tiny, Wall


class Loops(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        steps = x.sum()
        while bool(steps == steps):
            steps = steps * 0.5
        return self.fc(x.flatten(1) + steps)


class Grows(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        while bool(x.numel() > 0):
            kept.append(torch.ones([1 << 22]))
        return self.fc(x.flatten(1) + kept[0].sum())


def _loops(path: Path, outside: Path) -> None:
    torch.jit.script(Loops().eval()).save(str(path))


def _grows(path: Path, outside: Path) -> None:
    torch.jit.script(Grows().eval()).save(str(path))


LIMITS = {
    "endless loop": Hostile("never returns", _loops, Wall.LIMIT, "ran longer than the", ErrorCode.TIME_LIMIT),
    "huge allocation": Hostile(
        "takes all memory", _grows, Wall.LIMIT, "MiB of memory it may have", ErrorCode.OUT_OF_MEMORY
    ),
}
