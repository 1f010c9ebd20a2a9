"""What a batch is measured to take is what it takes, and the batch found from it fits."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ladder_core import batching
from ladder_core._torchvision import torchvision
from ladder_core.batching import LARGEST, LiveBytes, batch_size_for, halving
from ladder_core.classifier import Classifier

CPU = torch.device("cpu")
MIB = 1 << 20


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    ).eval()  # fmt: skip


def saved_bytes(model: nn.Module, images: Tensor) -> int:
    """What autograd keeps from the forward pass for the backward pass, but for the model's own tensors."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # held: its address must not be used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(images.requires_grad_())
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def test_tensors_are_counted_while_they_live() -> None:
    before = torch.ones(1000)
    with LiveBytes() as live:
        first = before + 1
        assert (live.live, live.peak) == (4000, 4000)
        second = first.double()
        view = second[10:].reshape(-1, 1)
        second.add_(1)
        before.mul_(2)
        assert (live.live, live.peak) == (12_000, 12_000)
        del first, second
        assert live.live == 8000
        del view
        assert (live.live, live.peak) == (0, 12_000)


def test_backward_passes_are_counted_too() -> None:
    """Of exp, autograd keeps the result; the gradient of sum is expanded, that of exp is as large again."""
    inputs = torch.zeros(1000, requires_grad=True)
    with LiveBytes() as live:
        total = inputs.exp().sum()
        forward = live.peak
        torch.autograd.grad(total, inputs)

    assert forward == 4004
    assert live.peak == pytest.approx(8000, abs=16)


def test_with_gradients_it_is_what_autograd_keeps_and_little_more() -> None:
    model, images = network(), torch.zeros(8, 3, 32, 32)
    largest = 8 * 32 * 32 * 32 * 4

    found = batching._peak_bytes(model, tuple(images.shape), CPU, backward=True)

    kept = saved_bytes(model, images)
    assert kept < found <= kept + 3 * largest
    assert found > 2 * batching._peak_bytes(model, tuple(images.shape), CPU, backward=False)


_MEASURE = """
import sys, torch
from ladder_core import batching
torch.set_num_threads(1)
backward, shape = sys.argv[1] == "True", (256, 3, 32, 32)
model = torch.nn.Sequential(*(torch.nn.Conv2d(n, 32, 3, padding=1) for n in (3, 32, 32))).eval()
def status(field):  # not getrusage: its peak is inherited from the process that started this one
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
with torch.set_grad_enabled(backward):
    batching._pass(model, (1, *shape[1:]), torch.device("cpu"), backward=backward)
    before = status("VmRSS")
    batching._pass(model, shape, torch.device("cpu"), backward=backward)
print(status("VmHWM") - before, batching._peak_bytes(model, shape, torch.device("cpu"), backward=backward))
"""


@pytest.mark.parametrize("backward", [False, True])
def test_the_process_grows_by_what_was_counted(backward: bool) -> None:
    """In a process of its own, whose allocator has nothing to spare.

    What is not counted are oneDNN's copies of a convolution's input and output in its own layout.
    """
    command = [sys.executable, "-c", _MEASURE, str(backward)]
    root = Path(__file__).parents[2]
    output = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=120).stdout
    grown, counted = map(int, output.split())

    assert counted > 50 * MIB
    assert 0.75 * counted < grown < 1.6 * counted


def test_a_resnet_50_fits() -> None:
    with torch.device("cpu"):
        model = torchvision.models.resnet50().eval()

    size = batch_size_for(model, (3, 224, 224), CPU, backward=True)

    kept = size * saved_bytes(model, torch.zeros(1, 3, 224, 224))
    assert 0.6 * 1024 * MIB < kept < 1.5 * 1024 * MIB


def test_a_model_is_left_as_it_was() -> None:
    model = network().train()
    model.requires_grad_(True)
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    size = batch_size_for(model, (3, 32, 32), CPU, backward=True)

    assert model.training
    assert all(module.training for module in model)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert size == batch_size_for(model.eval(), (3, 32, 32), CPU, backward=True)


def test_small_images_stop_at_the_largest_batch(digits_classifier: Classifier) -> None:
    assert batch_size_for(digits_classifier, (1, 8, 8), CPU, backward=True) == LARGEST
    assert batch_size_for(digits_classifier, (1, 8, 8), CPU, backward=False, largest=77) == 77


@pytest.mark.parametrize(("budget", "expected"), [(1, 1), (40 * MIB, None)])
def test_the_batch_found_fills_its_budget(
    budget: int, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_CPU_BUDGET", budget)
    model = network()

    size = batch_size_for(model, (3, 32, 32), CPU, backward=True)

    if expected is not None:
        assert size == expected
    else:
        peak = batching._peak_bytes(model, (size, 3, 32, 32), CPU, backward=True)
        assert 0.9 * budget < peak <= 1.01 * budget


class Small:
    """A device on which no more than a few samples fit; it notes what it was asked to do."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []

    def __call__(self, values: Tensor, factors: Tensor) -> Tensor:
        self.sizes.append(len(values))
        if len(values) > self.room:
            raise torch.OutOfMemoryError
        return values * factors


@pytest.mark.parametrize(
    ("count", "room", "sizes"), [(8, 8, [8]), (8, 3, [8, 4, 2, 2, 4, 2, 2]), (5, 2, [5, 2, 3, 1, 2])]
)
def test_a_batch_is_halved_until_it_fits(count: int, room: int, sizes: list[int]) -> None:
    values, factors = torch.arange(count), torch.arange(count) + 1
    work = Small(room)

    results = halving(work, values, factors)

    assert torch.equal(torch.cat(results), values * factors)
    assert work.sizes == sizes


def test_what_fits_in_no_part_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        halving(Small(0), torch.arange(4), torch.arange(4))


def test_other_errors_are_passed_on() -> None:
    def broken(values: Tensor) -> Tensor:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        halving(broken, torch.arange(4))
