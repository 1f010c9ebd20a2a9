"""What a Classifier promises beyond running: modes, names, copies, files, preprocessing."""

import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own convention

from benchmarks.zoo.ways import WAYS
from ladder_core.classifier import OutputForm, load_classifier
from ladder_core.classifier.outputs import OutputSpec
from ladder_core.classifier.torchscript import TorchScriptFile
from ladder_core.errors import ModelError
from ladder_schema.config import Preprocessing
from ladder_schema.errors import ErrorCode

from .zoo import CLASSES, Mlp, build, export, images


@pytest.fixture
def lenet(tmp_path):
    return load_classifier(
        export(build("lenet_log_softmax"), images("lenet_log_softmax"), "traced", tmp_path / "m")
    )


def test_modes_switch_what_tracing_fixed(lenet):
    x = images("lenet_log_softmax")
    assert torch.equal(lenet(x), lenet(x))
    before = lenet.state_dict()["norm.running_mean"].clone()
    lenet.train()
    assert not torch.equal(lenet(x), lenet(x))
    assert not torch.equal(before, lenet.state_dict()["norm.running_mean"])


def test_names_are_the_uploads(lenet):
    model = build("lenet_log_softmax")
    assert list(lenet.state_dict()) == list(model.state_dict())
    assert dict(lenet.named_parameters()).keys() == dict(model.named_parameters()).keys()
    uploaded = lenet.upload_state_dict()
    assert uploaded.keys() == model.state_dict().keys()
    assert all(torch.equal(uploaded[name], tensor) for name, tensor in model.state_dict().items())


def test_head_weight_is_live(lenet):
    weight = lenet.head_weight
    with torch.no_grad():
        dict(lenet.named_parameters())["fc2.weight"].zero_()
    assert not weight.any()
    assert lenet.head_weight.requires_grad


def test_binary_head_has_two_classes(tmp_path):
    model = Mlp(1, nn.Sigmoid()).eval()
    classifier = load_classifier(export(model, images("mlp_sigmoid"), "traced", tmp_path / "m"))
    probability = model(images("mlp_sigmoid"))
    expected = torch.cat([1 - probability, probability], 1)
    torch.testing.assert_close(classifier(images("mlp_sigmoid")).softmax(1), expected)
    assert classifier.num_classes == 2


class Careful(nn.Module):
    """Probabilities kept away from zero, as those who take logarithms by hand do."""

    def __init__(self, form: str):
        super().__init__()
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        if self.form == "sigmoid":
            return torch.sigmoid(x).clamp(1e-6, 1 - 1e-6)
        x = torch.softmax(x, 1).clamp(min=1e-6)
        return x if self.form == "softmax" else torch.log(x)


@pytest.mark.parametrize("way", ["traced", "scripted", "pt2"])
@pytest.mark.parametrize("form", ["softmax", "log", "sigmoid"])
def test_logits_are_found_behind_clamped_probabilities(tmp_path, form, way):
    outputs = 1 if form == "sigmoid" else CLASSES
    model, x = Mlp(outputs, Careful(form)).eval(), images("mlp_softmax")
    classifier = load_classifier(export(model, x, way, tmp_path / "m"))
    classifier.probe(x)
    logits = model.last(model.body(x))
    assert torch.equal(classifier(x)[:, -outputs:], logits)


def test_clone_is_independent(lenet):
    x = images("lenet_log_softmax")
    lenet(x).sum().backward()
    twin = lenet.clone()
    assert torch.equal(twin(x), lenet(x))
    assert all(parameter.grad is None for parameter in twin.parameters())
    with torch.no_grad():
        for parameter in lenet.parameters():
            parameter.zero_()
    assert twin(x).std() > 0
    assert not lenet(x).any()


def test_saving_one_copy_leaves_the_other_alone(lenet, tmp_path):
    twin, x = lenet.clone(), images("lenet_log_softmax")
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(1.5)
    twin.save(tmp_path / "twin.pt")
    lenet.save(tmp_path / "lenet.pt")
    assert torch.equal(load_classifier(tmp_path / "twin.pt")(x), twin(x))
    assert torch.equal(load_classifier(tmp_path / "lenet.pt")(x), lenet(x))


