"""A classifier of the zoo, and the ways users save one."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

WAYS = ("traced", "scripted", "frozen", "pt2")


@dataclass(frozen=True)
class Example:
    """A model and the images it takes."""

    build: Callable[[], nn.Module]
    shape: tuple[int, int, int] = (1, 16, 16)
    ways: tuple[str, ...] = WAYS

    def model(self) -> nn.Module:
        """The model in eval mode, its batch-norm statistics and biases moved off their start."""
        torch.manual_seed(0)
        model = self.build()
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                if tensor.is_floating_point() and tensor.dim() == 1:
                    tensor.add_(torch.rand_like(tensor) / 10)
        return model.eval()

    def images(self, count: int = 4, seed: int = 1) -> Tensor:
        """Random pixels (count, C, H, W)."""
        return torch.rand(count, *self.shape, generator=torch.Generator().manual_seed(seed))


def export(model: nn.Module, example: Tensor, way: str, path: Path) -> Path:
    """Save a model as a user would."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if way == "pt2":
            dynamic = ({0: torch.export.Dim("batch")},)
            program = torch.export.export(model, (example,), dynamic_shapes=dynamic)
            with path.open("wb") as file:
                torch.export.save(program, file)
            return path
        if way == "traced":
            script = torch.jit.trace(model, example, check_trace=False, strict=False)
        else:
            script = torch.jit.script(model)
        if way == "frozen":
            script = torch.jit.freeze(script)
        torch.jit.save(script, str(path))
    return path
