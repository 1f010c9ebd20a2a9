"""Input-space adversarial training on PGD examples: Madry et al. 2018, https://arxiv.org/abs/1706.06083.

In Eq. 6's form, as the paper trains every method it compares with (section 4): half the loss on clean images.
"""

from collections.abc import Callable

from ladder_core.classifier import Classifier
from ladder_core.datasets import Split
from ladder_core.evaluation import bind
from ladder_core.evaluation.trade_off import Hardening, Varied
from ladder_core.examples import attack_example_set
from ladder_core.methods.common import (
    equation_6,
    evaluate_both,
    retrain_again,
    retrain_from_original,
    with_examples,
)
from ladder_core.pictures import gallery
from ladder_core.run import Outcome, Run
from ladder_core.seeding import numpy_stream, torch_stream
from ladder_core.training import AttackSource, ExampleSource, StoredSource, pgd_attack
from ladder_schema.config import PgdTrainingConfig
from ladder_schema.jobs import Stage
from ladder_schema.protocol import CheckpointName
from ladder_schema.report import Pictures

STAGE_WEIGHTS = {
    Stage.VALIDATE: 2.0,
    Stage.EXAMPLES: 8.0,
    Stage.RETRAIN: 70.0,
    Stage.EVALUATE: 25.0,
    Stage.REPORT: 1.0,
}
"""Rough shares of a run's time, for its progress."""


def harden_with_pgd(run: Run, config: PgdTrainingConfig) -> Outcome:
    """Retrain on PGD examples, and measure.

    ``retraining.examples``: ``fresh`` ones are made against the model as it learns (Madry et al.), ``fixed``
    ones once against the original (the paper's "PGD Adv.").

    Raises:
        TrainingError: The training diverged.
        StopRequested: The run's progress callback asked to stop.
    """
    split, source = _examples(run, config)
    hardened, losses = retrain_from_original(run, config, split, equation_6(source, config.retraining))
    subjects, found = evaluate_both(run, config, hardened, trained_on="pgd", harden=_hardenings(run, config))
    examples = attack_example_set(
        bind("pgd", config.threat_model, config.evaluation),
        run.original,
        hardened,
        subjects.test.subset(subjects.choose(None)),
        count=config.example_count,
        batch_size=run.batch_size,
        seed=run.seed,
        device=run.device,
    )
    pictures = Pictures(gallery=gallery(examples, "pgd"))
    return Outcome(hardened, losses, found.measurements, found.checks, examples, pictures=pictures)


def _examples(run: Run, config: PgdTrainingConfig) -> tuple[Split, ExampleSource]:
    run.progress.enter(Stage.EXAMPLES)
    attack = pgd_attack(config.pgd, config.threat_model)
    if config.retraining.examples == "fresh":
        return run.dataset.train, AttackSource(attack, run.seed)
    split = _fixed_split(run, config)
    source = run.keeper.output(
        CheckpointName.EXAMPLES,
        make=lambda: _stored(run, config, split, "examples-train.npy", run.progress.update),
        write=StoredSource.record,
        read=lambda stored: StoredSource.read(stored, split, run.device),
    )
    return split, source


def _fixed_split(run: Run, config: PgdTrainingConfig) -> Split:
    rng = numpy_stream(run.seed, "fixed-examples")
    return run.dataset.train.stratified(config.retraining.fixed_examples, rng)


def _stored(
    run: Run, config: PgdTrainingConfig, split: Split, name: str, on_step: Callable[[float], None]
) -> StoredSource:
    """Attack the original on a split, once, and keep the examples in a file of that name."""
    stream, attack = torch_stream(run.seed, "examples"), pgd_attack(config.pgd, config.threat_model)
    return StoredSource.make(
        run.work_dir / name,
        lambda images, labels: attack(run.original, images, labels, stream),
        split,
        batch_size=run.batch_size,
        device=run.device,
        on_step=on_step,
    )


def _hardenings(run: Run, config: PgdTrainingConfig) -> dict[Varied, Hardening]:
    """Return how to harden with another number of examples (paper Fig. 8)."""

    def harden(value: float, on_step: Callable[[float], None]) -> Classifier:
        changed = with_examples(config, value)
        split = _fixed_split(run, changed)
        source = _stored(run, changed, split, "examples-trade-off.npy", lambda done: on_step(0.2 * done))
        return retrain_again(
            run,
            changed,
            split,
            equation_6(source, changed.retraining),
            lambda done: on_step(0.2 + 0.8 * done),
        )

    return {"examples": harden}