class Labelled(nn.Module):
    """More than a forward: an exported method and an optional argument."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(256, CLASSES)

    def forward(self, x: Tensor, scale: float | None = None) -> Tensor:
        x = self.fc(x.flatten(1))
        if scale is not None:
            x = x * scale
        return x

    @torch.jit.export
    def version(self) -> str:
        return "seven"


def test_saved_file_is_the_users(tmp_path):
    script = torch.jit.script(Labelled().train())
    torch.jit.save(script, str(tmp_path / "m.pt"), _extra_files={"labels.txt": b"cat,dog"})
    classifier = load_classifier(tmp_path / "m.pt")
    classifier.save(tmp_path / "saved.pt")
    extra = {"labels.txt": ""}
    saved = torch.jit.load(tmp_path / "saved.pt", _extra_files=extra)
    assert extra["labels.txt"] == b"cat,dog"
    assert saved.version() == "seven"
    assert saved.code == torch.jit.load(tmp_path / "m.pt").code
    assert not saved.training
    torch.testing.assert_close(
        saved(images("lenet_log_softmax"), 2.0), 2 * classifier(images("lenet_log_softmax"))
    )


def test_preprocessing_is_folded_in_and_left_out_of_the_file(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, CLASSES)).eval()
    preprocessing = Preprocessing(
        mean=(10.0, 20.0, 30.0),
        std=(2.0, 4.0, 8.0),
        value_range=(0.0, 255.0),
        channel_order="bgr",
        resize=(8, 8),
    )
    x = torch.rand(2, 3, 12, 12, requires_grad=True)
    path = export(model, torch.rand(2, 3, 8, 8), "traced", tmp_path / "m.pt")
    classifier = load_classifier(path, preprocessing=preprocessing)
    resized = F.interpolate(x, (8, 8), mode="bilinear", antialias=True) * 255
    shift, scale = torch.tensor([10.0, 20.0, 30.0]), torch.tensor([2.0, 4.0, 8.0])
    expected = model((resized.flip(1) - shift.view(3, 1, 1)) / scale.view(3, 1, 1))
    torch.testing.assert_close(classifier(x), expected)
    assert classifier.probe(x.detach()).input_shape == (3, 12, 12)
    classifier(x).sum().backward()
    assert x.grad is not None
    classifier.save(tmp_path / "saved.pt")
    plain = torch.jit.load(tmp_path / "saved.pt")
    torch.testing.assert_close(plain(x[..., :8, :8]), model(x[..., :8, :8]))
    assert list(classifier.state_dict()) == list(model.state_dict())


def test_baked_devices_follow_the_input(tmp_path):
    class Baked(Mlp):
        def forward(self, x):
            x = self.body(x)
            return self.last(x + torch.zeros(16, device=x.device))

    path = export(
        Baked(CLASSES, nn.Identity()).eval(), images("lenet_log_softmax"), "traced", tmp_path / "m.pt"
    )
    assert "cpu" in torch.jit.load(path).code
    classifier = load_classifier(path).to("meta")
    assert classifier(images("lenet_log_softmax").to("meta")).device.type == "meta"


def test_a_file_that_fails_on_a_device_it_was_made_for_is_not_passed_over(tmp_path):
    model = build("baked_device")
    upload = TorchScriptFile(export(model, images("baked_device"), "traced", tmp_path / "m.pt")).read()
    assert upload.graph.baked.devices == {"cpu"}
    with pytest.raises(ModelError) as caught:
        upload.scores(torch.rand(2, 3, 8, 8), OutputSpec(OutputForm.LOGITS, None))
    assert caught.value.code is ErrorCode.MODEL_REJECTS_IMAGES


def test_half_precision_trains_in_single_and_is_saved_in_half(tmp_path):
    model = Mlp(CLASSES, nn.Identity()).eval().to(torch.bfloat16)
    path = export(model, images("lenet_log_softmax").bfloat16(), "scripted", tmp_path / "m.pt")
    classifier = load_classifier(path)
    assert all(parameter.dtype is torch.float32 for parameter in classifier.parameters())
    classifier.probe(images("lenet_log_softmax"))
    classifier.save(tmp_path / "saved.pt")
    saved = torch.jit.load(tmp_path / "saved.pt").state_dict()
    assert all(torch.equal(saved[name], tensor) for name, tensor in model.state_dict().items())
    assert all(tensor.dtype is torch.bfloat16 for tensor in classifier.upload_state_dict().values())


class Casting(Mlp):
    """Takes float32 images, as half-precision models are served."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x.to(self.last.weight.dtype))).float()


class Halving(Mlp):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x.half())).float()


@pytest.mark.parametrize("way", ["traced", "scripted", "frozen", "pt2"])
@pytest.mark.parametrize(
    ("kind", "dtype"), [(Casting, torch.float16), (Casting, torch.bfloat16), (Halving, torch.float16)]
)
def test_half_precision_that_casts_its_images(tmp_path, kind, dtype, way):
    model, x = kind(CLASSES, nn.Identity()).eval().to(dtype), images("lenet_log_softmax")
    classifier = load_classifier(export(model, x, way, tmp_path / "m"))
    classifier.probe(x)
    torch.testing.assert_close(classifier(x), model(x), rtol=0.05, atol=0.05)
    classifier(x).sum().backward()
    assert all(parameter.grad is not None for parameter in classifier.parameters())


def test_activations_die_as_in_eager(tmp_path):
    """Without gradients no more than two activations live at once, however deep the model."""
    model = nn.Sequential(*(nn.Linear(256, 256) for _ in range(6)), nn.Linear(256, CLASSES)).eval()
    classifier = load_classifier(
        export(nn.Sequential(nn.Flatten(), *model), images("mlp_softmax"), "traced", tmp_path / "m")
    )
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal most
            result = func(*args, **(kwargs or {}))
            if func.overloadpacket is torch.ops.aten.addmm:
                alive.append(weakref.ref(result))
            most = max(most, sum(ref() is not None for ref in alive))
            return result

    with torch.no_grad(), Watch():
        classifier(images("mlp_softmax"))
    assert most <= 2


