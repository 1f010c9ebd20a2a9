"""LADDER's examples as a source of training: images from moved latents, or the moved latents themselves."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ladder_core.attacks.ladder import LadderAttacker
from ladder_core.classifier import Classifier
from ladder_core.datasets.base import Indices
from ladder_core.latents import Latents
from ladder_core.perturb import Perturbation, concatenate
from ladder_core.seeding import torch_stream
from ladder_core.training.sources import MovedLatents, Partners

_BLOCK = 8192


class LadderSource:
    """Images generated from latents moved across a boundary; a block of latents is moved at once."""

    def __init__(self, attacker: LadderAttacker, moved: Callable[[Indices, int], Perturbation]) -> None:
        self._attacker = attacker
        self._moved = moved
        self._block: Perturbation | None = None

    @classmethod
    def fresh(
        cls,
        attacker: LadderAttacker,
        latents: Latents,
        labels: Indices,
        rho: tuple[float, float],
        seed: int,
        device: torch.device,
    ) -> "LadderSource":
        """Draw new targets and steps each time a sample is met.

        Args:
            attacker: The frozen attack.
            latents: Of every sample of the split.
            labels: (N,) of every sample of the split.
            rho: Range of the relative step.
            seed: Of targets and steps.
            device: Where the attacker is.
        """

        def moved(positions: Indices, number: int) -> Perturbation:
            stream = torch_stream(seed, "examples", number)
            return _move(attacker, latents, labels, positions, rho, stream, device)

        return cls(attacker, moved)

    @classmethod
    def fixed(cls, attacker: LadderAttacker, moved: Perturbation, device: torch.device) -> "LadderSource":
        """Take targets and steps that were drawn once for the whole split, as the paper does."""
        return cls(attacker, lambda positions, _: moved[torch.from_numpy(positions)].to(device))

    def begin_block(self, positions: Indices, number: int) -> None:
        """Move the block's latents."""
        self._block = self._moved(positions, number)

    def partners(self, model: Classifier, images: Tensor, labels: Tensor, offset: int) -> Partners:  # noqa: ARG002
        """Return the generator's images of the batch's moved latents; the model under training has no say."""
        if self._block is None:
            raise RuntimeError("begin_block comes first")
        batch = self._block[slice(offset, offset + len(images))]
        return Partners(self._attacker.images(batch.latents), batch.valid)


def move_once(
    attacker: LadderAttacker,
    latents: Latents,
    labels: Indices,
    rho: tuple[float, float],
    seed: int,
    device: torch.device,
) -> Perturbation:
    """Move every sample of a split once, for `LadderSource.fixed`; arguments as for `LadderSource.fresh`.

    The set is kept as latents: small at any image size, and the frozen generator gives the same image of one
    every time.
    """
    stream, positions = torch_stream(seed, "examples"), np.arange(len(labels))
    blocks = (positions[start : start + _BLOCK] for start in range(0, len(positions), _BLOCK))
    return concatenate(
        [_move(attacker, latents, labels, block, rho, stream, device).to("cpu") for block in blocks]
    )


def _move(
    attacker: LadderAttacker,
    latents: Latents,
    labels: Indices,
    positions: Indices,
    rho: tuple[float, float],
    stream: torch.Generator,
    device: torch.device,
) -> Perturbation:
    sources = torch.from_numpy(labels[positions]).to(device)
    return attacker.perturb(latents.batch(positions, device), sources, rho, stream)


class LatentLadderSource:
    """Latents of the model under training moved across its own head's boundaries: no generator.

    The paper's future work (section 5): the loss on ``head(features(x) + step * u)``. The direction u is the
    attention SVMs' at the model's present latents, the step is relative to its present head; both are
    constants of the loss, so gradients flow through the features and the head alone.
    """

    def __init__(self, attacker: LadderAttacker, rho: tuple[float, float], seed: int) -> None:
        self._attacker, self._rho, self._seed = attacker, rho, seed
        self._number = 0

    def begin_block(self, positions: Indices, number: int) -> None:  # noqa: ARG002
        """Nothing to prepare: latents are moved as they come."""
        self._number = number

    @torch.no_grad()
    def _step(self, model: Classifier, latents: Tensor, labels: Tensor, offset: int) -> Perturbation:
        stream = torch_stream(self._seed, "latent", self._number, offset)
        attacker = replace(
            self._attacker, head_weight=model.head_weight.detach(), head_bias=model.head_bias.detach()
        )
        return attacker.perturb(latents, labels, self._rho, stream)

    def moved(self, model: Classifier, latents: Tensor, labels: Tensor, offset: int) -> MovedLatents:
        """Return the batch's latents, moved; a latent the head already gives to another class is left out."""
        step = self._step(model, latents.detach(), labels, offset)
        return MovedLatents(latents + (step.latents - latents.detach()), step.valid)
