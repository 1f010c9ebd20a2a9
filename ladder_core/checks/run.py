"""All checks of a run, in the report's order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from ladder_core.checks import judging
from ladder_core.checks.battery import probe_models
from ladder_core.checks.data import find_contradictions, find_duplicates
from ladder_core.checks.judging import Model
from ladder_core.checks.judging_data import judge_duplicates, judge_labels, judge_sample_size
from ladder_core.checks.measured import black_box_contests, one_step_contests, square_contests
from ladder_core.checks.statistics import Contest
from ladder_core.checks.values import Probes
from ladder_core.datasets import Split
from ladder_core.seeding import numpy_stream, scoped_seed
from ladder_schema.config import ThreatModel
from ladder_schema.report import Check, Measurements


@dataclass(frozen=True)
class CheckedRun:
    """What is checked.

    Attributes:
        original: The model as uploaded, in evaluation mode.
        hardened: The model after retraining, in evaluation mode.
        train: What both learned from.
        test: What the figures were measured on.
        classes: K.
        measurements: The figures.
        threat: What the attacks may do.
        test_given: Whether the upload said which images are for testing.
    """

    original: nn.Module
    hardened: nn.Module
    train: Split
    test: Split
    classes: int
    measurements: Measurements
    threat: ThreatModel
    test_given: bool = True


@dataclass(frozen=True)
class Effort:
    """How much is looked at, so that the cost does not grow with the dataset.

    Attributes:
        attacked: Test images that the models are attacked on.
        square_iterations: Windows that Square tries on each.
        compared: Test images compared for near duplicates.
        searched: Training images searched for duplicates.
        labels: Labels looked at, of each split.
    """

    attacked: int = 128
    square_iterations: int = 500
    compared: int = 2_000
    searched: int = 200_000
    labels: int = 5_000


def run_checks(
    run: CheckedRun,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    on_step: Callable[[float], None],
    effort: Effort = Effort(),
) -> tuple[Check, ...]:
    """Look for signs that the figures mislead.

    Args:
        run: Models, data and figures.
        batch_size: Images at a time.
        seed: The job's seed.
        device: Where the models are.
        on_step: Called with the share done; may raise to stop.
        effort: How much is looked at.
    """
    splits = (run.train, run.test)
    # A model that draws random numbers draws them from torch's own streams.
    with scoped_seed(seed, "checks", device):
        probes = probe_models(
            (run.original, run.hardened),
            run.test.stratified(effort.attacked, numpy_stream(seed, "checks-attacked")),
            run.threat,
            square_iterations=effort.square_iterations,
            batch_size=batch_size,
            seed=seed,
            device=device,
            on_step=lambda done: on_step(0.7 * done),
        )
        contradictions = find_contradictions(
            (run.original, run.hardened),
            *(split.stratified(effort.labels, numpy_stream(seed, "checks-labels")) for split in splits),
            classes=run.classes,
            batch_size=batch_size,
            device=device,
            on_step=lambda done: on_step(0.7 + 0.15 * done),
        )
    duplicates = find_duplicates(
        run.test,
        run.train.stratified(effort.searched, numpy_stream(seed, "checks-searched")),
        compared=run.test.stratified_positions(effort.compared, numpy_stream(seed, "checks-compared")),
        given=run.test_given,
        batch_size=batch_size,
        device=device,
        on_step=lambda done: on_step(0.85 + 0.15 * done),
    )
    return (
        *_judge_model("original", probes[0], run),
        *_judge_model("hardened", probes[1], run),
        judge_sample_size(run.measurements.worst_case),
        judge_duplicates(duplicates),
        judge_labels(contradictions),
    )


def _judge_model(of: Model, probes: Probes, run: CheckedRun) -> Iterator[Check]:
    measured, threat = run.measurements, run.threat
    black_boxes = [*_asked(probes.transfer, probes.square), *black_box_contests(measured, of, threat)]
    yield judging.judge_black_box(of, black_boxes)
    yield judging.judge_one_step(of, [*_asked(probes.one_step), *one_step_contests(measured, of, threat)])
    yield judging.judge_unbounded(of, probes.unbounded, measured.curves)
    yield judging.judge_zero_gradients(of, probes.gradients)
    yield judging.judge_non_finite(of, probes.gradients)
    yield judging.judge_determinism(of, probes.repeats)
    yield judging.judge_square(of, [*_asked(probes.square), *square_contests(measured, of, threat)])
    yield judging.judge_losses(of, probes.losses)


def _asked(*contests: Contest | None) -> list[Contest]:
    return [contest for contest in contests if contest is not None]
