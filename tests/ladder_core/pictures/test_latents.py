"""Planes show the SVM's own decisions, and the widest direction they leave."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from ladder_core.pictures import DrawnRun, latent_planes
from ladder_core.pictures.latents import PLANES, SAMPLES
from ladder_schema.report import LatentPlane

CPU = torch.device("cpu")


def planes_of(run: DrawnRun, rho: float = 1.2) -> tuple[LatentPlane, ...]:
    return latent_planes(run.attacker, run.latents, run.test.targets(), rho=rho, seed=0, device=CPU)


def attended_of(run: DrawnRun, plane: LatentPlane) -> tuple[int, torch.Tensor]:
    """Return the pair's row and the attended latents of its two classes, in the split's order."""
    boundaries, labels = run.attacker.boundaries, run.test.targets()
    row = int(boundaries.index[plane.label, plane.target])
    members = np.concatenate([np.flatnonzero(labels == label) for label in (plane.label, plane.target)])
    latents = run.latents.batch(members, "cpu")
    beta = boundaries.attention(latents, row)
    return row, beta * latents / boundaries.scale


def test_distances_along_the_normal_are_the_svms_decisions(digits_run) -> None:
    boundaries = digits_run.attacker.boundaries
    for plane in planes_of(digits_run):
        row, attended = attended_of(digits_run, plane)
        decisions = attended @ boundaries.normal[row] + boundaries.offset[row]
        length = math.sqrt(boundaries.normal[row].square().sum())
        assert plane.along == pytest.approx((decisions / length).tolist(), rel=1e-3, abs=1e-4)
        sides = np.where(np.array(plane.labels) == plane.target, 1, -1)
        assert (np.sign(plane.along) == sides).mean() > 0.9


def test_attended_latents_give_the_held_out_accuracy(digits_run) -> None:
    """The report's own figure, from the pool that was held out."""
    boundaries = digits_run.attacker.boundaries
    accuracy = boundaries.held_out_accuracy
    assert accuracy.min() > 0.8
    labels = torch.from_numpy(digits_run.test.targets())
    latents = digits_run.latents.batch(np.arange(len(labels)), "cpu")
    for row, (first, second) in enumerate(boundaries.pairs.tolist()):
        scores = boundaries.attended(latents, row) @ boundaries.normal[row] + boundaries.offset[row]
        right = torch.cat([scores[labels == first] < 0, scores[labels == second] > 0])
        assert float(right.float().mean()) == pytest.approx(float(accuracy[row]), abs=0.15)


def test_across_is_the_first_component_of_what_the_normal_leaves(digits_run) -> None:
    for plane in planes_of(digits_run):
        row, attended = attended_of(digits_run, plane)
        normal = torch.nn.functional.normalize(digits_run.attacker.boundaries.normal[row], dim=0)
        left = (attended - torch.outer(attended @ normal, normal)).double().numpy()
        component = PCA(n_components=1, svd_solver="full").fit_transform(left)[:, 0]
        across = np.array(plane.across)
        assert np.abs(across) == pytest.approx(np.abs(component), rel=1e-3, abs=1e-3)
        assert across.std() ** 2 == pytest.approx(component.var(), rel=1e-3)


def test_moved_latents_lie_on_the_targets_side_of_where_they_were(digits_run) -> None:
    for plane in planes_of(digits_run, rho=1.5):
        before = [
            along for along, label in zip(plane.along, plane.labels, strict=True) if label == plane.label
        ]
        assert 0 < len(plane.moved_along) <= len(before)
        assert np.median(plane.moved_along) > np.median(before)


def test_planes_are_of_the_pairs_confused_most(digits_run) -> None:
    confusion = digits_run.latents.confusion
    shown = [
        float(confusion[p.label, p.target] + confusion[p.target, p.label]) for p in planes_of(digits_run)
    ]
    pairs = torch.combinations(torch.arange(10), 2)
    every = sorted((confusion + confusion.T)[pairs[:, 0], pairs[:, 1]].tolist(), reverse=True)
    assert shown == pytest.approx(every[:PLANES])


def test_planes_are_bounded_and_repeatable(digits_run) -> None:
    first, second = planes_of(digits_run), planes_of(digits_run)
    assert first == second
    assert all(len(plane.along) <= 2 * SAMPLES for plane in first)
