"""What is particular to ``torch.export`` files: batch sizes, signatures, decomposed programs, refusals."""

import json

import pytest
import torch
from torch import Tensor, nn

from ladder_core.classifier import load_classifier
from ladder_core.errors import ModelError
from ladder_schema.config import Preprocessing
from ladder_schema.errors import ErrorCode
from tests.hostile.base import rewrite

from .zoo import CLASSES, LeNet, Mlp, build, export, images

BATCH = torch.export.Dim("batch")


def write(path, model, *args, decompose=False, extra_files=None, **options):
    program = torch.export.export(model, args, **options)
    if decompose:
        program = program.run_decompositions()
    torch.export.save(program, path, extra_files=extra_files)
    return path


def run(path, *args, **options):
    return torch.export.load(path).module()(*args, **options)


def train_a_little(classifier):
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.mul_(1.1)


# Batch sizes

FIXED = ["lenet_log_softmax", "mlp_sigmoid_squeezed", "dict_output", "vit"]


@pytest.mark.parametrize(("size", "decompose"), [(1, False), (1, True), (3, False)])
@pytest.mark.parametrize("name", FIXED)
def test_a_fixed_batch_size_is_freed(tmp_path, name, size, decompose):
    model = build(name)
    classifier = load_classifier(write(tmp_path / "m.pt2", model, images(name, size), decompose=decompose))
    x = images(name, 5)
    expected = model(x)
    expected = expected["logits"] if isinstance(expected, dict) else expected
    assert torch.equal(
        classifier._program.output.from_logits(classifier(x)).reshape(expected.shape), expected
    )
    classifier.probe(x)
    assert any(f"batches of exactly {size} image(s)" in caveat for caveat in classifier.describe().caveats)


def test_a_freed_file_is_saved_as_it_was(tmp_path):
    name = "lenet_log_softmax"
    classifier = load_classifier(write(tmp_path / "m.pt2", build(name), images(name, 1)))
    train_a_little(classifier)
    classifier.save(tmp_path / "saved.pt2")
    x = images(name, 1)
    assert torch.equal(run(tmp_path / "saved.pt2", x), classifier(x).log_softmax(1))
    with pytest.raises((RuntimeError, AssertionError)):
        run(tmp_path / "saved.pt2", images(name, 2))


class MixesImages(nn.Module):
    """The scores of one image depend on the others: three images say nothing about four."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(256, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.fc(x - x.mean(0))


def test_a_batch_size_that_cannot_be_freed_is_refused(tmp_path):
    path = write(tmp_path / "m.pt2", MixesImages().eval(), images("mlp_softmax", 3))
    with pytest.raises(ModelError, match="batches of exactly 3 image") as caught:
        load_classifier(path)
    assert caught.value.code is ErrorCode.MODEL_UNSUPPORTED
    assert "dynamic_shapes" in caught.value.message


def test_a_bounded_batch_is_probed_within_its_bounds(tmp_path):
    bounded = ({0: torch.export.Dim("batch", min=2, max=3)},)
    path = write(tmp_path / "m.pt2", build("mlp_softmax"), images("mlp_softmax", 2), dynamic_shapes=bounded)
    classifier = load_classifier(path)
    for count in (1, 4, 7):
        classifier.probe(images("mlp_softmax", count))
    assert any("at most 3 images" in caveat for caveat in classifier.describe().caveats)


# What the file says about itself


def test_description(tmp_path):
    path = export(build("lenet_log_softmax"), images("lenet_log_softmax"), "pt2", tmp_path / "model.pt")
    description = load_classifier(path).describe()
    assert description.format == "torch.export"
    assert description.input_shape == (1, 16, 16)
    assert any("num_batches_tracked" in caveat for caveat in description.caveats)
    assert not any("batches of" in caveat for caveat in description.caveats)
    resized = load_classifier(path, preprocessing=Preprocessing(resize=(16, 16)))
    assert resized.describe().input_shape is None


def test_images_of_another_shape_are_refused(tmp_path):
    path = export(build("conv_head"), images("conv_head"), "pt2", tmp_path / "m.pt2")
    with pytest.raises(ModelError, match=r"exported for images of shape \(1, 16, 16\)") as caught:
        load_classifier(path).probe(torch.rand(2, 1, 20, 20))
    assert caught.value.code is ErrorCode.MODEL_REJECTS_IMAGES


class Optioned(nn.Module):
    """Images by keyword, options, a constant tensor, and buffers of both kinds."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(256, CLASSES)
        self.register_buffer("scale", torch.tensor(2.0))
        self.register_buffer("shift", torch.ones(CLASSES), persistent=False)
        self.weights = torch.linspace(0, 1, CLASSES)

    def forward(self, x: Tensor, mask: Tensor | None = None, times: int = 1) -> dict[str, Tensor]:
        scores = self.fc(x.flatten(1)) * self.scale + self.shift * times + self.weights + torch.tensor(0.5)
        return {"logits": scores if mask is None else scores * mask, "images": x}


