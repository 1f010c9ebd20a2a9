"""LADDER: latent boundary-guided adversarial training, paper section 3."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ladder_core.artifacts import ExampleSet
from ladder_core.attacks import LadderAttacker
from ladder_core.boundary import Boundaries, choose_pairs, fit_boundaries
from ladder_core.classifier import Classifier
from ladder_core.comparison import compare_with_linear_svc
from ladder_core.datasets import Split
from ladder_core.datasets.base import Indices
from ladder_core.evaluation.trade_off import Hardening, Varied
from ladder_core.examples import ladder_example_set
from ladder_core.generators import begin_generator_training, build_generator, train_generator
from ladder_core.generators.architectures import ConvGenerator, MlpGenerator, count_parameters
from ladder_core.generators.quality import Fidelity, measure_fidelity
from ladder_core.latents import Latents, compute_latents
from ladder_core.methods.common import (
    equation_6,
    evaluate_both,
    retrain_again,
    retrain_from_original,
    with_examples,
)
from ladder_core.perturb import Perturbation
from ladder_core.pictures import DrawnRun, draw_pictures, gallery
from ladder_core.pool import pool_latents
from ladder_core.records import Record, Stored
from ladder_core.run import Outcome, Run
from ladder_core.seeding import numpy_stream, scoped_seed
from ladder_core.training import LadderSource, move_once
from ladder_schema.config import LadderConfig
from ladder_schema.jobs import Stage
from ladder_schema.protocol import CheckpointName
from ladder_schema.report import BoundarySummary, EpochLosses, GeneratorSummary, Pictures

STAGE_WEIGHTS = {
    Stage.VALIDATE: 2.0,
    Stage.LATENTS: 3.0,
    Stage.BOUNDARY: 8.0,
    Stage.GENERATOR: 30.0,
    Stage.EXAMPLES: 1.0,
    Stage.RETRAIN: 40.0,
    Stage.EVALUATE: 15.0,
    Stage.REPORT: 1.0,
}
"""Rough shares of a run's time, for its progress."""
_SHOWN = 2_000
"""Test images that pictures are drawn from."""


def harden_with_ladder(run: Run, config: LadderConfig) -> Outcome:
    """Learn the original's latent space, retrain on examples from across its boundaries, and measure.

    Raises:
        TrainingError: A training diverged.
        StopRequested: The run's progress callback asked to stop.
    """
    latents = _latents(run)
    boundaries, boundary_summary = _boundaries(run, config, latents)
    generator, generator_summary = _generator(run, config, latents)
    attacker = LadderAttacker(
        boundaries,
        generator,
        run.original.head_weight.detach().clone(),
        run.original.head_bias.detach().clone(),
        config.perturbation.targets,
    )
    split, source = _examples(run, config, latents, attacker)
    hardened, losses = retrain_from_original(run, config, split, equation_6(source, config.retraining))
    harden = _hardenings(run, config, latents, attacker)
    outcome = _evaluate(run, config, attacker, hardened, losses, harden)
    return replace(outcome, boundary=boundary_summary, generator=generator_summary)


def _latents(run: Run) -> Latents:
    """3.1.1: z of every training image."""
    run.progress.enter(Stage.LATENTS)
    train, original = run.dataset.train, run.original
    return run.keeper.output(
        CheckpointName.LATENTS,
        make=lambda: compute_latents(
            original,
            train,
            run.work_dir / "latents-train.npy",
            classes=original.num_classes,
            batch_size=run.batch_size,
            device=run.device,
            on_step=run.progress.update,
        ),
        write=Latents.record,
        read=lambda stored: Latents.read(
            stored, samples=len(train), dimension=original.latent_dim, classes=original.num_classes
        ),
    )


