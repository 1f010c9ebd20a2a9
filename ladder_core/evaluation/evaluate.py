"""The evaluation of a hardening job, in order: what is measured, on which images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ladder_core.attacks import LadderAttacker
from ladder_core.checkpoints import Keeper
from ladder_core.checks import CheckedRun, Effort, run_checks
from ladder_core.counting import paired
from ladder_core.evaluation.autoattack import AutoAttackVerdicts, measure_autoattack
from ladder_core.evaluation.black_box import measure_surrogate, rank_models
from ladder_core.evaluation.calibration import calibration
from ladder_core.evaluation.clean import measure_clean
from ladder_core.evaluation.confusion import confusions, strongest
from ladder_core.evaluation.corruptions import evaluate_corruptions
from ladder_core.evaluation.curves import measure_curve
from ladder_core.evaluation.distortion import minimal_distortion
from ladder_core.evaluation.ladder_attack import measure_ladder_attack
from ladder_core.evaluation.ledger import Ledger, OnStep
from ladder_core.evaluation.plan import Plan
from ladder_core.evaluation.subjects import Subjects
from ladder_core.evaluation.trade_off import Hardening, Varied, measure_trade_offs
from ladder_core.evaluation.white_box import Verdicts, measure_attack, replayed_result, white_box_result
from ladder_core.evaluation.worst_case import Held, class_results, worst_case
from ladder_core.progress import Progress
from ladder_schema.report import (
    AttackName,
    AttackResult,
    Calibrations,
    Check,
    CorruptionResult,
    EpsilonCurve,
    ExampleSummary,
    Measurements,
    Setting,
)


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        measurements: For the report.
        checks: Whether these can be trusted.
        examples: How LADDER's examples came about; None of another method.
    """

    measurements: Measurements
    checks: tuple[Check, ...]
    examples: ExampleSummary | None


def evaluate(
    subjects: Subjects,
    keeper: Keeper,
    progress: Progress,
    *,
    trained_on: AttackName,
    harden: Mapping[Varied, Hardening],
    attacker: LadderAttacker | None = None,
) -> Evaluation:
    """Measure both models on the same images.

    Args:
        subjects: Both models, the images and the bounds.
        keeper: Keeps each measurement for another attempt.
        progress: In the evaluation's stage.
        trained_on: The attack whose examples the hardening trained on.
        harden: Hardens anew with another value of a setting, for the trade-offs.
        attacker: LADDER's attack on the original, where the method is LADDER.
    """
    plan = Plan.of(subjects)
    ledger = Ledger.open(keeper, progress, plan.costs(has_ladder=attacker is not None))
    clean = measure_clean(subjects, ledger)
    attacked = _attack(plan, ledger, clean)
    results = [
        *_white_box_results(attacked, trained_on),
        *_surrogate_results(plan, ledger, clean, trained_on),
    ]
    summary: ExampleSummary | None = None
    if attacker is not None:
        result, summary = measure_ladder_attack(attacker, subjects, ledger, subjects.choose(None), clean)
        results += [] if result is None else [result]
    measurements = _measurements(subjects, ledger, clean, attacked, results, harden)
    return Evaluation(measurements, _checks(subjects, ledger, measurements), summary)


@dataclass(frozen=True)
class _Attacked:
    """Every white-box attack's verdicts, image by image."""

    attacks: tuple[Verdicts, ...]
    autoattack: AutoAttackVerdicts | None

    def worst_case(self, enough: int) -> Held:
        """Return the positions (n,) the worst case is of, and what held against every attack there: (n, 2).

        An attack that ran on fewer images, or that is not bound to the threat model, must not cost the others
        theirs: it breaks whichever of these images it broke within the threat model.

        Args:
            enough: On how many images a bounded attack has to have run for only these to be counted.
        """
        everywhere: list[Held] = []
        elsewhere: list[Held] = []
        for each in self.attacks:
            decides = each.attack.is_bounded and len(each.positions) >= enough
            (everywhere if decides else elsewhere).append((each.positions, each.held_within))
        if self.autoattack is not None:
            everywhere.append((self.autoattack.positions, self.autoattack.held))
        return worst_case(everywhere, elsewhere)


def _attack(plan: Plan, ledger: Ledger, clean: Tensor) -> _Attacked:
    subjects = plan.subjects
    verdicts = tuple(
        measure_attack(attack, subjects, ledger, positions, clean) for attack, positions in plan.attacks
    )
    if plan.autoattack is None or subjects.config.autoattack == "off":
        return _Attacked(verdicts, None)
    version, (_, positions) = subjects.config.autoattack, plan.autoattack
    return _Attacked(verdicts, measure_autoattack(version, subjects, ledger, positions, clean))


