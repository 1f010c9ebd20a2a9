"""FAB on linear models, whose nearest adversarial image is known in closed form."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from ladder_core.attacks import AttackResult, Norm, fab, fab_targeted
from ladder_core.attacks.fab import _Search, _Walk
from ladder_core.attacks.fab_projections import project_on_plane
from tests.ladder_core.attacks.oracles import Affine, affine_case, assert_sound, case, minimal_distances
from tests.ladder_core.attacks.test_apgd import broken_gradients, stream


@pytest.mark.parametrize("attack", [fab, fab_targeted])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_distances_are_within_a_hundredth_of_the_least(norm: Norm, seed: int, attack) -> None:
    model, images, labels = affine_case(seed)
    result = attack(model, images, labels, norm=norm, generator=stream())
    assert result.success.all()
    least = minimal_distances(model, images, labels, norm)
    ratio = getattr(result.distances, norm)[least > 1e-3] / least[least > 1e-3]
    assert ratio.min() > 0.999
    assert ratio.max() < 1.01


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_within_a_radius_it_breaks_exactly_what_can_be_broken(norm: Norm) -> None:
    model, images, labels = affine_case(1)
    least = minimal_distances(model, images, labels, norm)
    epsilon = float(least.median())
    clear = (least / epsilon - 1).abs() > 1e-2
    for attack in (fab, fab_targeted):
        result = attack(model, images, labels, norm=norm, epsilon=epsilon, generator=stream(), iterations=30)
        assert torch.equal(result.success[clear], (least < epsilon)[clear])
        assert (result.queries[result.success] <= result.queries[~result.success].min()).all()


def test_a_target_is_walked_to() -> None:
    model, images, labels = affine_case(4)
    targets = (labels + 2) % 5
    result = fab(model, images, labels, targets=targets, generator=stream())
    assert torch.equal(model(result.images).argmax(dim=1) == targets, result.success)
    assert result.success.float().mean() > 0.3  # it walks past the label: another class may be above both


def test_restarts_find_nothing_farther() -> None:
    model, images, labels = affine_case(0, 40)
    once = fab(model, images, labels, generator=stream(), iterations=3)
    thrice = fab(model, images, labels, generator=stream(), iterations=3, restarts=3)
    assert (thrice.distances.linf <= once.distances.linf + 1e-7).all()
    assert thrice.iterations == 9


def test_of_two_targets_equally_near_the_likelier_is_kept() -> None:
    model, images, labels = affine_case(0, 2)
    search = _Search.begin(model, images, stream())
    rows, both = torch.tensor([0, 0, 1, 1]), torch.stack([images[0]] * 2 + [images[1]] * 2)
    found = both + torch.tensor([0.1, -0.1, -0.1, 0.1])[:, None, None, None]
    walk = _Walk(
        rows=rows,
        images=both,
        labels=labels[rows],
        aims=rows,
        ranks=torch.tensor([0, 1, 1, 0]),
        keys=rows,
        current=both,
        nearest=found,
        distance=torch.tensor([0.1, 0.1, 0.1, 0.1]),
    )
    search.add(walk)
    assert torch.equal(search.nearest, found[[0, 3]])
    search.add(walk.of(torch.tensor([1, 2])))
    assert torch.equal(search.distance, torch.tensor([0.1, 0.1]))


def test_two_classes_are_enough() -> None:
    model, images, labels, margins = case(0)
    result = fab_targeted(model, images, labels, generator=stream())
    least = margins / model.weight.abs().sum()
    assert (result.distances.linf[least > 1e-3] / least[least > 1e-3]).max() < 1.01


@pytest.mark.parametrize("kind", ["saturated", "nan", "constant"])
def test_gradients_that_do_not_lead_break_nothing_and_crash_nothing(kind: str) -> None:
    model, images, labels = broken_gradients(kind)
    for norm in ("linf", "l2"):
        for attack in (fab, fab_targeted):
            result = attack(
                model, images, labels, norm=norm, epsilon=1e-3, generator=stream(), iterations=4, restarts=2
            )
            assert not result.success.any()
            assert result.images.isfinite().all()


@pytest.mark.parametrize("scale", [0.01, 0.3, 3.0, 100.0])
def test_projections_are_those_of_a_solver(scale: float) -> None:
    generator = np.random.default_rng(0)
    points = generator.random((12, 9)).round(1)  # some on the box' sides
    normals = generator.normal(size=(12, 9)) * (generator.random((12, 9)) > 0.2)
    excesses = generator.normal(size=12) * scale
    inputs = [torch.tensor(values) for values in (points, normals, excesses)]
    linf, l2 = (project_on_plane(*inputs, norm).numpy() for norm in ("linf", "l2"))
    for point, normal, excess, by_linf, by_l2 in zip(points, normals, excesses, linf, l2, strict=True):
        for move in (by_linf, by_l2):
            assert ((point + move >= -1e-12) & (point + move <= 1 + 1e-12)).all()
        room = (np.abs(normal) * np.where(normal * excess > 0, point, 1 - point)).sum()
        if room <= abs(excess):
            np.testing.assert_allclose(normal @ by_l2, -np.sign(excess) * room, atol=1e-9)
            np.testing.assert_allclose(normal @ by_linf, -np.sign(excess) * room, atol=1e-9)
            continue
        np.testing.assert_allclose(normal @ by_linf, -excess, atol=1e-6 * abs(excess))
        np.testing.assert_allclose(normal @ by_l2, -excess, atol=1e-6 * abs(excess))
        assert np.abs(by_linf).max() == pytest.approx(least_linf(point, normal, excess), rel=1e-5)
        assert np.linalg.norm(by_l2) == pytest.approx(least_l2(point, normal, excess), rel=1e-4)


def least_linf(point: np.ndarray, normal: np.ndarray, excess: float) -> float:
    """Minimise r over moves d with -r <= d <= r, in the box and on the plane."""
    count = len(point)
    both = np.vstack([np.eye(count), -np.eye(count)])
    solved = linprog(
        np.r_[np.zeros(count), 1],
        A_ub=np.hstack([both, -np.ones((2 * count, 1))]),
        b_ub=np.zeros(2 * count),
        A_eq=np.r_[normal, 0][None],
        b_eq=[-excess],
        bounds=[*zip(-point, 1 - point, strict=True), (0, None)],
    )
    assert solved.success
    return float(solved.fun)


def least_l2(point: np.ndarray, normal: np.ndarray, excess: float) -> float:
    solved = minimize(
        lambda move: move @ move,
        np.zeros_like(point),
        jac=lambda move: 2 * move,
        method="SLSQP",
        bounds=[*zip(-point, 1 - point, strict=True)],
        constraints={"type": "eq", "fun": lambda move: normal @ move + excess, "jac": lambda _: normal},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert solved.success
    return float(np.sqrt(solved.fun))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": -1.0}, "epsilon is -1.0: give a radius from 0 on"),
        ({"iterations": 0}, "iterations is 0: give at least 1"),
        ({"restarts": 0}, "restarts is 0: give at least 1"),
        ({"norm": "l1"}, "norm is 'l1': give 'linf' or 'l2'"),
        ({"target_classes": 0}, "target_classes is 0: give at least 1"),
    ],
)
def test_parameters_out_of_range_are_named(options: dict[str, object], message: str) -> None:
    model, images, labels, _ = case(0, 4)
    with pytest.raises(ValueError, match=message):
        fab_targeted(model, images, labels, generator=stream(), **options)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 1000),
    epsilon=st.floats(0.001, 0.9),
    norm=st.sampled_from(["linf", "l2"]),
    iterations=st.integers(1, 8),
    restarts=st.integers(1, 2),
    towards=st.sampled_from(["nearest", "each", "target"]),
)
def test_promises_hold_on_any_input(
    seed: int, epsilon: float, norm: Norm, iterations: int, restarts: int, towards: str
) -> None:
    def attack(model: Affine, images, labels, targets, generator) -> AttackResult:
        options = {"epsilon": epsilon, "norm": norm, "iterations": iterations, "restarts": restarts}
        if towards == "each":
            return fab_targeted(model, images, labels, generator=generator, **options)
        return fab(model, images, labels, targets=targets, generator=generator, **options)

    assert_sound(attack, seed, targeted=towards == "target", norm=norm, epsilon=epsilon)
