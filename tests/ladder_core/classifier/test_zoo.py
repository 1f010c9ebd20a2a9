"""Every model of the zoo, saved in every way, against the eager model it came from."""

import copy
import subprocess
import sys

import pytest
import torch
from torch.fx.experimental import optimization as fx_optimization
from torch.nn import functional as F  # noqa: N812 - PyTorch's own convention

from ladder_core.classifier import OutputForm, load_classifier

from .zoo import ZOO, build, export, images

CASES = [(name, way) for name, example in ZOO.items() for way in example.ways]
UNFROZEN = [case for case in CASES if case[1] != "frozen"]


@pytest.fixture(scope="session")
def upload(tmp_path_factory):
    """``upload(name, way)``: the eager model, the path of the saved file."""
    folder, made = tmp_path_factory.mktemp("zoo"), {}

    def make(name, way):
        if (name, way) not in made:
            model = build(name)
            made[name, way] = model, export(model, images(name, seed=7), way, folder / f"{name}-{way}.pt")
        model, path = made[name, way]
        return copy.deepcopy(model), path

    return make


def scores(output):
    """The class scores among what a model of the zoo returns."""
    if isinstance(output, dict):
        return output["logits"]
    return output[0] if isinstance(output, tuple) else output


def in_scale(classifier, logits, like):
    return classifier._program.output.from_logits(logits).reshape(like.shape)


def loss_of_scores(output, labels, form):
    """The cross-entropy of eager scores, by the operations the classifier's logits would take."""
    if form is OutputForm.LOG_PROBABILITIES:
        return F.nll_loss(output, labels)
    if form is OutputForm.PROBABILITIES:
        return F.nll_loss(output.log(), labels)
    if form is OutputForm.BINARY_PROBABILITY:
        return F.binary_cross_entropy(output.flatten(), labels.float())
    return F.cross_entropy(output, labels)


@pytest.mark.parametrize(("name", "way"), CASES)
def test_output_equals_eager(upload, name, way):
    model, path = upload(name, way)
    classifier, x = load_classifier(path), images(name)
    expected = scores(model(x))
    logits = classifier(x)
    if way == "frozen":
        torch.testing.assert_close(in_scale(classifier, logits, expected), expected, rtol=1e-5, atol=1e-5)
    else:
        assert torch.equal(in_scale(classifier, logits, expected), expected)
    z = classifier.features(x)
    assert z.dim() == 2
    assert torch.equal(classifier.head(z), logits)
    if classifier.head_is_affine:
        closed_form = F.linear(z, classifier.head_weight, classifier.head_bias)
        torch.testing.assert_close(closed_form, logits)
    description = classifier.probe(x)
    assert (description.num_classes, description.latent_dim) == (logits.shape[1], z.shape[1])


@pytest.mark.parametrize(("name", "way"), UNFROZEN)
def test_gradients_equal_eager(upload, name, way):
    model, path = upload(name, way)
    classifier = load_classifier(path)
    form = classifier.describe().output_form
    labels = torch.arange(4) % 2
    x, eager_x = images(name).requires_grad_(), images(name).requires_grad_()
    loss_of_scores(scores(model(eager_x)), labels, form).backward()
    F.cross_entropy(classifier(x), labels).backward()
    torch.testing.assert_close(x.grad, eager_x.grad, rtol=1e-4, atol=1e-6)
    gradients = {name: p.grad for name, p in classifier.named_parameters()}
    eager = {name: p.grad for name, p in model.named_parameters()}
    assert gradients.keys() == eager.keys()
    torch.testing.assert_close(gradients, eager, rtol=1e-4, atol=1e-6)
    if form is OutputForm.LOGITS:
        assert torch.equal(x.grad, eager_x.grad)
        assert all(torch.equal(gradients[key], eager[key]) for key in eager)