def _boundaries(run: Run, config: LadderConfig, latents: Latents) -> tuple[Boundaries, BoundarySummary]:
    """3.1.1 and Eq. 2: an attention SVM for each pair of classes."""
    run.progress.enter(Stage.BOUNDARY)
    classes, device = run.original.num_classes, run.device
    present = np.unique(run.dataset.train.targets())
    pairs = choose_pairs(present, latents.confusion, config.boundary.max_pairs)

    def read(stored: Stored) -> tuple[Boundaries, BoundarySummary]:
        boundaries = Boundaries.read(
            stored, pairs, dimension=latents.dimension, classes=classes, device=device
        )
        return boundaries, stored.value("summary", BoundarySummary)

    return run.keeper.output(
        CheckpointName.BOUNDARY,
        make=lambda: _fit_boundaries(run, config, latents, pairs),
        write=lambda made: made[0].record() | Record(values={"summary": made[1]}),
        read=read,
    )


def _fit_boundaries(
    run: Run, config: LadderConfig, latents: Latents, pairs: Tensor
) -> tuple[Boundaries, BoundarySummary]:
    labels = run.dataset.train.targets()
    rows = _per_class(labels, config.boundary.samples_per_class, numpy_stream(run.seed, "boundary"))
    pool = pool_latents(
        latents.batch(rows, run.device),
        torch.from_numpy(labels[rows]).to(run.device),
        run.original.num_classes,
    )
    boundaries = fit_boundaries(pool, pairs, config.boundary, seed=run.seed, on_step=run.progress.update)
    accuracy = boundaries.held_out_accuracy[~boundaries.held_out_accuracy.isnan()]
    return boundaries, BoundarySummary(
        pairs=len(boundaries.pairs),
        held_out_accuracy_mean=float(accuracy.mean()) if len(accuracy) else None,
        held_out_accuracy_min=float(accuracy.min()) if len(accuracy) else None,
        linear_svc=compare_with_linear_svc(boundaries, pool, run.seed),
    )


def _per_class(labels: Indices, count: int, rng: np.random.Generator) -> Indices:
    """Return the positions of at most ``count`` samples of each class, in random order."""
    order = rng.permutation(len(labels))
    return np.concatenate([order[labels[order] == label][:count] for label in np.unique(labels)])


def _generator(
    run: Run, config: LadderConfig, latents: Latents
) -> tuple[MlpGenerator | ConvGenerator, GeneratorSummary]:
    """3.1.3 and Eq. 4: the way back from latents to images."""
    run.progress.enter(Stage.GENERATOR)
    train, name = run.dataset.train, CheckpointName.GENERATOR
    with scoped_seed(run.seed, "generator", run.device):
        generator = build_generator(config.generator.architecture, latents.dimension, train.image_shape)
        training = begin_generator_training(generator.to(run.device), config.generator, run.device)

        def read(stored: Stored) -> GeneratorSummary | None:
            summary = stored.value("summary", GeneratorSummary) if stored.about.complete else None
            training.load(stored)
            return summary

        summary = run.keeper.find(name, read)
        if summary is None:
            on_step = run.keeper.watch(name, training.record, run.progress.update)
            train_generator(
                training,
                latents,
                train,
                config.generator,
                seed=run.seed,
                on_step=lambda done: on_step(0.9 * done, ""),
            )
            summary = _measured(run, config, generator, on_step)
            run.keeper.save(name, training.record() | Record(values={"summary": summary}), complete=True)
    return generator.eval(), summary


def _measured(
    run: Run,
    config: LadderConfig,
    generator: MlpGenerator | ConvGenerator,
    on_step: Callable[[float, str], None],
) -> GeneratorSummary:
    """Return how faithful the generator is; the stage's progress from 0.9."""
    train, count = run.dataset.train, config.evaluation.max_samples
    test = run.dataset.test.stratified(count, numpy_stream(run.seed, "fidelity-test"))
    sample = train.stratified(len(test), numpy_stream(run.seed, "fidelity"))

    def fidelity(split: Split, start: float) -> Fidelity:
        return measure_fidelity(
            generator,
            run.original,
            split,
            batch_size=run.batch_size,
            device=run.device,
            on_step=lambda done: on_step(start + 0.05 * done, "fidelity"),
        )

    on_train, on_test = fidelity(sample, 0.9), fidelity(test, 0.95)
    return GeneratorSummary(
        architecture=generator.name,
        parameter_count=count_parameters(generator),
        steps=config.generator.steps,
        train_mse=on_train.mse,
        test_mse=on_test.mse,
        reconstruction_accuracy=on_test.accuracy,
    )


