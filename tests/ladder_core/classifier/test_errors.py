"""Files that are no classifier: the error's code, and a message that names the fault and the remedy."""

import gzip
import zipfile

import pytest
import torch
from torch import Tensor, nn

from ladder_core.classifier import load_classifier
from ladder_core.errors import ModelError
from ladder_schema.errors import ErrorCode

from .zoo import CLASSES, LeNet, Mlp, export

IMAGES = torch.rand(2, 1, 16, 16)


def error_of(path, images=None) -> ModelError:
    def load_and_probe():
        load_classifier(path).probe(IMAGES if images is None else images)

    with pytest.raises(ModelError) as caught:
        load_and_probe()
    assert caught.value.message
    return caught.value


def lenet_file(path):
    return export(LeNet().eval(), IMAGES, "traced", path)


def write_zip(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")


UNREADABLE = {
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "text": (lambda path: path.write_text("hello"), "unknown format"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x")), "gzip"),
    "old pickle": (
        lambda path: torch.save(LeNet().state_dict(), path, _use_new_zipfile_serialization=False),
        "pickle",
    ),
    "state_dict": (lambda path: torch.save(LeNet().state_dict(), path), "state_dict"),
    "pickled module": (lambda path: torch.save(LeNet(), path), "without your Python code"),
    "other zip": (lambda path: write_zip(path, ["a.txt"]), "without a TorchScript or torch.export program"),
    "hollow archive": (
        lambda path: write_zip(path, ["m/constants.pkl", "m/code/a.py", "m/data.pkl"]),
        "cannot load",
    ),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable(tmp_path, kind):
    write, words = UNREADABLE[kind]
    write(tmp_path / "model.pt")
    error = error_of(tmp_path / "model.pt")
    assert error.code is ErrorCode.MODEL_UNREADABLE
    assert words in error.message


def test_missing_file(tmp_path):
    assert error_of(tmp_path / "nowhere.pt").code is ErrorCode.MODEL_UNREADABLE


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_truncated(tmp_path, share):
    path = lenet_file(tmp_path / "model.pt")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    error = error_of(path)
    assert error.code is ErrorCode.MODEL_UNREADABLE
    assert "truncated" in error.message


def test_optimized_for_inference_is_named(tmp_path):
    optimized = torch.jit.optimize_for_inference(torch.jit.script(LeNet().eval()))
    torch.jit.save(optimized, str(tmp_path / "model.pt"))
    error = error_of(tmp_path / "model.pt")
    assert error.code is ErrorCode.MODEL_UNSUPPORTED
    assert "optimize_for_inference" in error.message


class NoHead(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :5] * 2


class AroundHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(256, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.fc(torch.relu(x)) + x[:, :5]


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(256, CLASSES), nn.Linear(256, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.a(x) if bool(x.mean() > 0.5) else self.b(x)


class ClassIndex(Mlp):
    def __init__(self):
        super().__init__(CLASSES, nn.Identity())

    def forward(self, x):
        return self.last(self.body(x)).argmax(1)


class Segmentation(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, CLASSES, 1)

    def forward(self, x):
        return self.conv(x)


class NoTensor(nn.Module):
    def forward(self, x: Tensor) -> int:
        return x.size(0)


class AlwaysDropping(Mlp):
    def __init__(self):
        super().__init__(CLASSES, nn.Identity())

    def forward(self, x):
        return self.last(nn.functional.dropout(self.body(x), 0.5))


class NeedsMore(Mlp):
    def __init__(self):
        super().__init__(CLASSES, nn.Identity())

    def forward(self, x, scale: float):
        return self.last(self.body(x)) * scale


class Counting(nn.Module):
    calls: int

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.fc = nn.Linear(256, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.fc(x.flatten(1))


class WithoutGradients(Mlp):
    def __init__(self):
        super().__init__(CLASSES, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            z = self.body(x)
        return self.last(z)


REFUSED = {
    "no head": (NoHead, ErrorCode.MODEL_UNSUPPORTED, "no classifier head"),
    "connection around the head": (AroundHead, ErrorCode.MODEL_UNSUPPORTED, "depend on more"),
    "different heads": (TwoHeads, ErrorCode.MODEL_UNSUPPORTED, "different heads"),
    "multi-label": (lambda: Mlp(3, nn.Sigmoid()), ErrorCode.MODEL_NOT_CLASSIFIER, "multi-label"),
    "softmax over one score": (lambda: Mlp(1, nn.Softmax(1)), ErrorCode.MODEL_NOT_CLASSIFIER, "one score"),
    "softmax over the batch": (lambda: Mlp(3, nn.Softmax(dim=0)), ErrorCode.MODEL_NOT_CLASSIFIER, "axis 0"),
    "class index": (ClassIndex, ErrorCode.MODEL_NOT_CLASSIFIER, "(N, K)"),
    "segmentation": (Segmentation, ErrorCode.MODEL_NOT_CLASSIFIER, "segmentation"),
    "no tensor": (NoTensor, ErrorCode.MODEL_NOT_CLASSIFIER, "int"),
    "dropout always on": (AlwaysDropping, ErrorCode.MODEL_UNSUPPORTED, "training mode"),
    "second argument": (NeedsMore, ErrorCode.MODEL_UNSUPPORTED, "needs 2 arguments"),
    "state in forward": (Counting, ErrorCode.MODEL_UNSUPPORTED, "assigns an attribute"),
    "no gradients inside": (WithoutGradients, ErrorCode.MODEL_UNSUPPORTED, "within torch.no_grad()"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(tmp_path, kind):
    build, code, words = REFUSED[kind]
    error = error_of(export(build().eval(), IMAGES, "scripted", tmp_path / "model.pt"))
    assert (error.code, words in error.message) == (code, True), error.message


def test_traced_in_training_mode(tmp_path):
    error = error_of(export(LeNet().train(), IMAGES, "traced", tmp_path / "model.pt"))
    assert error.code is ErrorCode.MODEL_UNSUPPORTED
    assert "model.eval() before torch.jit.trace" in error.message


def test_frozen_transformer_that_was_never_trained(tmp_path):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 8, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    model = nn.Sequential(nn.Flatten(1, 2), encoder, nn.Flatten(), nn.Linear(256, CLASSES)).eval()
    error = error_of(export(model, IMAGES, "frozen", tmp_path / "model.pt"))
    assert error.code is ErrorCode.MODEL_UNSUPPORTED
    assert "without torch.jit.freeze" in error.message


def test_wrong_image_size(tmp_path):
    error = error_of(lenet_file(tmp_path / "model.pt"), images=torch.rand(2, 3, 16, 16))
    assert error.code is ErrorCode.MODEL_REJECTS_IMAGES
    assert "(3, 16, 16)" in error.message


class Infers(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(256, CLASSES)

    @torch.jit.export
    def infer(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_program_without_forward(tmp_path, frozen):
    script = torch.jit.script(Infers().eval())
    if frozen:
        script = torch.jit.freeze(script, preserved_attrs=["infer"])
    path = tmp_path / "m.pt"
    script.save(str(path))
    error = error_of(path)
    assert error.code is ErrorCode.MODEL_UNSUPPORTED
    assert "no forward method" in error.message
