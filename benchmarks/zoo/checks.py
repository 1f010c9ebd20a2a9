"""What a compiled classifier must share with the eager model it came from, by checks that raise."""

import copy
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.fx.experimental import optimization as fx_optimization
from torch.nn import functional as F  # noqa: N812 - PyTorch's own convention

from benchmarks.zoo.ways import Example
from ladder_core._torchvision import torchvision
from ladder_core.classifier import Classifier, OutputForm, load_classifier

STEPS = 3


def scores(output: object) -> Tensor:
    """The class scores among what a model of the zoo returns."""
    if isinstance(output, dict):
        return output["logits"]
    return output[0] if isinstance(output, tuple) else output


def in_scale(classifier: Classifier, logits: Tensor, like: Tensor) -> Tensor:
    """Logits as the scores the file returns."""
    return classifier._program.output.from_logits(logits).reshape(like.shape)  # noqa: SLF001


def loss_of_scores(output: Tensor, labels: Tensor, form: OutputForm) -> Tensor:
    """The cross-entropy of eager scores, by the operations the classifier's logits would take."""
    if form is OutputForm.LOG_PROBABILITIES:
        return F.nll_loss(output, labels)
    if form is OutputForm.PROBABILITIES:
        return F.nll_loss(output.log(), labels)
    if form is OutputForm.BINARY_PROBABILITY:
        return F.binary_cross_entropy(output.flatten(), labels.float())
    if form is OutputForm.BINARY_LOGIT:
        return F.binary_cross_entropy_with_logits(output.flatten(), labels.float())
    return F.cross_entropy(output, labels)


def check_output(example: Example, model: nn.Module, classifier: Classifier, way: str) -> None:
    """Outputs are eager's, bit for bit unless frozen; features and head are one model; the file agrees."""
    x = example.images()
    expected, logits = scores(model(x)), classifier(x)
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


def check_gradients(example: Example, model: nn.Module, classifier: Classifier) -> None:
    """Gradients of images and parameters are eager's, under the same names; bit for bit where logits are."""
    form = classifier.describe().output_form
    labels = torch.arange(4) % 2
    x, eager_x = example.images().requires_grad_(), example.images().requires_grad_()
    loss_of_scores(scores(model(eager_x)), labels, form).backward()
    F.cross_entropy(classifier(x), labels).backward()
    torch.testing.assert_close(x.grad, eager_x.grad, rtol=1e-4, atol=1e-6)
    gradients = {name: p.grad for name, p in classifier.named_parameters()}
    eager = {name: p.grad for name, p in model.named_parameters()}
    assert gradients.keys() == eager.keys()
    torch.testing.assert_close(gradients, eager, rtol=1e-4, atol=1e-6)
    if form is OutputForm.LOGITS:
        assert torch.equal(x.grad, eager_x.grad)
        assert all(_same(gradients[key], eager[key]) for key in eager)


def check_training(example: Example, model: nn.Module, classifier: Classifier, way: str) -> None:
    """Three steps in training mode end in eager's state_dict, except what the file's format has lost."""
    model = copy.deepcopy(model) if way == "scripted" else without_lost(model)
    lost = set() if way == "scripted" else {"num_batches_tracked"}
    start = classifier.describe().output_form
    # A scripted head inside a branch may return another scale in training than otherwise.
    trains_on_logits = type(model).__name__ == "HeadInBranch"
    form = OutputForm.LOGITS if trains_on_logits else start
    eager = _train(example, model, loss_of_scores, form, lost)
    ours = _train(example, classifier, _cross_entropy, form, lost)
    assert ours.keys() == eager.keys()
    if start is OutputForm.LOGITS:
        assert all(torch.equal(ours[key], eager[key]) for key in eager)
    torch.testing.assert_close(ours, eager, rtol=1e-4, atol=1e-5)


def _cross_entropy(logits: Tensor, labels: Tensor, form: OutputForm) -> Tensor:
    del form
    return F.cross_entropy(logits, labels)


def _train(example, network, loss, form, lost):  # noqa: ANN001, ANN202
    network.train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    torch.manual_seed(3)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss(scores(network(example.images(seed=step))), torch.arange(4) % 2, form).backward()
        optimizer.step()
    return {k: v for k, v in network.state_dict().items() if k.rpartition(".")[2] not in lost}


