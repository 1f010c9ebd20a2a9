"""What every method does alike: retraining from the original's weights, and measuring."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from ladder_core.attacks import LadderAttacker
from ladder_core.classifier import Classifier
from ladder_core.datasets import Split
from ladder_core.evaluation import Evaluation, Subjects, evaluate
from ladder_core.evaluation.trade_off import Hardening, Varied
from ladder_core.run import Run
from ladder_core.seeding import scoped_seed
from ladder_core.training import ExampleSource, Objective, Term, begin_retraining, retrain
from ladder_schema.config import LadderConfig, PgdTrainingConfig, RetrainingConfig
from ladder_schema.jobs import Stage
from ladder_schema.protocol import CheckpointName
from ladder_schema.report import AttackName, EpochLosses

_Config = TypeVar("_Config", LadderConfig, PgdTrainingConfig)


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


def retrain_again(
    run: Run,
    config: LadderConfig | PgdTrainingConfig,
    split: Split,
    objective: Objective,
    on_step: Callable[[float], None],
) -> Classifier:
    """Retrain another copy of the original, for a trade-off; it is not kept for another attempt."""
    hardened = run.original.clone()
    training = begin_retraining(hardened, config.retraining, objective, len(split), run.device)
    with scoped_seed(run.seed, "retrain", run.device):
        retrain(
            hardened,
            training,
            split,
            objective,
            config.retraining,
            seed=run.seed,
            on_step=lambda done, _: on_step(done),
        )
    return hardened.eval()


def with_examples(config: _Config, count: float) -> _Config:
    """Return a configuration with a fixed set of that many examples."""
    fixed = {"examples": "fixed", "fixed_examples": int(count)}
    return config.model_copy(update={"retraining": config.retraining.model_copy(update=fixed)})


def evaluate_both(
    run: Run,
    config: LadderConfig | PgdTrainingConfig,
    hardened: Classifier,
    *,
    trained_on: AttackName,
    harden: Mapping[Varied, Hardening],
    attacker: LadderAttacker | None = None,
) -> tuple[Subjects, Evaluation]:
    """Enter the evaluation, and measure both models.

    Args:
        run: The run.
        config: Threat model and bounds of the evaluation.
        hardened: The model after retraining.
        trained_on: The attack whose examples it was trained on.
        harden: Hardens anew with another value of a setting, for the trade-offs.
        attacker: LADDER's attack on the original, where the method is LADDER.
    """
    run.progress.enter(Stage.EVALUATE)
    subjects = Subjects(
        run.original,
        hardened,
        run.dataset.train,
        run.dataset.test,
        run.dataset.test_given,
        run.original.num_classes,
        config.threat_model,
        config.evaluation,
        run.seed,
        run.device,
        run.batch_size,
    )
    found = evaluate(
        subjects, run.keeper, run.progress, trained_on=trained_on, harden=harden, attacker=attacker
    )
    return subjects, found