def test_uploaded_strings_never_reach_the_source(tmp_path):
    class Sly(Mlp):
        def __init__(self):
            super().__init__(CLASSES, nn.Identity())
            self.text = '"); import os; ("'

        def forward(self, x):
            if x.dim() < 2:
                raise RuntimeError(self.text + "{0.__class__}")
            return self.last(self.body(x))

    classifier = load_classifier(export(Sly().eval(), images("mlp_softmax"), "scripted", tmp_path / "m.pt"))
    assert "import os" not in classifier._program.features.source
    with pytest.raises(RuntimeError, match="import os"):
        classifier(torch.rand(3))


@pytest.mark.parametrize("kind", ["encoder", "attention"])
def test_traces_without_gradients_train(tmp_path, kind):
    """A trace under no_grad holds fused attention, which has no derivative of its own."""
    torch.manual_seed(0)
    if kind == "encoder":
        layer = nn.TransformerEncoderLayer(16, 2, 8, batch_first=True, dropout=0.0)
        encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        model = nn.Sequential(nn.Flatten(1, 2), encoder, nn.Flatten(), nn.Linear(256, CLASSES)).eval()
        shape = (2, 1, 16, 16)
    else:
        model, shape = build("vit"), (2, 3, 32, 32)
    with torch.no_grad():
        path = export(model, torch.rand(shape), "traced", tmp_path / "m.pt")
    classifier = load_classifier(path)
    fused = {"aten::_transformer_encoder_layer_fwd", "aten::_native_multi_head_attention"}
    assert fused & set(classifier.describe().operators)
    x = torch.rand(shape, requires_grad=True)
    eager_x = x.detach().clone().requires_grad_()
    classifier.probe(x.detach())
    torch.testing.assert_close(classifier(x), model(eager_x))
    classifier(x)[:, 0].sum().backward()
    model(eager_x)[:, 0].sum().backward()
    torch.testing.assert_close(x.grad, eager_x.grad, rtol=1e-4, atol=1e-6)
    ours = {name: parameter.grad for name, parameter in classifier.named_parameters()}
    eager = {name: parameter.grad for name, parameter in model.named_parameters()}
    torch.testing.assert_close(ours, eager, rtol=1e-4, atol=1e-6)


class InPlace(nn.Module):
    """Normalises the batch it is given in place, through a view of it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(256, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.view(-1, 256).sub_(0.5).div_(0.5))


@pytest.mark.parametrize("way", ["traced", "scripted", "frozen", "pt2"])
def test_a_forward_that_writes_its_images_leaves_the_callers_alone(tmp_path, way):
    model, x = InPlace().eval(), images("lenet_log_softmax")
    path = export(model, x.clone(), way, tmp_path / "m")
    kept, expected = x.clone(), model(x.clone())
    classifier = load_classifier(path)
    classifier.probe(x)
    torch.testing.assert_close(classifier(x), expected)
    assert torch.equal(x, kept)
    classifier(x.requires_grad_()).sum().backward()
    assert x.grad is not None


class FirstColumn(nn.Module):
    """One logit per image, shape (N,), taken from (N, 1) by its index: a head that is not read as a layer."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(256, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))[:, 0]


@pytest.mark.parametrize("make", [FirstColumn, lambda: build("mlp_one_logit")])
@pytest.mark.parametrize("way", WAYS)
def test_one_logit_becomes_two_and_is_said_to(make, way, tmp_path):
    model, x = make().eval(), images("mlp_one_logit")
    classifier = load_classifier(export(model, x, way, tmp_path / "m.pt"))
    logits = classifier(x)
    assert torch.equal(logits[:, 0], torch.zeros(len(x)))
    assert torch.equal(logits[:, 1], model(x).flatten())
    description = classifier.probe(x)
    assert (description.num_classes, description.output_form) == (2, OutputForm.BINARY_LOGIT)
    assert [caveat for caveat in description.caveats if "logit of class 1 of two" in caveat]


class Embeds(nn.Module):
    """Returns an embedding that is itself the result of a linear layer, and the logits made of it."""

    def __init__(self):
        super().__init__()
        self.embed, self.fc = nn.Linear(256, 12), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.embed(x.flatten(1))
        return z, self.fc(z)


class EmbedsAgain(Embeds):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.embed(x.flatten(1)), self.fc(self.embed(x.flatten(1)))


class LogitsAndClass(Embeds):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.fc(self.embed(x.flatten(1)))
        return logits, logits.argmax(1)


@pytest.mark.parametrize(("make", "position"), [(Embeds, 1), (EmbedsAgain, 1), (LogitsAndClass, 0)])
@pytest.mark.parametrize("way", WAYS)
def test_the_logits_of_a_tuple_are_found_and_it_is_said_which(make, position, way, tmp_path):
    model, x = make().eval(), images("tuple_output")
    classifier = load_classifier(export(model, x, way, tmp_path / "m.pt"))
    torch.testing.assert_close(classifier(x), model(x)[position])
    description = classifier.probe(x)
    assert description.output_key == position
    assert any(f"{position} was taken for the class scores" in caveat for caveat in description.caveats)
