"""Attacks that look for the nearest example: CW, DeepFool and JSMA beside four libraries."""

import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import foolbox
import torch
import torchattacks
from art.attacks.evasion import SaliencyMapMethod
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from benchmarks.attacks.context import Context, Row, cpu_seconds
from ladder_core.attacks import cw, deepfool, jsma

# adv-lib imports its plotting client with every attack; none is used.
sys.modules.setdefault("visdom", ModuleType("visdom"))
from adv_lib.attacks import carlini_wagner_l2  # noqa: E402

Network = tuple[nn.Module, Tensor, Tensor]


def run(context: Context) -> list[Row]:
    """Compare on every network; CW at the paper's effort on the small ones alone."""
    rows: list[Row] = []
    for name, network in context.networks.items():
        grey = network[1].shape[1] == 1
        rows += _cw_rows(name, _correct(network, 100 if grey else 30), search_steps=5, iterations=100)
        if grey:
            rows += _cw_rows(name, _correct(network, 20), search_steps=10, iterations=1000)
        rows += _deepfool_rows(name, _correct(network, 200 if grey else 50))
        if grey:
            rows += _jsma_rows(name, _correct(network, 40))
    return rows


@torch.no_grad()
def _correct(network: Network, count: int) -> Network:
    model, images, labels = network[0], network[1][:count], network[2][:count]
    correct = model(images).argmax(dim=1) == labels
    return model, images[correct], labels[correct]


@torch.no_grad()
def _found(network: Network, attacked: Tensor) -> tuple[Tensor, Tensor]:
    """Return whether (n,) each attacked image is adversarial, and how far (n,) it is, L2."""
    model, images, labels = network
    return model(attacked).argmax(dim=1) != labels, (attacked - images).flatten(1).norm(dim=1)


def _timed(*runs: Callable[[], Tensor], repeats: int) -> tuple[list[Tensor], list[float]]:
    """Return each run's result and its CPU seconds."""
    results: list[Tensor] = [torch.empty(0)] * len(runs)

    def keeping(number: int, run: Callable[[], Tensor]) -> Callable[[], None]:
        def keep() -> None:
            results[number] = run()

        return keep

    seconds = cpu_seconds(*(keeping(number, run) for number, run in enumerate(runs)), repeats=repeats)
    return results, seconds


def _cw_rows(name: str, network: Network, *, search_steps: int, iterations: int) -> Iterator[Row]:
    model, images, labels = network
    results, seconds = _timed(
        lambda: cw(model, images, labels, search_steps=search_steps, iterations=iterations).images,
        lambda: carlini_wagner_l2(
            model, images, labels, binary_search_steps=search_steps, max_iterations=iterations
        ),
        lambda: foolbox.attacks.L2CarliniWagnerAttack(search_steps, iterations).run(
            foolbox.PyTorchModel(model, bounds=(0, 1)), images, foolbox.criteria.Misclassification(labels)
        ),
        repeats=1 if iterations > 100 else 3,
    )
    setting = f"{search_steps} x {iterations}, n = {len(images)}"
    (ours, near), (theirs, far) = _found(network, results[0]), _found(network, results[1])
    yield Row(
        "CW", name, setting, f"{float(ours.float().mean()):.1%} found",
        f"adv-lib: {float(theirs.float().mean()):.1%}", "", bool(ours.all()), "all must be found",
    )  # fmt: skip
    both = ours & theirs
    yield _distance_row("CW", name, setting, near[both], "adv-lib", far[both])
    faster = min(("adv-lib", "foolbox"), key=lambda peer: seconds[1 if peer == "adv-lib" else 2])
    yield _speed_row("CW", name, setting, seconds[0], faster, min(seconds[1:]), 1.0)


