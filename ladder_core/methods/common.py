"""What every method does alike: retraining from the original's weights, and measuring."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from ladder_core.classifier import Classifier
from ladder_core.datasets import Split
from ladder_core.evaluation import (
    GradientAttack,
    clean_accuracy,
    evaluate_gradient_attack,
    gradient_attacks,
)
from ladder_core.records import Record, RecordError, Stored
from ladder_core.run import Run
from ladder_core.seeding import numpy_stream, scoped_seed
from ladder_core.training import ExampleSource, Objective, Term, begin_retraining, retrain
from ladder_schema.config import LadderConfig, PgdTrainingConfig, RetrainingConfig
from ladder_schema.jobs import Stage
from ladder_schema.protocol import CheckpointName
from ladder_schema.report import Accuracy, AttackResult, EpochLosses


class _Results(BaseModel):
    """Results of the first attacks of an evaluation, two of each."""

    model_config = ConfigDict(extra="forbid")

    attacks: tuple[AttackResult, ...]


def retrain_from_original(
    run: Run, config: LadderConfig | PgdTrainingConfig, split: Split, objective: Objective
) -> tuple[Classifier, tuple[EpochLosses, ...]]:
    """Retrain a copy of the original; return it and the losses of each epoch."""
    run.progress.enter(Stage.RETRAIN)
    hardened = run.original.clone()
    training = begin_retraining(hardened, config.retraining, objective, len(split), run.device)
    with scoped_seed(run.seed, "retrain", run.device):
        if not run.keeper.find(CheckpointName.RETRAIN, training.load):
            on_step = run.keeper.watch(CheckpointName.RETRAIN, training.record, run.progress.update)
            retrain(hardened, training, split, objective, config.retraining, seed=run.seed, on_step=on_step)
            run.keeper.save(CheckpointName.RETRAIN, training.record(), complete=True)
    return hardened.eval(), training.losses


def equation_6(source: ExampleSource, config: RetrainingConfig) -> Objective:
    """Return ``alpha * J(x, y) + (1 - alpha) * J(x', y)``, J the cross-entropy: paper Eq. 6."""
    return Objective(
        [Term("clean", config.alpha), Term("adversarial", 1 - config.alpha, source)],
        label_smoothing=config.label_smoothing,
    )


def evaluate_gradient_attacks(
    run: Run, config: LadderConfig | PgdTrainingConfig, hardened: Classifier, *, share: float
) -> tuple[Split, tuple[AttackResult, ...]]:
    """Enter the evaluation, choose its images, and attack both models with every gradient attack.

    Args:
        run: The run.
        config: Threat model and bounds of the evaluation.
        hardened: The model after retraining.
        share: Of the evaluation's progress that this makes up.

    Returns:
        The held-out images chosen, and the results.
    """
    run.progress.enter(Stage.EVALUATE)
    test = run.dataset.test.stratified(config.evaluation.max_samples, numpy_stream(run.seed, "evaluate"))
    attacks = gradient_attacks(config.threat_model.epsilon, config.evaluation, run.seed)
    costs = [1, config.evaluation.pgd_steps * config.evaluation.pgd_restarts]
    found = run.keeper.find(CheckpointName.EVALUATE, lambda stored: _read_results(stored, attacks, len(test)))
    results = list(found or ())
    for number, attack in enumerate(attacks):
        if any(result.attack == attack.name for result in results):
            continue
        start, width = sum(costs[:number]) / sum(costs), costs[number] / sum(costs)

        def on_step(done: float, start: float = start, width: float = width, name: str = attack.name) -> None:
            run.progress.update(share * (start + width * done), name)

        results += evaluate_gradient_attack(
            attack,
            run.original,
            hardened,
            test,
            batch_size=config.evaluation.batch_size,
            device=run.device,
            on_step=on_step,
        )
        kept = _Results(attacks=tuple(results))
        run.keeper.save(CheckpointName.EVALUATE, Record(values={"results": kept}), complete=False)
    return test, tuple(results)


def _read_results(
    stored: Stored, attacks: Sequence[GradientAttack], samples: int
) -> tuple[AttackResult, ...]:
    """Take the results of the first attacks from a checkpoint."""
    results = stored.value("results", _Results).attacks
    expected = [
        (attack.name, setting, attack.parameters, samples, samples)
        for attack in attacks
        for setting in ("white_box", "transfer")
    ]
    found = [(r.attack, r.setting, r.parameters, r.before.total, r.after.total) for r in results]
    if len(found) % 2 or found != expected[: len(found)]:
        raise RecordError("its results are not of this evaluation's attacks")
    return results


def accuracy_on_test(
    run: Run, config: LadderConfig | PgdTrainingConfig, hardened: Classifier, *, start: float
) -> Accuracy:
    """Return the hardened model's accuracy on the whole test split; the stage's progress from ``start``."""
    return clean_accuracy(
        hardened,
        run.dataset.test,
        batch_size=config.evaluation.batch_size,
        device=run.device,
        on_step=lambda done: run.progress.update(start + (1 - start) * done, "clean accuracy"),
    )
