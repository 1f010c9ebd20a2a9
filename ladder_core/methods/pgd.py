"""Input-space adversarial training on PGD examples: Madry et al. 2018, https://arxiv.org/abs/1706.06083.

In Eq. 6's form, as the paper trains every method it compares with (section 4): half the loss on clean images.
"""

from ladder_core.evaluation import gradient_attacks
from ladder_core.examples import attack_example_set
from ladder_core.methods.common import accuracy_on_test, evaluate_gradient_attacks, retrain_from_original
from ladder_core.run import Outcome, Run
from ladder_core.seeding import numpy_stream, torch_stream
from ladder_core.training import PgdSource
from ladder_schema.config import PgdTrainingConfig
from ladder_schema.jobs import Stage

STAGE_WEIGHTS = {Stage.VALIDATE: 2.0, Stage.RETRAIN: 70.0, Stage.EVALUATE: 25.0, Stage.REPORT: 1.0}
"""Rough shares of a run's time, for its progress."""


def harden_with_pgd(run: Run, config: PgdTrainingConfig) -> Outcome:
    """Retrain on PGD examples made against the model as it learns, and measure.

    Raises:
        TrainingError: The training diverged.
        StopRequested: The run's progress callback asked to stop.
    """
    epsilon = config.threat_model.epsilon
    split = run.dataset.train
    if config.retraining.examples == "fixed":
        split = split.stratified(config.retraining.fixed_examples, numpy_stream(run.seed, "fixed-examples"))
    source = PgdSource(config.pgd, epsilon, torch_stream(run.seed, "examples"))
    hardened, losses = retrain_from_original(run, config, split, source)
    test, attacks = evaluate_gradient_attacks(run, config, hardened, share=1.0)
    examples = attack_example_set(
        gradient_attacks(epsilon, config.evaluation, run.seed)[-1],
        run.original,
        hardened,
        test,
        count=config.example_count,
        seed=run.seed,
        device=run.device,
    )
    return Outcome(hardened, losses, accuracy_on_test(run, config, hardened), attacks, examples)