def _deepfool_rows(name: str, network: Network) -> Iterator[Row]:
    model, images, labels = network
    attack = foolbox.attacks.L2DeepFoolAttack(steps=50, candidates=10, overshoot=0.02)
    results, seconds = _timed(
        lambda: deepfool(model, images, labels).images,
        lambda: attack.run(
            foolbox.PyTorchModel(model, bounds=(0, 1)), images, foolbox.criteria.Misclassification(labels)
        ),
        repeats=3,
    )
    setting = f"50 steps, n = {len(images)}"
    (ours, near), (theirs, far) = (_found(network, result) for result in results)
    yield Row(
        "DeepFool", name, setting, f"{int(ours.sum())} found", f"foolbox: {int(theirs.sum())}", "",
        int(ours.sum()) >= int(theirs.sum()), "no fewer",
    )  # fmt: skip
    both = ours & theirs
    yield _distance_row("DeepFool", name, setting, near[both], "foolbox", far[both])
    yield _speed_row("DeepFool", name, setting, seconds[0], "foolbox", seconds[1], 1.0)


def _jsma_rows(name: str, network: Network) -> Iterator[Row]:
    """Compare with torchattacks the images, as its map is the paper's too; with ART the time.

    ART's map looks at the target's gradient alone, so that it takes other, and fewer, steps: times are also
    given by the pair that was changed.
    """
    model, images, labels = network
    targets, gamma = (labels + 1) % 10, 80 / images[0].numel()
    few = slice(0, 8)
    attack = torchattacks.JSMA(model, theta=1.0, gamma=gamma)
    attack.set_mode_targeted_by_label(quiet=True)
    same = attack(images[few].clone(), targets[few]) == (
        jsma(model, images[few], labels[few], targets=targets[few], gamma=gamma).images
    )
    equal = same.flatten(1).all(dim=1)
    yield Row(
        "JSMA", name, f"40 pairs, n = {len(equal)}", f"{int(equal.sum())} equal", "torchattacks",
        f"{int((~equal).sum())} differ", bool(equal.all()), "every image must be equal",
    )  # fmt: skip
    shape = tuple(images.shape[1:])
    classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), shape, 10, clip_values=(0, 1))
    of_art = SaliencyMapMethod(classifier, theta=1.0, gamma=gamma, verbose=False)
    results, seconds = _timed(
        lambda: jsma(model, images, labels, targets=targets, gamma=gamma).images,
        lambda: torch.from_numpy(of_art.generate(images.numpy(), y=targets.numpy())),
        repeats=3,
    )
    pairs = [int((result != images).sum()) / 2 for result in results]
    setting = f"up to 40 pairs, n = {len(images)}"
    yield _speed_row("JSMA", name, setting, seconds[0], "ART", seconds[1], 5.0)
    each = [1000 * taken / count for taken, count in zip(seconds, pairs, strict=True)]
    yield Row(
        "JSMA, CPU time a pair", name, setting, f"{each[0]:.2f} ms", f"ART: {each[1]:.2f} ms",
        f"{each[1] / each[0]:.2f}x", each[1] >= 5 * each[0], "5.0x or more",
    )  # fmt: skip


def _distance_row(attack: str, network: str, setting: str, ours: Tensor, peer: str, theirs: Tensor) -> Row:
    ratio = float(ours.mean() / theirs.mean())
    return Row(
        f"{attack}, mean L2", network, setting, f"{float(ours.mean()):.4f}",
        f"{peer}: {float(theirs.mean()):.4f}", f"{ratio:.4f}", ratio <= 1.01,
        f"1.01 or less, on the {len(ours)} samples that both broke",
    )  # fmt: skip


def _speed_row(
    attack: str, network: str, setting: str, ours: float, peer: str, theirs: float, least: float
) -> Row:
    return Row(
        f"{attack}, CPU time", network, setting, f"{ours:.2f} s", f"{peer}: {theirs:.2f} s",
        f"{theirs / ours:.2f}x", theirs >= least * ours, f"{least}x or more",
    )  # fmt: skip
