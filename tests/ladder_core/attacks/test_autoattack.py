"""AutoAttack: who is broken by what, with how few classes, and what makes its verdict doubtful."""

import pytest
import torch
from torch import Tensor, nn

from ladder_core.attacks import AutoAttackResult, Norm, autoattack
from ladder_core.attacks.layout import in_fast_layout
from tests.ladder_core.attacks.oracles import Affine, affine_case, assert_promises, minimal_distances
from tests.ladder_core.attacks.test_apgd import broken_gradients, stream


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_breaks_exactly_what_can_be_broken_and_accounts_for_it(norm: Norm) -> None:
    model, images, labels = affine_case(0, 10)
    least = minimal_distances(model, images, labels, norm)
    epsilon = float(least.quantile(0.8))
    labels[:2] = (labels[:2] + 1) % 5  # misclassified as they are
    least[:2] = 0
    result = attacked(model, images, labels, norm=norm, epsilon=epsilon)
    clear = (least / epsilon - 1).abs() > 1e-2
    assert torch.equal(result.success[clear], (least < epsilon)[clear])
    assert_promises(result, model, images, labels, norm=norm, epsilon=epsilon)

    assert [part.name for part in result.components] == ["clean", "apgd-ce", "apgd-t", "fab-t", "square"]
    remaining = len(images)
    for number, part in enumerate(result.components):
        assert part.attempted == remaining
        assert part.broken == int((result.broken_by == number).sum())
        remaining -= part.broken
    assert remaining == int((~result.success).sum()) > 0
    assert result.components[0].broken == 2
    assert result.components[2].settings == {"iterations": 100, "restarts": 1, "target_classes": 4}
    # What holds was tried with everything: 101 gradients by APGD-CE, 4 x 101 by APGD-T, 4 x 100 by FAB-T.
    assert (result.gradients[~result.success] == 101 + 404 + 400).all()
    assert result.iterations == 5000


@pytest.mark.parametrize(
    ("classes", "version", "ran"),
    [
        (4, "standard", ["apgd-ce", "apgd-t", "fab-t", "square"]),
        (3, "standard", ["apgd-ce", "apgd-dlr", "fab-t", "square"]),
        (2, "standard", ["apgd-ce", "apgd-margin", "fab-t", "square"]),
        (4, "plus", ["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"]),
        (3, "plus", ["apgd-ce", "apgd-dlr", "fab", "square", "apgd-dlr", "fab-t"]),
        (2, "plus", ["apgd-ce", "apgd-margin", "fab", "square", "apgd-margin", "fab-t"]),
        (3, "rand", ["apgd-ce", "apgd-dlr"]),
        (2, "rand", ["apgd-ce", "apgd-margin"]),
    ],
)
def test_few_classes_are_attacked_by_what_is_defined_for_them(
    classes: int, version: str, ran: list[str]
) -> None:
    model = Affine(0, classes)
    images = 0.4 + 0.2 * torch.rand(6, 2, 3, 3, generator=stream())
    result = attacked(model, images, model(images).argmax(dim=1), epsilon=0.5, version=version)
    assert result.success.all()
    assert [part.name for part in result.components[1:]] == ran
    replaced = {part.instead_of: part.name for part in result.components if part.instead_of}
    substitute = {3: "apgd-dlr", 2: "apgd-margin"}.get(classes)
    undefined = {4: [], 3: ["apgd-t"], 2: ["apgd-t", "apgd-dlr"]}[classes]
    in_version = {"standard": ["apgd-t"], "plus": ["apgd-t", "apgd-dlr"], "rand": ["apgd-dlr"]}[version]
    assert replaced == {name: substitute for name in undefined if name in in_version}
    targets = {part.settings.get("target_classes") for part in result.components} - {None}
    assert targets <= {classes - 1}


def test_verdicts_do_not_depend_on_the_batch() -> None:
    model, images, labels = affine_case(2, 12)
    whole = attacked(model, images, labels, epsilon=0.03)
    parts = attacked(model, images, labels, epsilon=0.03, at_once=5)
    assert torch.equal(whole.broken_by, parts.broken_by)
    torch.testing.assert_close(whole.images, parts.images, rtol=0, atol=1e-5)
    again = attacked(model, images, labels, epsilon=0.03)
    assert torch.equal(whole.images, again.images)


