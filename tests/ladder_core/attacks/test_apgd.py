"""APGD on linear models, of which is known exactly who can be broken."""

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ladder_core.attacks import AttackResult, Norm, apgd, apgd_targeted
from ladder_core.attacks.apgd import _Settings
from tests.ladder_core.attacks.oracles import Affine, affine_case, assert_sound, case, minimal_distances


@pytest.mark.parametrize("loss", ["ce", "cw"])
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.01), ("linf", 0.02), ("l2", 0.1)])
def test_it_breaks_exactly_what_can_be_broken(norm: Norm, epsilon: float, loss: str) -> None:
    model, images, labels, margins = case(0)
    dual = model.weight.abs().sum() if norm == "linf" else model.weight.norm()
    reach = (epsilon * dual).detach()
    clear = (margins - reach).abs() > 1e-4
    result = apgd(model, images, labels, epsilon=epsilon, norm=norm, loss=loss, generator=stream())
    assert torch.equal(result.success[clear], (margins < reach)[clear])
    assert result.success.any()
    assert not result.success.all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_towards_every_class_it_breaks_exactly_what_can_be_broken(norm: Norm) -> None:
    model, images, labels = affine_case(1)
    distances = minimal_distances(model, images, labels, norm)
    epsilon = float(distances.median())
    clear = (distances / epsilon - 1).abs() > 1e-2
    result = apgd_targeted(model, images, labels, epsilon=epsilon, norm=norm, generator=stream())
    assert torch.equal(result.success[clear], (distances < epsilon)[clear])


def test_targets_are_reached() -> None:
    model, images, labels = affine_case(2)
    targets = (labels + 1) % 5
    for loss in ("ce", "dlr", "cw"):
        result = apgd(
            model, images, labels, epsilon=0.3, loss=loss, targets=targets, generator=stream(), iterations=20
        )
        assert result.success.float().mean() > 0.9, loss
        assert torch.equal(model(result.images).argmax(dim=1) == targets, result.success)


def test_the_step_is_judged_as_in_the_official_code() -> None:
    windows = _Settings("linf", 0.1, 100, "ce", 1, targeted=False).windows()
    # w_j of section 3.1: the first after 22 iterations, each next one 3 shorter, at least 6
    assert windows == {
        21: 22, 40: 19, 56: 16, 69: 13, 79: 10, 86: 7, 92: 6, 98: 6
    }  # fmt: skip


def test_what_is_broken_stops_and_what_holds_goes_on() -> None:
    model, images, labels, margins = case(0)
    result = apgd(model, images, labels, epsilon=0.03, generator=stream(), restarts=2, iterations=40)
    assert (result.gradients[~result.success] == 2 * 41).all()
    assert result.gradients[result.success].float().mean() < 10
    assert result.iterations == 80
    easy = margins < 0.3 * 0.03 * model.weight.abs().sum()
    assert (result.gradients[easy] < result.gradients[~result.success].min()).all()


def test_all_of_a_samples_targets_stop_with_the_first_that_succeeds() -> None:
    model, images, labels = affine_case(3)
    result = apgd_targeted(model, images, labels, epsilon=0.05, generator=stream(), iterations=30)
    assert (result.gradients[~result.success] == 4 * 31).all()
    assert (result.gradients[result.success] < 4 * 31).all()


@pytest.mark.parametrize(("classes", "attack"), [(2, apgd), (3, apgd_targeted)])
def test_too_few_classes_are_named(classes: int, attack) -> None:
    model = Affine(0, classes)
    images = torch.rand(4, 2, 3, 3)
    labels = model(images).argmax(dim=1)
    options = {"loss": "dlr"} if attack is apgd else {}
    with pytest.raises(ValueError, match=f"the model has {classes}"):
        attack(model, images, labels, epsilon=0.1, generator=stream(), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": -1.0}, "epsilon is -1.0: give a radius from 0 on"),
        ({"iterations": 0}, "iterations is 0: give at least 1"),
        ({"restarts": 0}, "restarts is 0: give at least 1"),
        ({"eot": 0}, "eot is 0: give at least 1"),
        ({"norm": "l1"}, "norm is 'l1': give 'linf' or 'l2'"),
        ({"loss": "hinge"}, "loss is 'hinge': give 'ce', 'dlr' or 'cw'"),
    ],
)
def test_parameters_out_of_range_are_named(options: dict[str, object], message: str) -> None:
    model, images, labels, _ = case(0, 4)
    with pytest.raises(ValueError, match=message):
        apgd(model, images, labels, **{"epsilon": 0.1, "generator": stream()} | options)


def test_the_mean_gradient_of_a_noisy_model_leads_where_one_does_not() -> None:
    clean, images, labels, margins = case(4, 60)
    epsilon = float(margins.median() / clean.weight.detach().abs().sum())

    class Noisy(nn.Module):
        """The linear model, its weights drawn anew at each call."""

        def __init__(self) -> None:
            super().__init__()
            self.stream = stream()

        def forward(self, images: Tensor) -> Tensor:
            weight = clean.weight + 4 * torch.randn(len(images), 18, generator=self.stream)
            margin = (images.flatten(1) * weight).sum(dim=1) - 0.5 * weight.sum(dim=1)
            return torch.stack([torch.zeros_like(margin), margin], dim=1)

    def loss_of(eot: int) -> float:
        result = apgd(Noisy(), images, labels, epsilon=epsilon, eot=eot, generator=stream(), iterations=1)
        logits = clean(result.images).detach()
        return float(nn.functional.cross_entropy(logits, labels))

    assert loss_of(40) > loss_of(1)


