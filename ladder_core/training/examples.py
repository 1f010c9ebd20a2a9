"""Where the adversarial images of Eq. 6's second term come from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ladder_core.attacks.ladder import LadderAttacker
from ladder_core.attacks.pgd import pgd_training_examples
from ladder_core.datasets.base import Indices
from ladder_core.latents import Latents
from ladder_core.perturb import Perturbation
from ladder_schema.config import PgdConfig


@dataclass(frozen=True)
class Partners:
    """The adversarial partner of each image of a batch.

    Attributes:
        images: (B, C, H, W) in [0, 1].
        valid: (B,) bool; a partner that is not valid has no part in the loss.
    """

    images: Tensor
    valid: Tensor


class ExampleSource(Protocol):
    """Makes each batch's adversarial images."""

    def begin_block(self, positions: Indices) -> None:
        """Prepare for batches that go through these positions of the split in order."""

    def partners(self, model: nn.Module, images: Tensor, labels: Tensor, offset: int) -> Partners:
        """Return the partners of a batch that starts ``offset`` samples into the block."""


class LadderSource:
    """Images generated from latents moved across a boundary; a block of latents is moved at once."""

    def __init__(self, attacker: LadderAttacker, moved: Callable[[Indices], Perturbation]) -> None:
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
        stream: torch.Generator,
        device: torch.device,
    ) -> "LadderSource":
        """Draw new targets and steps each time a sample is met.

        Args:
            attacker: The frozen attack.
            latents: Of every sample of the split.
            labels: (N,) of every sample of the split.
            rho: Range of the relative step.
            stream: CPU stream of targets and steps.
            device: Where the attacker is.
        """

        def moved(positions: Indices) -> Perturbation:
            block = torch.from_numpy(labels[positions]).to(device)
            return attacker.perturb(latents.batch(positions, device), block, rho, stream)

        return cls(attacker, moved)

    @classmethod
    def fixed(
        cls,
        attacker: LadderAttacker,
        latents: Latents,
        labels: Indices,
        rho: tuple[float, float],
        stream: torch.Generator,
        device: torch.device,
    ) -> "LadderSource":
        """Draw targets and steps once, as the paper does; arguments as for `fresh`.

        The set is kept as latents: small at any image size, and the frozen generator gives the same image of
        one every time.
        """
        everything = torch.from_numpy(labels).to(device)
        whole = attacker.perturb(latents.batch(np.arange(len(labels)), device), everything, rho, stream)
        return cls(attacker, lambda positions: whole[torch.from_numpy(positions).to(device)])

    def begin_block(self, positions: Indices) -> None:
        """Move the block's latents."""
        self._block = self._moved(positions)

    def partners(self, model: nn.Module, images: Tensor, labels: Tensor, offset: int) -> Partners:  # noqa: ARG002
        """Return the generator's images of the batch's moved latents; the model under training has no say."""
        if self._block is None:
            raise RuntimeError("begin_block comes first")
        batch = self._block[slice(offset, offset + len(images))]
        return Partners(self._attacker.images(batch.latents), batch.valid)


class PgdSource:
    """PGD against the model under training (Madry et al. 2018)."""

    def __init__(self, config: PgdConfig, epsilon: float, stream: torch.Generator) -> None:
        self._config, self._epsilon, self._stream = config, epsilon, stream

    def begin_block(self, positions: Indices) -> None:
        """Nothing to prepare: every batch is attacked as it comes."""

    def partners(self, model: nn.Module, images: Tensor, labels: Tensor, offset: int) -> Partners:  # noqa: ARG002
        """Attack the batch with the model in evaluation mode, so batch statistics don't leak into it."""
        model.eval()
        attacked = pgd_training_examples(
            model,
            images,
            labels,
            epsilon=self._epsilon,
            steps=self._config.steps,
            relative_step=self._config.relative_step,
            generator=self._stream,
        )
        model.train()
        return Partners(attacked, torch.ones_like(labels, dtype=torch.bool))