def _white_box_results(attacked: _Attacked, trained_on: AttackName) -> list[AttackResult]:
    """Return the results of attacks on both models, and of the original's examples replayed."""
    results: list[AttackResult] = []
    for found in attacked.attacks:
        results.append(white_box_result(found, trained_on=found.attack.name == trained_on))
        if found.replayed is not None:
            results.append(_replayed("transfer", found, found.replayed, trained_on))
    if attacked.autoattack is not None and attacked.autoattack.replayed is not None:
        results.append(_replayed("transfer", attacked.autoattack, attacked.autoattack.replayed, trained_on))
    return results


def _surrogate_results(
    plan: Plan, ledger: Ledger, clean: Tensor, trained_on: AttackName
) -> list[AttackResult]:
    if "surrogate" not in plan.subjects.config.black_box:
        return []
    results: list[AttackResult] = []
    measured = measure_surrogate(plan.replayed, plan.subjects, ledger)
    for (attack, positions), found in zip(plan.replayed, measured, strict=True):
        labels = plan.subjects.labels(positions)
        parameters = {**attack.parameters, "surrogate accuracy": found.surrogate_accuracy}
        results.append(
            replayed_result(
                replace(attack, parameters=parameters),
                "surrogate",
                clean[positions] == labels[:, None],
                found.predicted,
                labels,
                trained_on=attack.name == trained_on,
            )
        )
    return results


def _measurements(
    subjects: Subjects,
    ledger: Ledger,
    clean: Tensor,
    attacked: _Attacked,
    results: Sequence[AttackResult],
    harden: Mapping[Varied, Hardening],
) -> Measurements:
    labels = torch.from_numpy(subjects.test.targets())
    right = clean == labels[:, None]
    enough = len(subjects.choose(subjects.config.autoattack_samples))
    outcome, (common, held) = paired(right), attacked.worst_case(enough)
    ranks = [rank_models(outcome, results, setting) for setting in subjects.config.black_box]
    summary = attacked.autoattack and attacked.autoattack.summary(subjects.threat_model, subjects.classes)
    return Measurements(
        clean=outcome,
        attacks=tuple(results),
        worst_case=paired(held),
        autoattack=summary,
        classes=class_results(right, labels, held, labels[common]),
        confusions=confusions(clean, labels, strongest(attacked.attacks), subjects.classes),
        curves=_curves(subjects, ledger, clean),
        distortions=tuple(minimal_distortion(found) for found in attacked.attacks if found.attack.is_minimal),
        trade_offs=measure_trade_offs(subjects, ledger, harden),
        calibration=_calibrations(subjects, ledger),
        corruptions=_corruptions(subjects, ledger),
        average_ranks=tuple(rank for rank in ranks if rank is not None),
    )


def _replayed(
    setting: Setting, found: Verdicts | AutoAttackVerdicts, replayed: Tensor, trained_on: AttackName
) -> AttackResult:
    return replayed_result(
        found.attack,
        setting,
        found.right,
        replayed,
        found.labels,
        trained_on=found.attack.name == trained_on,
    )


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


def _corruptions(subjects: Subjects, ledger: Ledger) -> tuple[CorruptionResult, ...]:
    if not subjects.config.corruptions:
        return ()
    chosen = subjects.test.subset(subjects.choose(subjects.config.corruption_samples))
    return ledger.results(
        "corruptions",
        CorruptionResult,
        lambda known, keep, on_step: evaluate_corruptions(
            subjects.original,
            subjects.hardened,
            chosen,
            batch_size=subjects.batch_size,
            seed=subjects.seed,
            device=subjects.device,
            known=known,
            on_result=keep,
            on_step=on_step,
        ),
    )


def _checks(subjects: Subjects, ledger: Ledger, measurements: Measurements) -> tuple[Check, ...]:
    run = CheckedRun(
        subjects.original,
        subjects.hardened,
        subjects.train,
        subjects.test,
        subjects.classes,
        measurements,
        subjects.threat_model,
        subjects.test_given,
    )

    def measure(known: Sequence[Check], keep: Callable[[Check], None], on_step: OnStep) -> Sequence[Check]:
        if known:
            return known
        found = run_checks(
            run,
            batch_size=subjects.batch_size,
            seed=subjects.seed,
            device=subjects.device,
            on_step=on_step,
            effort=Effort(attacked=min(Effort.attacked, len(subjects.choose(None)))),
        )
        for check in found:
            keep(check)
        return found

    return ledger.results("checks", Check, measure)