def test_saved_file_is_the_users(tmp_path):
    model, x = Optioned().eval(), images("mlp_softmax")
    path = write(
        tmp_path / "m.pt2",
        model,
        kwargs={"x": x, "mask": None, "times": 3},
        dynamic_shapes={"x": {0: BATCH}, "mask": None, "times": None},
        extra_files={"labels.txt": "cat,dog"},
    )
    classifier = load_classifier(path)
    assert torch.equal(classifier(x), model(x, times=3)["logits"])
    classifier.probe(x)
    assert list(classifier.state_dict()) == list(model.state_dict())
    assert classifier.upload_state_dict().keys() == model.state_dict().keys()
    twin = classifier.clone()
    train_a_little(classifier)
    assert not torch.equal(classifier(x), twin(x))
    classifier.save(tmp_path / "saved.pt2")
    extra = {"labels.txt": ""}
    saved = torch.export.load(tmp_path / "saved.pt2", extra_files=extra)
    assert extra["labels.txt"] == "cat,dog"
    assert str(saved.graph_signature) == str(torch.export.load(path).graph_signature)
    assert str(saved.graph) == str(torch.export.load(path).graph)
    assert torch.equal(saved.module()(x=x, mask=None, times=3)["logits"], classifier(x))


def test_tied_weights_stay_tied(tmp_path):
    path = export(build("tied_weights"), images("tied_weights"), "pt2", tmp_path / "m.pt2")
    classifier = load_classifier(path)
    train_a_little(classifier)
    classifier.save(tmp_path / "saved.pt2")
    saved = torch.export.load(tmp_path / "saved.pt2").state_dict
    assert torch.equal(saved["second.weight"], saved["third.weight"])
    assert not torch.equal(saved["second.weight"], build("tied_weights").second.weight)


def test_half_precision_trains_in_single_and_is_saved_in_half(tmp_path):
    model, x = Mlp(CLASSES, nn.Identity()).eval().bfloat16(), images("mlp_softmax")
    path = export(model, x.bfloat16(), "pt2", tmp_path / "m.pt2")
    classifier = load_classifier(path)
    assert classifier(x).dtype is torch.float32
    classifier.probe(x)
    classifier.save(tmp_path / "saved.pt2")
    saved = torch.export.load(tmp_path / "saved.pt2").state_dict
    assert all(torch.equal(saved[name], tensor) for name, tensor in model.state_dict().items())


def test_modes_switch_in_a_decomposed_program(tmp_path):
    """Batch norm comes back to life; dropout, of which nothing is left, is named as gone."""
    x = images("lenet_log_softmax")
    path = write(
        tmp_path / "m.pt2", build("lenet_log_softmax"), x, decompose=True, dynamic_shapes=({0: BATCH},)
    )
    classifier = load_classifier(path).train()
    eager = build("lenet_log_softmax").train()
    eager.drop.p = 0.0
    torch.testing.assert_close(classifier(x).log_softmax(1), eager(x))
    torch.testing.assert_close(classifier.state_dict()["norm.running_mean"], eager.norm.running_mean)
    assert any("dropout is gone" in caveat for caveat in classifier.describe().caveats)


# Refusals


@torch.library.custom_op("ladder_tests::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return x * 2


@twice.register_fake
def _(x):
    return torch.empty_like(x)


class CustomOperator(Mlp):
    def __init__(self):
        super().__init__(CLASSES, nn.Identity())

    def forward(self, x):
        return self.last(twice(self.body(x)))


class WithoutGradients(Mlp):
    def __init__(self):
        super().__init__(CLASSES, nn.Identity())

    def forward(self, x):
        with torch.no_grad():
            x = self.body(x)
        return self.last(x)


class TwoInputs(Mlp):
    def __init__(self):
        super().__init__(CLASSES, nn.Identity())

    def forward(self, x, mask):
        return self.last(self.body(x * mask))


X = images("mlp_softmax")
REFUSED = {
    "custom operator": (CustomOperator, (X,), "custom operator ladder_tests::twice"),
    "no gradients inside": (WithoutGradients, (X,), "within torch.no_grad()"),
    "two inputs": (TwoInputs, (X, X), "needs 2 arguments"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(tmp_path, kind):
    make, args, words = REFUSED[kind]
    with pytest.raises(ModelError) as caught:
        load_classifier(write(tmp_path / "m.pt2", make().eval(), *args))
    assert caught.value.code is ErrorCode.MODEL_UNSUPPORTED
    assert words in caught.value.message


@pytest.mark.parametrize("decompose", [False, True], ids=["whole", "decomposed"])
def test_exported_in_training_mode(tmp_path, decompose):
    path = write(tmp_path / "m.pt2", LeNet().train(), X, decompose=decompose, dynamic_shapes=({0: BATCH},))
    with pytest.raises(ModelError, match=r"model.eval\(\) before .*torch.export") as caught:
        load_classifier(path)
    assert caught.value.code is ErrorCode.MODEL_UNSUPPORTED


def test_truncated(tmp_path):
    path = export(LeNet().eval(), X, "pt2", tmp_path / "m.pt2")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match="truncated") as caught:
        load_classifier(path)
    assert caught.value.code is ErrorCode.MODEL_UNREADABLE


def test_parts_that_do_not_fit_together_are_named(tmp_path):
    """Found by mutation: PyTorch looks at the call graph's first name only when the program is to run."""
    path, whole = (
        tmp_path / "m.pt2",
        write(tmp_path / "whole.pt2", build("mlp_softmax"), images("mlp_softmax")),
    )

    def rename(name: str, data: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return data
        document = json.loads(data)
        document["graph_module"]["module_call_graph"][0]["fqn"] = "x"
        return json.dumps(document).encode()

    rewrite(whole.read_bytes(), path, rename)
    with pytest.raises(ModelError) as raised:
        load_classifier(path).probe(images("mlp_softmax"))
    assert raised.value.code is ErrorCode.MODEL_UNREADABLE
