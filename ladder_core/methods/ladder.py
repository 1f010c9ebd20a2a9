"""LADDER: latent boundary-guided adversarial training, paper section 3."""

import numpy as np
import torch

from ladder_core.attacks import LadderAttacker
from ladder_core.boundary import Boundaries, choose_pairs, fit_boundaries
from ladder_core.classifier import Classifier
from ladder_core.datasets import Split
from ladder_core.datasets.base import Indices
from ladder_core.evaluation import evaluate_ladder_attack
from ladder_core.examples import ladder_example_set
from ladder_core.generators import build_generator, train_generator
from ladder_core.generators.architectures import ConvGenerator, MlpGenerator, count_parameters
from ladder_core.generators.quality import measure_fidelity
from ladder_core.latents import Latents, compute_latents
from ladder_core.methods.common import accuracy_on_test, evaluate_gradient_attacks, retrain_from_original
from ladder_core.run import Outcome, Run
from ladder_core.seeding import numpy_stream, scoped_seed, torch_stream
from ladder_core.training import LadderSource
from ladder_schema.config import LadderConfig
from ladder_schema.jobs import Stage
from ladder_schema.report import AttackResult, BoundarySummary, ExampleSummary, GeneratorSummary

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
    test, attacks, example_summary = _evaluate(run, config, attacker, hardened)
    return Outcome(
        hardened,
        losses,
        accuracy_on_test(run, config, hardened),
        attacks,
        ladder_example_set(
            attacker,
            run.original,
            hardened,
            test,
            config.evaluation.rho,
            count=config.example_count,
            seed=run.seed,
            device=run.device,
        ),
        boundary=boundary_summary,
        generator=generator_summary,
        ladder=example_summary,
    )


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
    classes, labels = run.original.num_classes, run.dataset.train.targets()
    rows = _per_class(labels, config.boundary.samples_per_class, numpy_stream(run.seed, "boundary"))
    boundaries = fit_boundaries(
        latents.batch(rows, run.device),
        torch.from_numpy(labels[rows]).to(run.device),
        choose_pairs(np.unique(labels), latents.confusion, config.boundary.max_pairs),
        classes,
        config.boundary,
        torch_stream(run.seed, "boundary"),
        on_step=run.progress.update,
    )
    accuracy = boundaries.held_out_accuracy
    return boundaries, BoundarySummary(
        pairs=len(accuracy),
        held_out_accuracy_mean=float(accuracy.mean()),
        held_out_accuracy_min=float(accuracy.min()),
    )


def _per_class(labels: Indices, count: int, rng: np.random.Generator) -> Indices:
    """Return the positions of at most ``count`` random samples of each class, in order."""
    order = rng.permutation(len(labels))
    chosen = [order[labels[order] == label][:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


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
        on_step=run.progress.update,
    )
    test = run.dataset.test.stratified(config.evaluation.max_samples, numpy_stream(run.seed, "fidelity-test"))
    sample = train.stratified(len(test), numpy_stream(run.seed, "fidelity"))
    on_train, on_test = (
        measure_fidelity(
            generator, run.original, split, batch_size=config.evaluation.batch_size, device=run.device
        )
        for split in (sample, test)
    )
    return generator, GeneratorSummary(
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
    run: Run, config: LadderConfig, attacker: LadderAttacker, hardened: Classifier
) -> tuple[Split, tuple[AttackResult, ...], ExampleSummary]:
    """Section 4, and LADDER's own examples on held-out images (Tables 8 and 9)."""
    test, attacks = evaluate_gradient_attacks(run, config, hardened, share=0.9)
    latents = compute_latents(
        run.original,
        test,
        run.work_dir / "latents-test.npy",
        classes=run.original.num_classes,
        batch_size=config.evaluation.batch_size,
        device=run.device,
        on_step=lambda done: run.progress.update(0.9 + 0.05 * done),
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
        on_step=lambda done: run.progress.update(0.95 + 0.05 * done),
    )
    return test, attacks if ladder is None else (*attacks, ladder), summary
