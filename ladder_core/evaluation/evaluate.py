"""The evaluation of a hardening job, in order: what is measured, on which images."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ladder_core.attacks import LadderAttacker
from ladder_core.checkpoints import Keeper
from ladder_core.counting import paired
from ladder_core.datasets.base import Indices
from ladder_core.evaluation.black_box import rank_models
from ladder_core.evaluation.bound import BoundAttack, bind
from ladder_core.evaluation.calibration import calibration
from ladder_core.evaluation.clean import measure_clean
from ladder_core.evaluation.confusion import confusions, strongest
from ladder_core.evaluation.curves import measure_curve
from ladder_core.evaluation.distortion import minimal_distortion
from ladder_core.evaluation.ladder_attack import measure_ladder_attack
from ladder_core.evaluation.ledger import Ledger, OnStep
from ladder_core.evaluation.subjects import Subjects
from ladder_core.evaluation.white_box import Verdicts, measure_attack, replayed_result, white_box_result
from ladder_core.evaluation.worst_case import class_results, worst_case
from ladder_core.progress import Progress
from ladder_schema.report import (
    AttackName,
    AttackResult,
    Calibrations,
    EpsilonCurve,
    ExampleSummary,
    Measurements,
)


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        measurements: For the report.
        clean: (N, 2) int64, what both models take every test image for.
        verdicts: Of each white-box attack, image by image.
        examples: How LADDER's examples came about; None of another method.
    """

    measurements: Measurements
    clean: Tensor
    verdicts: tuple[Verdicts, ...]
    examples: ExampleSummary | None


def evaluate(
    subjects: Subjects,
    keeper: Keeper,
    progress: Progress,
    *,
    trained_on: AttackName,
    attacker: LadderAttacker | None = None,
) -> Evaluation:
    """Measure both models on the same images.

    Args:
        subjects: Both models, the images and the bounds.
        keeper: Keeps each measurement for another attempt.
        progress: In the evaluation's stage.
        trained_on: The attack whose examples the hardening trained on.
        attacker: LADDER's attack on the original, where the method is LADDER.
    """
    config = subjects.config
    attacks = [bind(name, subjects.threat_model, config) for name in config.attacks]
    ledger = Ledger.open(keeper, progress, _costs(subjects, attacks, has_ladder=attacker is not None))
    clean = measure_clean(subjects, ledger)
    labels = torch.from_numpy(subjects.test.targets())
    right = clean == labels[:, None]
    positions = subjects.choose(None)
    verdicts = tuple(
        measure_attack(attack, subjects, ledger, _images_of(attack, subjects), clean) for attack in attacks
    )
    results = _attack_results(verdicts, trained_on)
    summary: ExampleSummary | None = None
    if attacker is not None:
        result, summary = measure_ladder_attack(attacker, subjects, ledger, positions, clean)
        results += [] if result is None else [result]
    common, held = worst_case([(v.positions, v.held_within) for v in verdicts if v.attack.is_bounded])
    clean_outcome = paired(right)
    ranks = [rank_models(clean_outcome, results, setting) for setting in config.black_box]
    measurements = Measurements(
        clean=clean_outcome,
        attacks=tuple(results),
        worst_case=paired(held),
        classes=class_results(right, labels, held, labels[common]),
        confusions=confusions(clean, labels, strongest(verdicts), subjects.classes),
        curves=_curves(subjects, ledger, clean),
        distortions=tuple(minimal_distortion(found) for found in verdicts if found.attack.is_minimal),
        calibration=_calibrations(subjects, ledger),
        average_ranks=tuple(rank for rank in ranks if rank is not None),
    )
    return Evaluation(measurements, clean, verdicts, summary)


def _attack_results(verdicts: tuple[Verdicts, ...], trained_on: AttackName) -> list[AttackResult]:
    results: list[AttackResult] = []
    for found in verdicts:
        is_trained_on = found.attack.name == trained_on
        results.append(white_box_result(found, trained_on=is_trained_on))
        if found.replayed is not None:
            results.append(
                replayed_result(
                    found.attack,
                    "transfer",
                    found.right,
                    found.replayed,
                    found.labels,
                    trained_on=is_trained_on,
                )
            )
    return results


def _curves(subjects: Subjects, ledger: Ledger, clean: Tensor) -> tuple[EpsilonCurve, ...]:
    if not subjects.config.curve_points:
        return ()
    positions = subjects.choose(subjects.config.curve_samples)
    return (measure_curve(subjects, ledger, positions, clean),)


def _calibrations(subjects: Subjects, ledger: Ledger) -> Calibrations:
    def measure(on_step: OnStep) -> Calibrations:
        before, after = (
            calibration(
                model,
                subjects.test,
                batch_size=subjects.batch_size,
                device=subjects.device,
                on_step=lambda done, number=number: on_step((number + done) / 2),  # type: ignore[misc]
            )
            for number, model in enumerate(subjects.models)
        )
        return Calibrations(before=before, after=after)

    return ledger.value("calibration", Calibrations, measure)


def _images_of(attack: BoundAttack, subjects: Subjects) -> Indices:
    return subjects.choose(subjects.config.costly_samples if attack.is_costly else None)


def _costs(subjects: Subjects, attacks: list[BoundAttack], *, has_ladder: bool) -> Mapping[str, float]:
    """Return rough numbers of passes, for progress."""
    config, everything = subjects.config, len(subjects.test)
    costs = {"clean": 2.0 * everything, "calibration": 2.0 * everything}
    for attack in attacks:
        costs[attack.name] = 2.5 * attack.cost * len(_images_of(attack, subjects))
    if has_ladder:
        costs["ladder"] = 5.0 * len(subjects.choose(None))
    if config.curve_points:
        costs["curve"] = 2.0 * config.pgd_steps * len(subjects.choose(config.curve_samples))
    return costs