@pytest.mark.parametrize("attack", [apgd, apgd_targeted])
def test_of_a_noisy_model_every_step_is_taken_and_the_last_misclassified_iterate_is_kept(attack) -> None:
    clean, images, labels = affine_case(4, 30)
    seen: list[tuple[Tensor, Tensor]] = []

    class Noisy(nn.Module):
        """The linear model with noise on its logits; it writes down what it is asked and answers."""

        def __init__(self) -> None:
            super().__init__()
            self.stream = stream()

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = clean(images)
            logits = logits + 0.2 * torch.randn(logits.shape, generator=self.stream)
            seen.append((images.detach().clone(), logits.argmax(dim=1)))
            return logits

    eot, iterations = 3, 8
    options = {} if attack is apgd else {"target_classes": 1}
    result = attack(
        Noisy(), images, labels, epsilon=0.02, eot=eot, iterations=iterations, generator=stream(), **options
    )
    (_, at_first), *steps, (returned, verdict) = seen
    assert len(steps) == eot * (iterations + 1)
    assert torch.equal(result.images, returned)
    assert torch.equal(result.success, verdict != labels)
    rows, kept = (at_first == labels).nonzero().squeeze(1), 0
    for place, row in enumerate(rows):
        hits = [asked[place] for asked, answer in steps[eot - 1 :: eot] if answer[place] != labels[row]]
        if hits:
            torch.testing.assert_close(result.images[row], hits[-1], rtol=0, atol=1e-6)
            kept += not torch.equal(hits[0], hits[-1])
    assert kept > 5
    assert (result.gradients[rows] == eot * (iterations + 1)).all()


def test_of_targets_that_succeed_between_two_looks_the_likeliest_is_written(monkeypatch) -> None:
    model, images, labels = affine_case(3)
    module = sys.modules[apgd.__module__]  # the package has the function by that name
    monkeypatch.setattr(module, "check_is_due", lambda iteration, _: iteration % 5 == 4)
    one, four = (
        apgd_targeted(
            model, images, labels, epsilon=0.1, generator=stream(), iterations=5, target_classes=count
        )
        for count in (1, 4)
    )
    assert one.success.float().mean() > 0.5
    torch.testing.assert_close(four.images[one.success], one.images[one.success], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["saturated", "nan", "constant"])
def test_gradients_that_do_not_lead_break_nothing_and_crash_nothing(kind: str) -> None:
    model, images, labels = broken_gradients(kind)
    for norm in ("linf", "l2"):
        result = apgd(model, images, labels, epsilon=1e-3, norm=norm, generator=stream(), iterations=5)
        targeted = apgd_targeted(
            model, images, labels, epsilon=1e-3, norm=norm, generator=stream(), iterations=5
        )
        assert not result.success.any()
        assert not targeted.success.any()
        assert result.images.isfinite().all()


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 1000),
    epsilon=st.floats(0.001, 0.9),
    norm=st.sampled_from(["linf", "l2"]),
    loss=st.sampled_from(["ce", "dlr", "cw", "targeted dlr"]),
    iterations=st.integers(1, 12),
    restarts=st.integers(1, 2),
    targeted=st.booleans(),
)
def test_promises_hold_on_any_input(
    seed: int, epsilon: float, norm: Norm, loss: str, iterations: int, restarts: int, targeted: bool
) -> None:
    def attack(model, images, labels, targets, generator) -> AttackResult:
        options = {"epsilon": epsilon, "norm": norm, "iterations": iterations, "restarts": restarts}
        if loss == "targeted dlr" and targets is None:
            return apgd_targeted(model, images, labels, generator=generator, **options)
        chosen = "dlr" if loss == "targeted dlr" else loss
        return apgd(model, images, labels, loss=chosen, targets=targets, generator=generator, **options)

    assert_sound(attack, seed, targeted=targeted, norm=norm, epsilon=epsilon)


def broken_gradients(kind: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A model whose gradients say nothing, grey images, and the labels it gives them."""
    affine, images, labels = affine_case(5, 12)
    # Away from the boundaries, so that no start within a small radius crosses one.
    far = minimal_distances(affine, images, labels, "linf") > 3e-3
    images, labels = images[far], labels[far]

    class Model(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = affine(images)
            if kind == "saturated":  # one-hot after a softmax of huge logits
                return (1e6 * logits).softmax(dim=1)
            if kind == "nan":  # the root of a constant 0: its gradient is 0 times infinity
                return logits + (images[:, :1, :1, :1] * 0).sum(dim=(1, 2, 3)).sqrt()[:, None]
            return logits.detach() + 0 * images.sum(dim=(1, 2, 3))[:, None]

    return Model(), images, labels


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
