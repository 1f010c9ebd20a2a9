"""Tensors of loaded files, by the memory that PyTorch holds for them."""

import io
import zipfile

import pytest
import torch
from torch import Tensor, nn

from ladder_core.classifier import load_classifier
from ladder_core.errors import ModelError
from ladder_core.harm import check_model
from ladder_core.harm.storages import check_storages, records_of
from ladder_core.harm.tensors import check_tensors
from ladder_schema.errors import ErrorCode
from tests.hostile.base import harmless_export, rewrite


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(()), torch.zeros(0, 3), torch.zeros(3, 4).T, torch.zeros(9)[2::3], torch.zeros(1).expand(1)],
)
def test_views_within_their_storage_pass(tensor):
    check_tensors({"w": tensor})


def test_a_view_beyond_its_storage_is_refused():
    tensor = torch.zeros(12)
    view = tensor[4:].view(2, 4)
    tensor.untyped_storage().resize_(40)
    with pytest.raises(ModelError, match="'w' reaches to byte 48 of a storage of 40") as raised:
        check_tensors({"w": view})
    assert raised.value.code is ErrorCode.MODEL_UNSAFE


class Expanded(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 3)
        self.register_buffer("scale", torch.ones(1, 64).expand(4, 64))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1) * self.scale[0])


@pytest.mark.parametrize("way", ["torchscript", "pt2"])
def test_an_expanded_tensor_is_refused_with_its_remedy(way, tmp_path):
    path, x = tmp_path / "upload", torch.rand(4, 1, 8, 8)
    if way == "pt2":
        with path.open("wb") as file:
            torch.export.save(torch.export.export(Expanded(), (x,)), file)
    else:
        torch.jit.script(Expanded()).save(str(path))
    with pytest.raises(ModelError, match=r"expanded.*clone\(\)") as raised:
        # What a .pt2 holds is known once it is loaded, what a TorchScript file holds before.
        (load_classifier if way == "pt2" else check_model)(path)
    assert raised.value.code is ErrorCode.MODEL_UNSUPPORTED


def saved(value: object) -> tuple[bytes, dict[str, int]]:
    """A file of ``torch.save``: its pickle, and the bytes of its records."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    with zipfile.ZipFile(buffer) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        return archive.read("archive/data.pkl"), records_of("archive/data.pkl", sizes)


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(3, 4),
        nn.Parameter(torch.zeros(3)),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).state_dict(),
        {"half": torch.zeros(2, dtype=torch.float16), "index": torch.arange(3)},
        ((torch.rand(2),), {}),
    ],
    ids=["tensor", "parameter", "state_dict", "dict", "sample inputs"],
)
def test_what_torch_saves_passes(value):
    data, records = saved(value)
    check_storages(data, "data.pkl", records, for_python=True)


def test_pickled_weights_of_an_export_are_read(tmp_path):
    """As PyTorch writes weights that it cannot write as plain bytes."""
    path, weight = tmp_path / "upload", io.BytesIO()
    torch.save(nn.Parameter(torch.ones(3, 64)), weight)

    def change(name: str, data: bytes) -> bytes:
        if name.endswith("model_weights_config.json"):
            return data.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
        return weight.getvalue() if name.endswith("weights/weight_0") else data

    rewrite(harmless_export(), path, change)
    check_model(path)
    assert torch.equal(load_classifier(path).state_dict()["fc.weight"], torch.ones(3, 64))
