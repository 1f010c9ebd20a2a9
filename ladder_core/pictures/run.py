"""All pictures of a LADDER run."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ladder_core.attacks import LadderAttacker
from ladder_core.classifier import Classifier
from ladder_core.comparison import MAP_SAMPLES, map_latents
from ladder_core.datasets import Split
from ladder_core.latents import Latents
from ladder_core.pictures.images import reconstructions, walks
from ladder_core.pictures.latents import latent_planes
from ladder_core.seeding import numpy_stream
from ladder_schema.report import GalleryItem, Pictures


@dataclass(frozen=True)
class DrawnRun:
    """What is drawn.

    Attributes:
        attacker: Built on the original model.
        original: The model as uploaded, in evaluation mode.
        hardened: The model after retraining, in evaluation mode.
        train: Images the generator was trained on.
        test: Images that were measured on.
        latents: z of the test images under the original model.
    """

    attacker: LadderAttacker
    original: Classifier
    hardened: Classifier
    train: Split
    test: Split
    latents: Latents


def draw_pictures(
    run: DrawnRun,
    shown: Sequence[GalleryItem],
    *,
    rho: float,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> Pictures:
    """Draw everything a run's report shows, within about 4 MB.

    Args:
        run: Models, generator and data.
        shown: The gallery, which every method has.
        rho: Relative step of the moved latents.
        batch_size: Images at a time.
        seed: The job's seed.
        device: Where everything is.
    """
    labels, test = run.test.targets(), run.test
    mapped = test.stratified_positions(MAP_SAMPLES, numpy_stream(seed, "map"))
    return Pictures(
        gallery=tuple(shown),
        reconstructions=reconstructions(
            run.attacker, run.original, run.train, test, seed=seed, device=device
        ),
        walks=walks(
            run.attacker,
            run.original,
            run.hardened,
            test,
            batch_size=batch_size,
            seed=seed,
            device=device,
        ),
        latent_planes=latent_planes(run.attacker, run.latents, labels, rho=rho, seed=seed, device=device),
        latent_map=map_latents(run.latents.batch(mapped, "cpu"), labels[mapped]),
    )