def without_lost(model: nn.Module) -> nn.Module:
    """A copy without what only training executes: it leaves no mark in a program traced in eval mode."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, torchvision.ops.StochasticDepth):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
        elif type(module).__name__ == "DropPath":
            module.drop_prob = 0.0
    return model


# Frozen files


def check_frozen_training(example: Example, model: nn.Module, classifier: Classifier) -> None:
    """Three steps end as for the eager network with its batch norms folded and without dropout."""
    eager = folded(model, classifier)
    form = classifier.describe().output_form
    start = {key: parameter.detach().clone() for key, parameter in eager.named_parameters()}
    pairs = {key: nearest(parameter, start) for key, parameter in classifier.named_parameters()}
    for key, parameter in eager.named_parameters():
        # Tensors that are no layer's weights, such as a class token, stay constants in a frozen file.
        parameter.requires_grad_(key in pairs.values())
    _train(example, eager, loss_of_scores, form, set())
    _train(example, classifier, _cross_entropy, form, set())
    expected, moved = dict(eager.named_parameters()), 0
    for key, parameter in classifier.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter, expected[pairs[key]], rtol=1e-4, atol=1e-5)
            moved += not torch.equal(parameter, start[pairs[key]])
    # Deep in an untrained network some steps are too small to change a float32.
    assert moved > len(start) / 2


class _KeptBatchNorm(nn.BatchNorm2d):
    """A batch norm that folding passes over, as it looks for the exact type."""

    __module__ = "torch.nn"  # torch.fx looks inside all others.


def folded(model: nn.Module, classifier: Classifier) -> nn.Module:
    """What freezing leaves of a model: no dropout, and batch norms folded into convolutions.

    Freezing folds where a batch norm follows a convolution in straight code; those that the frozen file still
    has are kept here too, recognised by their statistics.
    """
    model = without_lost(model)
    kept = [buffer for name, buffer in classifier.named_buffers() if name.endswith("running_mean")]
    _split_activations(model)
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):  # noqa: SLF001 - the base has no public name
            module.p = 0.0
        elif type(module) is nn.BatchNorm2d and any(torch.equal(module.running_mean, mean) for mean in kept):
            module.__class__ = _KeptBatchNorm
    if any(type(module) is nn.BatchNorm2d for module in model.modules()):
        return fx_optimization.fuse(model)
    return model


def _split_activations(model: nn.Module) -> None:
    """Make of timm's batch norms with an activation inside what torch.fx can fold: one after the other."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and hasattr(child, "act"):
                plain = nn.BatchNorm2d(child.num_features, child.eps, child.momentum).eval()
                plain.load_state_dict({key: child.state_dict()[key] for key in plain.state_dict()})
                setattr(parent, name, nn.Sequential(plain, child.drop, child.act))


def nearest(tensor: Tensor, candidates: dict[str, Tensor]) -> str:
    """The candidate a tensor was made from, which folding in another order of operations changed a little."""
    same = {name: other for name, other in candidates.items() if other.shape == tensor.shape}
    return min(same, key=lambda name: (same[name] - tensor).abs().max())


# Saved files

_LOAD_WITH_TORCH_ALONE = """
import sys, torch
for line in sys.stdin:
    model, data, way = line.rstrip("\\n").split("\\t")
    with open(model, "rb") as file:
        module = torch.export.load(file).module() if way == "pt2" else torch.jit.load(file)
    saved = torch.load(data)
    assert not any(name.split(".")[0] in ("ladder_core", "benchmarks", "timm") for name in sys.modules)
    output = module(saved["x"])
    if not isinstance(output, torch.Tensor):
        output = output["logits"] if isinstance(output, dict) else output[0]
    if not torch.allclose(output, saved["expected"], rtol=1e-5, atol=1e-5):
        print("differs by", (output - saved["expected"]).abs().max().item())
    elif saved["names"] is not None and set(module.state_dict()) != set(saved["names"]):
        print("other names in its state_dict")
    else:
        print("same")
"""


def check_saved(cases: list[tuple[Example, nn.Module, Path, str]], folder: Path) -> None:
    """Trained files load with torch alone, without our code, and say what the classifier says."""
    answers = answers_of_torch_alone(cases, folder)
    assert answers == ["same"] * len(cases), answers


def answers_of_torch_alone(cases: list[tuple[Example, nn.Module, Path, str]], folder: Path) -> list[str]:
    """Train each file a little, save it, and compare it in a process of its own: ``same`` or what differs."""
    lines = []
    for example, model, path, way in cases:
        classifier, x = load_classifier(path), example.images()
        with torch.no_grad():
            for parameter in classifier.parameters():
                parameter.add_(0.01 * torch.rand_like(parameter))
        saved, data = folder / path.name, folder / f"{path.name}.data"
        classifier.save(saved)
        with torch.no_grad():
            expected = in_scale(classifier, classifier(x), scores(model(x)))
        names = list(model.state_dict()) if way != "frozen" else None
        torch.save({"x": x, "expected": expected, "names": names}, data)
        lines.append(f"{saved}\t{data}\t{way}\n")
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _LOAD_WITH_TORCH_ALONE],
        input="".join(lines),
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def _same(tensor: Tensor | None, other: Tensor | None) -> bool:
    if tensor is None or other is None:
        return tensor is other
    return torch.equal(tensor, other)