def test_a_clean_model_raises_no_flag() -> None:
    model, images, labels = affine_case(3, 10)
    flags = attacked(model, images, labels, epsilon=0.5).flags
    assert flags.samples == 10
    assert flags.classes == 5
    assert flags.variation == 0
    assert flags.accuracies == (10,) * 5
    assert not flags.probabilities
    assert flags.zero_gradients == flags.wrong_gradients == {"ce": 0, "dlr": 0}


def test_noise_is_measured() -> None:
    clean, images, labels = affine_case(3, 10)
    noise = stream()

    class Noisy(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = clean(images)
            return logits + 0.01 * torch.randn(logits.shape, generator=noise)

    flags = attacked(Noisy(), images, labels, epsilon=0.5, version="rand").flags
    assert flags.variation > 1e-4


def test_an_answer_at_random_is_asked_for_once_by_component() -> None:
    noise, images = stream(), torch.rand(400, 1, 2, 2, generator=stream())

    class Guess(nn.Module):
        """Two classes, each as likely at every call."""

        def forward(self, images: Tensor) -> Tensor:
            logits = torch.randn(len(images), 2, generator=noise)
            return logits + 0 * images.sum(dim=(1, 2, 3))[:, None]

    labels = torch.zeros(len(images), dtype=torch.int64)
    held = ~attacked(Guess(), images, labels, epsilon=0.1, version="rand", at_once=400).success
    # Right at first, and when asked about what each of the two components found: 1/8, here within 4 sigma.
    assert abs(float(held.float().mean()) - 0.125) < 0.066


def test_probabilities_and_gradients_that_do_not_lead_are_measured() -> None:
    model, images, labels = broken_gradients("saturated")
    flags = attacked(model, images, labels, epsilon=0.5, version="rand").flags
    assert flags.probabilities
    assert flags.zero_gradients["dlr"] == len(images)
    model, images, labels = broken_gradients("nan")
    flags = attacked(model, images, labels, epsilon=0.5, version="rand").flags
    assert flags.wrong_gradients["ce"] == len(images)


def test_square_breaks_what_gradients_cannot() -> None:
    model, images, labels = broken_gradients("constant")
    result = attacked(model, images[:5], labels[:5], epsilon=0.02)
    by_name = {part.name: part.broken for part in result.components}
    assert by_name["square"] > by_name["apgd-t"]


def test_a_model_that_cannot_be_laid_out_otherwise_is_computed_as_it_is() -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(2, 4, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.convolution(images).view(len(images), 16)[:, :5]

    viewing, images = Viewing(), torch.rand(6, 2, 3, 3, generator=stream())
    assert in_fast_layout(viewing, images) is viewing
    convolution = nn.Sequential(nn.Conv2d(2, 5, 2), nn.Flatten(), nn.Linear(20, 5))
    fast = in_fast_layout(convolution, images)
    assert fast is not convolution
    torch.testing.assert_close(fast(images), convolution(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": -1.0}, "epsilon is -1.0: give a radius from 0 on"),
        ({"version": "custom"}, "version is 'custom': give 'standard', 'plus' or 'rand'"),
        ({"at_once": 0}, "at_once is 0: give at least 1"),
    ],
)
def test_parameters_out_of_range_are_named(options: dict[str, object], message: str) -> None:
    model, images, labels = affine_case(0, 4)
    with pytest.raises(ValueError, match=message):
        attacked(model, images, labels, **{"epsilon": 0.1} | options)


def test_a_single_class_cannot_be_attacked() -> None:
    images = torch.rand(3, 2, 3, 3, generator=stream())
    with pytest.raises(ValueError, match="the number of classes is 1"):
        attacked(Affine(0, 1), images, torch.zeros(3, dtype=torch.int64), epsilon=0.1)


def attacked(model: nn.Module, images: Tensor, labels: Tensor, **options) -> AutoAttackResult:
    return autoattack(model, images, labels, generator=stream(), **options)
