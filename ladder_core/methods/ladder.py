"""LADDER: latent boundary-guided adversarial training, paper section 3."""

from dataclasses import replace

import numpy as np
import torch

from ladder_core.attacks import LadderAttacker
from ladder_core.boundary import Boundaries, choose_pairs, fit_boundaries, pool_latents
from ladder_core.classifier import Classifier
from ladder_core.comparison import MAP_SAMPLES, compare_with_linear_svc, map_latents
from ladder_core.datasets import Split
from ladder_core.datasets.base import Indices
from ladder_core.evaluation import evaluate_ladder_attack
from ladder_core.examples import ladder_example_set
from ladder_core.generators import build_generator, train_generator
from ladder_core.generators.architectures import ConvGenerator, MlpGenerator, count_parameters
from ladder_core.generators.quality import Fidelity, measure_fidelity
from ladder_core.latents import Latents, compute_latents
from ladder_core.methods.common import accuracy_on_test, evaluate_gradient_attacks, retrain_from_original
from ladder_core.run import Outcome, Run
from ladder_core.seeding import numpy_stream, scoped_seed, torch_stream
from ladder_core.training import LadderSource
from ladder_schema.config import LadderConfig
from ladder_schema.jobs import Stage
from ladder_schema.report import BoundarySummary, EpochLosses, GeneratorSummary

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


def harden_with_ladder(run: Run, config: LadderConfig) -> Outcome:
    """Learn the original's latent space, retrain on examples from across its boundaries, and measure.

    Raises:
        TrainingError: A training diverged.
        StopRequested: The run's progress callback asked to stop.
    """
    latents = _latents(run, config)
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
    hardened, losses = retrain_from_original(run, config, split, source)
    outcome = _evaluate(run, config, attacker, hardened, losses)
    return replace(outcome, boundary=boundary_summary, generator=generator_summary)


def _latents(run: Run, config: LadderConfig) -> Latents:
    """3.1.1: z of every training image."""
    run.progress.enter(Stage.LATENTS)
    return compute_latents(
        run.original,
        run.dataset.train,
        run.work_dir / "latents-train.npy",
        classes=run.original.num_classes,
        batch_size=config.evaluation.batch_size,
        device=run.device,
        on_step=run.progress.update,
    )


def _boundaries(run: Run, config: LadderConfig, latents: Latents) -> tuple[Boundaries, BoundarySummary]:
    """3.1.1 and Eq. 2: an attention SVM for each pair of classes."""
    run.progress.enter(Stage.BOUNDARY)
    labels = run.dataset.train.targets()
    rows = _per_class(labels, config.boundary.samples_per_class, numpy_stream(run.seed, "boundary"))
    pool = pool_latents(
        latents.batch(rows, run.device),
        torch.from_numpy(labels[rows]).to(run.device),
        run.original.num_classes,
    )
    boundaries = fit_boundaries(
        pool,
        choose_pairs(np.unique(labels), latents.confusion, config.boundary.max_pairs),
        config.boundary,
        seed=run.seed,
        on_step=run.progress.update,
    )
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
    train = run.dataset.train
    with scoped_seed(run.seed, "generator", run.device):
        generator = build_generator(config.generator.architecture, latents.dimension, train.image_shape)
        generator.to(run.device)
    train_generator(
        generator,
        latents,
        train,
        config.generator,
        device=run.device,
        rng=numpy_stream(run.seed, "generator"),
        on_step=lambda done: run.progress.update(0.9 * done),
    )
    test = run.dataset.test.stratified(config.evaluation.max_samples, numpy_stream(run.seed, "fidelity-test"))
    sample = train.stratified(len(test), numpy_stream(run.seed, "fidelity"))
    on_train = _fidelity(run, config, generator, sample, start=0.9)
    on_test = _fidelity(run, config, generator, test, start=0.95)
    return generator, GeneratorSummary(
        architecture=generator.name,
        parameter_count=count_parameters(generator),
        steps=config.generator.steps,
        train_mse=on_train.mse,
        test_mse=on_test.mse,
        reconstruction_accuracy=on_test.accuracy,
    )


def _fidelity(
    run: Run, config: LadderConfig, generator: MlpGenerator | ConvGenerator, split: Split, *, start: float
) -> Fidelity:
    return measure_fidelity(
        generator,
        run.original,
        split,
        batch_size=config.evaluation.batch_size,
        device=run.device,
        on_step=lambda done: run.progress.update(start + 0.05 * done, "fidelity"),
    )


def _examples(
    run: Run, config: LadderConfig, latents: Latents, attacker: LadderAttacker
) -> tuple[Split, LadderSource]:
    """3.1.2: what retraining pairs with the clean images."""
    run.progress.enter(Stage.EXAMPLES)
    train, stream = run.dataset.train, torch_stream(run.seed, "examples")
    rho = config.perturbation.rho
    if config.retraining.examples == "fresh":
        return train, LadderSource.fresh(attacker, latents, train.targets(), rho, stream, run.device)
    rng = numpy_stream(run.seed, "fixed-examples")
    chosen = train.stratified_positions(config.retraining.fixed_examples, rng)
    split = train.subset(chosen)
    return split, LadderSource.fixed(
        attacker, latents.subset(chosen), split.targets(), rho, stream, run.device
    )


def _evaluate(
    run: Run,
    config: LadderConfig,
    attacker: LadderAttacker,
    hardened: Classifier,
    losses: tuple[EpochLosses, ...],
) -> Outcome:
    """Section 4, and LADDER's own examples on held-out images (Tables 8 and 9)."""
    test, attacks = evaluate_gradient_attacks(run, config, hardened, share=0.85)
    latents = compute_latents(
        run.original,
        test,
        run.work_dir / "latents-test.npy",
        classes=run.original.num_classes,
        batch_size=config.evaluation.batch_size,
        device=run.device,
        on_step=lambda done: run.progress.update(0.85 + 0.05 * done, "latents"),
    )
    ladder, summary = evaluate_ladder_attack(
        attacker,
        run.original,
        hardened,
        latents,
        test,
        config.evaluation,
        seed=run.seed,
        device=run.device,
        on_step=lambda done: run.progress.update(0.9 + 0.05 * done, "ladder"),
    )
    examples = ladder_example_set(
        attacker,
        run.original,
        hardened,
        test,
        config.evaluation.rho,
        count=config.example_count,
        batch_size=config.evaluation.batch_size,
        seed=run.seed,
        device=run.device,
    )
    shown = test.stratified_positions(MAP_SAMPLES, numpy_stream(run.seed, "map"))
    return Outcome(
        hardened,
        losses,
        accuracy_on_test(run, config, hardened, start=0.95),
        attacks if ladder is None else (*attacks, ladder),
        examples,
        ladder=summary,
        latent_map=map_latents(latents.batch(shown, "cpu"), test.targets()[shown]),
    )