def _examples(
    run: Run, config: LadderConfig, latents: Latents, attacker: LadderAttacker
) -> tuple[Split, LadderSource]:
    """3.1.2: what retraining pairs with the clean images."""
    run.progress.enter(Stage.EXAMPLES)

    def keep(make: Callable[[], Perturbation], samples: int) -> Perturbation:
        return run.keeper.output(
            CheckpointName.EXAMPLES,
            make=make,
            write=Perturbation.record,
            read=lambda stored: Perturbation.read(stored, samples=samples, dimension=latents.dimension),
        )

    return _source(run, config, latents, attacker, keep)


def _source(
    run: Run,
    config: LadderConfig,
    latents: Latents,
    attacker: LadderAttacker,
    keep: Callable[[Callable[[], Perturbation], int], Perturbation],
) -> tuple[Split, LadderSource]:
    """Return the clean images and their partners; a fixed set of these is made, or found, by ``keep``."""
    train, rho = run.dataset.train, config.perturbation.rho
    if config.retraining.examples == "fresh":
        return train, LadderSource.fresh(attacker, latents, train.targets(), rho, run.seed, run.device)
    rng = numpy_stream(run.seed, "fixed-examples")
    chosen = train.stratified_positions(config.retraining.fixed_examples, rng)
    split = train.subset(chosen)
    moved = keep(
        lambda: move_once(attacker, latents.subset(chosen), split.targets(), rho, run.seed, run.device),
        len(split),
    )
    return split, LadderSource.fixed(attacker, moved, run.device)


def _hardenings(
    run: Run, config: LadderConfig, latents: Latents, attacker: LadderAttacker
) -> dict[Varied, Hardening]:
    """Return how to harden with another number of examples (paper Fig. 8) or another step (Fig. 9)."""

    def harden(changed: LadderConfig, on_step: Callable[[float], None]) -> Classifier:
        split, source = _source(run, changed, latents, attacker, lambda make, _: make())
        return retrain_again(run, changed, split, equation_6(source, changed.retraining), on_step)

    def with_rho(value: float) -> LadderConfig:
        perturbation = config.perturbation.model_copy(update={"rho": (value, value)})
        return config.model_copy(update={"perturbation": perturbation})

    return {
        "examples": lambda value, on_step: harden(with_examples(config, value), on_step),
        "rho": lambda value, on_step: harden(with_rho(value), on_step),
    }


def _evaluate(
    run: Run,
    config: LadderConfig,
    attacker: LadderAttacker,
    hardened: Classifier,
    losses: tuple[EpochLosses, ...],
    harden: dict[Varied, Hardening],
) -> Outcome:
    """Section 4, and LADDER's own examples on held-out images (Tables 8 and 9)."""
    subjects, found = evaluate_both(
        run, config, hardened, trained_on="ladder", harden=harden, attacker=attacker
    )
    test = subjects.test.subset(subjects.choose(None))
    examples = ladder_example_set(
        attacker,
        run.original,
        hardened,
        test,
        config.evaluation.rho,
        count=config.example_count,
        batch_size=run.batch_size,
        seed=run.seed,
        device=run.device,
    )
    return Outcome(
        hardened,
        losses,
        found.measurements,
        found.checks,
        examples,
        ladder=found.examples,
        pictures=_pictures(run, config, attacker, hardened, examples, test),
    )


def _pictures(
    run: Run,
    config: LadderConfig,
    attacker: LadderAttacker,
    hardened: Classifier,
    examples: ExampleSet,
    test: Split,
) -> Pictures:
    shown = test.stratified(_SHOWN, numpy_stream(run.seed, "shown"))
    latents = compute_latents(
        run.original,
        shown,
        run.work_dir / "latents-test.npy",
        classes=run.original.num_classes,
        batch_size=run.batch_size,
        device=run.device,
        on_step=lambda _: run.progress.update(1.0, "pictures"),
    )
    return draw_pictures(
        DrawnRun(attacker, run.original, hardened, run.dataset.train, shown, latents),
        gallery(examples, "ladder"),
        rho=config.evaluation.rho,
        batch_size=run.batch_size,
        seed=run.seed,
        device=run.device,
    )
