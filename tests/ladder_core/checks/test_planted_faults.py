"""Models that only seem robust are caught, by the right check; honest ones by none."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ladder_core.checks import CheckedRun, Effort, run_checks
from ladder_core.datasets import Split
from ladder_schema.report import Check, Measurements, Paired
from tests.ladder_core.checks.conftest import THREAT

CPU = torch.device("cpu")
GAIN = Paired(both=50, only_before=10, only_after=300, neither=90)
CLEAN = Paired(both=430, only_before=5, only_after=5, neither=10)
MEASURED = Measurements(clean=CLEAN, attacks=(), worst_case=GAIN)
SQUARE = {"black_box_beats_white_box", "square_beats_apgd"}
HIDDEN = {"zero_gradients", "loss_not_monotone", "unbounded_attack_fails"} | SQUARE
NOISY = {"one_step_beats_many"} | SQUARE


class Wrapped(nn.Module):
    """A network with something put before, behind or around it."""

    def __init__(self, network: nn.Module, forward: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self._network, self._forward = network, forward

    def forward(self, images: Tensor) -> Tensor:
        return self._forward(self._network, images)


def quantised_input(network: nn.Module, images: Tensor) -> Tensor:
    return network((8 * images).round() / 8)


def quantised_logits(network: nn.Module, images: Tensor) -> Tensor:
    return (16 * network(images)).round() / 16


def scaled(network: nn.Module, images: Tensor) -> Tensor:
    return 1e4 * network(images)


def noisy_input(network: nn.Module, images: Tensor) -> Tensor:
    return network(images + 0.1 * torch.randn_like(images))


def noisy_logits(network: nn.Module, images: Tensor) -> Tensor:
    logits = network(images)
    return logits + 0.5 * torch.randn_like(logits)


def clamped_softmax(network: nn.Module, images: Tensor) -> Tensor:
    return (8 * network(images)).softmax(dim=1).clamp(1e-4, 1 - 1e-4).log()


def rounded_softmax(network: nn.Module, images: Tensor) -> Tensor:
    return ((1000 * network(images).softmax(dim=1)).round() / 1000 + 1e-6).log()


def normalised_by_batch(network: nn.Module, images: Tensor) -> Tensor:
    return network(images - images.mean() + 0.3)


def not_a_number(network: nn.Module, images: Tensor) -> Tensor:
    """The gradient of a square root is infinite at 0, and 0 times that is not a number."""
    return network(images) * (1 + 0 * images.square().sum(dim=1).sqrt().sum(dim=(1, 2)))[:, None]


def checked(
    original: nn.Module, hardened: nn.Module, splits: tuple[Split, Split], attacked: int = 60
) -> dict[str, dict[str, Check]]:
    """Return the checks by what they are of and by name."""
    run = CheckedRun(original, hardened, *splits, classes=10, measurements=MEASURED, threat=THREAT)
    found: dict[str, dict[str, Check]] = {"original": {}, "hardened": {}, "data": {}}
    effort = Effort(attacked=attacked, square_iterations=60)
    for check in run_checks(run, batch_size=100, seed=0, device=CPU, on_step=lambda _: None, effort=effort):
        found[check.of][check.name] = check
    return found


def flagged(checks: dict[str, Check]) -> set[str]:
    return {name for name, check in checks.items() if check.status in ("warn", "fail")}


def test_honest_models_are_flagged_by_none(digits_network, robust_network, splits) -> None:
    found = checked(digits_network, robust_network, splits, attacked=200)
    statuses = {(of, name): check.status for of, checks in found.items() for name, check in checks.items()}
    assert set(statuses.values()) == {"pass"}, statuses
    assert len(statuses) == 19


@pytest.mark.parametrize(
    ("fault", "right", "plausible", "words"),
    [
        (quantised_input, "zero_gradients", HIDDEN, "something inside the model is flat"),
        (quantised_logits, "zero_gradients", HIDDEN, "something inside the model is flat"),
        (scaled, "zero_gradients", HIDDEN, "though the logits have one: they are so large"),
        (clamped_softmax, "zero_gradients", HIDDEN, "log-probabilities that have saturated"),
        (rounded_softmax, "zero_gradients", HIDDEN, "log-probabilities that have saturated"),
        (noisy_input, "not_deterministic", NOISY, "differently each time"),
        (noisy_logits, "not_deterministic", NOISY, "differently each time"),
        (normalised_by_batch, "not_deterministic", set(), "asked about together"),
        (not_a_number, "non_finite_gradients", HIDDEN, "not a number"),
    ],
)  # fmt: skip
def test_a_fault_is_flagged_by_the_right_check(
    fault, right, plausible, words, digits_network, robust_network, splits
) -> None:
    found = checked(digits_network, Wrapped(robust_network, fault).eval(), splits)
    check = found["hardened"][right]
    assert check.status == "fail"
    assert words in check.finding
    assert check.remedy
    assert flagged(found["hardened"]) - {right} <= plausible
    # The other model and the data are not to blame; a transfer from a faulty model just fails.
    assert not flagged(found["original"])
    assert not flagged(found["data"])


def test_what_hides_its_gradient_falls_to_a_transfer(digits_network, robust_network, splits) -> None:
    """The fault is in the original here: which model is which makes no difference."""
    found = checked(Wrapped(digits_network, quantised_input).eval(), robust_network, splits, attacked=200)
    assert found["original"]["black_box_beats_white_box"].status == "fail"
    assert found["original"]["zero_gradients"].status == "fail"
    assert found["original"]["unbounded_attack_fails"].status == "fail"
    assert found["original"]["loss_not_monotone"].status == "fail"
    assert not flagged(found["hardened"])


def test_the_same_seed_gives_the_same_checks(digits_network, robust_network, splits) -> None:
    noisy = Wrapped(robust_network, noisy_logits).eval()
    state = torch.random.get_rng_state()
    first, second = (checked(digits_network, noisy, splits, attacked=20) for _ in range(2))
    assert first == second
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_model_that_is_never_right_is_not_judged_by_attacks(digits_network, splits) -> None:
    wrong = Wrapped(digits_network, lambda network, images: -network(images)).eval()
    found = checked(digits_network, wrong, splits)["hardened"]
    assert {name for name, check in found.items() if check.status == "not_run"} >= {
        "zero_gradients",
        "non_finite_gradients",
        "unbounded_attack_fails",
        "loss_not_monotone",
    }