@pytest.mark.parametrize(("name", "way"), UNFROZEN)
def test_three_training_steps_equal_eager(upload, name, way):
    model, path = upload(name, way)
    classifier = load_classifier(path)
    form = classifier.describe().output_form
    labels = torch.arange(4) % 2
    lost = {"num_batches_tracked"} if way == "traced" else set()
    trained = []
    for network, loss in ((model, loss_of_scores), (classifier, lambda o, y, _: F.cross_entropy(o, y))):
        network.train()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
        torch.manual_seed(3)
        for step in range(3):
            optimizer.zero_grad()
            output = network(images(name, seed=step))
            # A head inside a branch may return another scale in training.
            scale = OutputForm.LOGITS if name == "head_in_branch" else form
            loss(scores(output), labels, scale).backward()
            optimizer.step()
        trained.append({k: v for k, v in network.state_dict().items() if k.rpartition(".")[2] not in lost})
    eager, ours = trained
    assert ours.keys() == eager.keys()
    if form is OutputForm.LOGITS:
        assert all(torch.equal(ours[key], eager[key]) for key in eager)
    torch.testing.assert_close(ours, eager, rtol=1e-4, atol=1e-5)


FROZEN = [name for name, way in CASES if way == "frozen"]


def folded(model):
    """What freezing leaves of a model: batch norms folded into the convolutions before them, no dropout."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
        if isinstance(module, torch.nn.MultiheadAttention):
            module.dropout = 0.0
    if any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules()):
        return fx_optimization.fuse(model)
    return model


def nearest(tensor, candidates):
    """The candidate a tensor was made from: transposed perhaps, and folded in another order of operations."""
    same = {name: other for name, other in candidates.items() if other.shape == tensor.shape}
    return min(same, key=lambda name: (same[name] - tensor).abs().max())


@pytest.mark.parametrize("name", [name for name in FROZEN if name != "densenet"])
def test_three_training_steps_of_a_frozen_file_equal_the_folded_network(upload, name):
    model, path = upload(name, "frozen")
    classifier, eager = load_classifier(path), folded(model)
    form = classifier.describe().output_form
    labels = torch.arange(4) % 2
    start = {key: parameter.detach().clone() for key, parameter in eager.named_parameters()}
    pairs = {key: nearest(parameter, start) for key, parameter in classifier.named_parameters()}
    for key, parameter in eager.named_parameters():
        # Tensors that are no layer's weights, such as a class token, stay constants in a frozen file.
        parameter.requires_grad_(key in pairs.values())
    for network, loss in ((eager, loss_of_scores), (classifier, lambda o, y, _: F.cross_entropy(o, y))):
        network.train()
        optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.05)
        for step in range(3):
            optimizer.zero_grad()
            loss(scores(network(images(name, seed=step))), labels, form).backward()
            optimizer.step()
    expected, moved = dict(eager.named_parameters()), 0
    for key, parameter in classifier.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter, expected[pairs[key]], rtol=1e-4, atol=1e-5)
            moved += not torch.equal(parameter, start[pairs[key]])
    # Deep in an untrained network some steps are too small to change a float32.
    assert moved > len(start) / 2


LOAD_WITH_TORCH_ALONE = """
import sys, torch
wrong = []
for line in sys.stdin:
    model, data = line.split()
    module, saved = torch.jit.load(model), torch.load(data)
    assert not any(name.split(".")[0].startswith("ladder") for name in sys.modules)
    output = module(saved["x"])
    if not isinstance(output, torch.Tensor):
        output = output["logits"] if isinstance(output, dict) else output[0]
    if not torch.allclose(output, saved["expected"], rtol=1e-5, atol=1e-6):
        wrong.append((model, (output - saved["expected"]).abs().max().item()))
    if saved["names"] is not None and list(module.state_dict()) != saved["names"]:
        wrong.append((model, "names"))
assert not wrong, wrong
"""


def test_saved_files_load_with_torch_alone(upload, tmp_path):
    lines = []
    for name, way in CASES:
        model, path = upload(name, way)
        classifier, x = load_classifier(path), images(name)
        with torch.no_grad():
            for parameter in classifier.parameters():
                parameter.add_(0.01 * torch.rand_like(parameter))
        saved, data = tmp_path / path.name, tmp_path / f"{path.name}.data"
        classifier.save(saved)
        with torch.no_grad():
            expected = classifier._program.output.from_logits(classifier(x))
            if name == "mlp_sigmoid_squeezed":
                expected = expected.squeeze(1)
        names = list(model.state_dict()) if way != "frozen" else None
        torch.save({"x": x, "expected": expected, "names": names}, data)
        lines.append(f"{saved} {data}\n")
    result = subprocess.run(
        [sys.executable, "-c", LOAD_WITH_TORCH_ALONE],
        input="".join(lines),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
