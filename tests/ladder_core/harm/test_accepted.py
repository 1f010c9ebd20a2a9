"""What honest users send passes: every corner of the language, and archives as common tools write them."""

import enum
import io
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ladder_core.errors import HardeningError
from ladder_core.harm import DATASET_LIMITS, check_archive, check_model, load_checked_script
from ladder_core.harm.symbols import check_guard, check_symbolic
from ladder_schema.errors import ErrorCode


class Mode(enum.Enum):
    FAST = 1
    SLOW = 2


class Pair(NamedTuple):
    left: Tensor
    count: int


@torch.jit.script
class Counter:
    def __init__(self, start: int):
        self.count = start

    def more(self, x: Tensor) -> Tensor:
        return x + self.count


class Everything(nn.Module):
    """Most of what TorchScript knows, in one forward method."""

    def __init__(self):
        super().__init__()
        self.mode = Mode.FAST
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.named = nn.ModuleDict({"a": nn.ReLU()})
        self.named_freely = nn.Sequential()
        self.named_freely.add_module("block 1-0", nn.Linear(3, 3))
        self.text = "q\n'\"é"
        self.numbers = [1.5, float("inf")]

    @property
    def scale(self) -> int:
        return 3

    @torch.jit.export
    def other(self, x: Tensor, n: int | None = None) -> Tensor:
        return x if n is None else x + n

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[dict[str, Tensor], list[int], str]:
        pair = Pair(x, 2)
        z = Counter(pair.count).more(pair.left)
        if self.mode == Mode.FAST:
            z = z.masked_fill(z > 0, float("-inf")).nan_to_num(neginf=float(-1))
        table: dict[str, Tensor] = {"x": z}
        if "x" in table:
            z = table["x"]
        with torch.no_grad():
            z = z + 1
        for layer in self.layers:
            z = layer(z)
        for layer in self.named.values():
            z = layer(z)
        z = self.named_freely(z)
        z = z.to(torch.float32).to("cpu").to(device=x.device)[:, None, ..., 0:3].squeeze(1) * self.scale
        print("shape", z.shape)
        assert z.dim() > 1, "é"
        for step, value in enumerate([1, 2]):
            z = z + step * value
        values: list[float] = z.sum(1).tolist()
        if isinstance(y, Tensor):
            z = z + y
        z[0] = len(values)
        z = torch.einsum("ab,cb->ac", [z, z])
        return {"logits": z + (3 if bool(z.sum() > 0) else 4)}, list(z.shape[-2:]), f"{z.dim()} {self.text}"


@pytest.mark.filterwarnings("ignore")
def test_the_language(tmp_path):
    path = tmp_path / "model.pt"
    extra = {"notes/read me.txt": "trained on Monday", "code/x.py": "import os"}
    torch.jit.save(torch.jit.script(Everything().eval()), path, _extra_files=extra)
    check_model(path)
    load_checked_script(path)


class Named(nn.Module):
    """A layer and a buffer named as tensors' methods are, one of them read from outside of its owner."""

    def __init__(self, name: str):
        super().__init__()
        self.name = name
        self.body = nn.Sequential(nn.Linear(64, 8))
        self.body.add_module(name, nn.Linear(8, 3))
        setattr(self, name, nn.Linear(3, 3))
        self.register_buffer("quantile", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        z = getattr(self, self.name)(self.body(x.flatten(1)))
        return z * self.quantile + getattr(self.body, self.name).bias


@pytest.mark.parametrize("name", ["diff", "indices", "gradient", "names", "grad", "values_", "resize_"])
@pytest.mark.parametrize("way", ["scripted", "traced"])
@pytest.mark.filterwarnings("ignore")
def test_layers_may_be_named_as_operators_are(name, way, tmp_path):
    path = tmp_path / "model.pt"
    if way == "traced":
        script = torch.jit.trace(Named(name).eval(), torch.rand(2, 64))
    else:
        inner = nn.Sequential(OrderedDict([(name, nn.Linear(64, 3))]))
        script = torch.jit.script(nn.Sequential(OrderedDict([("flatten", nn.Flatten()), (name, inner)])))
    torch.jit.save(script, path)
    check_model(path)
    load_checked_script(path)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("lite", lambda script, path: script._save_for_lite_interpreter(str(path))),
        ("optimized", lambda script, path: torch.jit.save(_optimized(), path)),
        ("quantized", lambda script, path: torch.jit.save(torch.jit.script(_quantized()), path)),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_programs_that_cannot_be_checked_are_named(name, save, tmp_path):
    path = tmp_path / "model.pt"
    save(torch.jit.script(nn.Linear(2, 2)), path)
    with pytest.raises(HardeningError) as caught:
        check_model(path)
    code, words = {
        "lite": (ErrorCode.MODEL_UNSUPPORTED, "mobile interpreter"),
        "optimized": (ErrorCode.MODEL_UNSUPPORTED, "optimize_for_inference"),
        "quantized": (ErrorCode.MODEL_UNSUPPORTED, "upload the floating-point model"),
    }[name]
    assert (caught.value.code, words in caught.value.message) == (code, True), caught.value.message


def _optimized() -> torch.jit.ScriptModule:
    return torch.jit.optimize_for_inference(
        torch.jit.script(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).eval())
    )


def _quantized() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(2, 2)), {nn.Linear})


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_archives(mode, tmp_path):
    path = tmp_path / "data"
    names = [f"train/{'long' * 40}/{number}.png" for number in range(20)]
    with tarfile.open(path, mode) as archive:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = 256 * number
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    listing = check_archive(path, DATASET_LIMITS)
    assert (listing.kind, list(listing.names)) == ("tar", names)
    assert [entry.size for entry in listing.entries] == [256 * number for number in range(20)]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(save, tmp_path):
    path = tmp_path / "data.npz"
    save(path, x_train=np.zeros((1_000, 28, 28), np.uint8), y_train=np.arange(1_000) % 10)
    assert check_archive(path, DATASET_LIMITS).names == ("x_train.npy", "y_train.npy")


def test_zip_of_folders_with_names_in_any_script(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("train") if hasattr(archive, "mkdir") else None
        archive.writestr("train/Katze ü/猫 1.png", b"x" * 100)
        archive.comment = b"made by hand"
    assert check_archive(path, DATASET_LIMITS).names[-1] == "train/Katze ü/猫 1.png"


def test_no_archive_has_no_entries(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"PAR1 and so on")
    assert check_archive(path, DATASET_LIMITS).entries == ()


def test_expressions_of_sizes():
    assert check_symbolic("Mul(Integer(2), Symbol('s77', positive=True, integer=True))")
    assert check_symbolic("s0 + 1")
    assert check_guard("L['x'].size()[0] <= 64")
    assert check_guard("L['x']['y'][0].size()[1] == 3 and Eq(Mod(L['x'].size()[0], 2), 0)")
