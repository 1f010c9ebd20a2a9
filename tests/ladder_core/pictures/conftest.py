"""LADDER runs as far as pictures need them: on digits, and on photos of 224 pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ladder_core.attacks import LadderAttacker
from ladder_core.boundary import fit_boundaries
from ladder_core.classifier import Classifier, load_classifier
from ladder_core.datasets import Split
from ladder_core.generators import begin_generator_training, build_generator, train_generator
from ladder_core.latents import Latents, compute_latents
from ladder_core.pictures import DrawnRun
from ladder_core.pool import pool_latents
from ladder_schema.config import BoundaryConfig, GeneratorConfig

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def digits_run(digits_arrays, digits_model, tmp_path_factory) -> DrawnRun:
    train, test = (
        Split(digits_arrays[f"x_{part}"][:, None], digits_arrays[f"y_{part}"], np.arange(size), 1.0)
        for part, size in (("train", len(digits_arrays["y_train"])), ("test", len(digits_arrays["y_test"])))
    )
    original = load_classifier(digits_model).eval()
    return run_of(original, train, test, tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def photo_run(tmp_path_factory) -> DrawnRun:
    """A linear model of the colours of a photo's quarters, whose labels are what it says itself."""
    directory = tmp_path_factory.mktemp("photos")
    stream = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 5))
    with torch.no_grad():
        network[2].weight.normal_(generator=stream)
        network[2].bias.copy_(-0.5 * network[2].weight.sum(dim=1))
    torch.jit.script(network).save(str(directory / "model.pt"))
    coarse = torch.rand(120, 3, 2, 2, generator=stream)
    images = nn.functional.interpolate(coarse, (224, 224)).mul(255).round().to(torch.uint8)
    with torch.no_grad():
        labels = network(images / 255).argmax(dim=1).numpy()
    # The latents are those colours: this generator is perfect.
    generator = nn.Sequential(nn.Unflatten(1, (3, 2, 2)), nn.Upsample(size=(224, 224)))
    train, test = (Split(images.numpy(), labels, np.arange(*part), 1 / 255) for part in ((60,), (60, 120)))
    return run_of(load_classifier(directory / "model.pt").eval(), train, test, directory, generator)


def latents_of(original: Classifier, split: Split, path: Path) -> Latents:
    return compute_latents(
        original,
        split,
        path,
        classes=original.num_classes,
        batch_size=64,
        device=CPU,
        on_step=lambda _: None,
    )


def run_of(
    original: Classifier, train: Split, test: Split, directory: Path, generator: nn.Module | None = None
) -> DrawnRun:
    """Fit boundaries and, where none is given, a generator; the hardened model is a little different."""
    latents, classes = latents_of(original, train, directory / "train.npy"), np.unique(train.targets())
    pool = pool_latents(
        torch.from_numpy(latents.values[:]), torch.from_numpy(train.targets()), original.num_classes
    )
    boundaries = fit_boundaries(
        pool, torch.combinations(torch.from_numpy(classes), 2), BoundaryConfig(), seed=0
    )
    if generator is None:
        generator = trained_generator(original, train, latents)
    attacker = LadderAttacker(
        boundaries,
        generator.eval(),
        original.head_weight.detach().clone(),
        original.head_bias.detach().clone(),
        "random",
    )
    hardened = original.clone()
    with torch.no_grad():
        for parameter in hardened.parameters():
            parameter.mul_(0.9)
    return DrawnRun(
        attacker, original, hardened.eval(), train, test, latents_of(original, test, directory / "test.npy")
    )


def trained_generator(original: Classifier, train: Split, latents: Latents) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = build_generator("auto", original.latent_dim, train.image_shape)
    config = GeneratorConfig(steps=150, batch_size=64)
    training = begin_generator_training(generator, config, CPU)
    train_generator(training, latents, train, config, seed=0, on_step=lambda _: None)
    return generator
