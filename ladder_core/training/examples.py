"""Where the adversarial images of Eq. 6's second term come from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ladder_core.attacks.ladder import LadderAttacker
from ladder_core.attacks.pgd import pgd_last_iterate
from ladder_core.datasets.base import Indices, Split
from ladder_core.latents import Latents
from ladder_core.perturb import Perturbation, concatenate
from ladder_schema.config import PgdConfig

_BLOCK = 8192


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
        self.moved = moved
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
        once = cls.fresh(attacker, latents, labels, rho, stream, device)
        positions = np.arange(len(labels))
        blocks = [positions[start : start + _BLOCK] for start in range(0, len(positions), _BLOCK)]
        whole = concatenate([once.moved(block).to("cpu") for block in blocks])
        return cls(attacker, lambda positions: whole[torch.from_numpy(positions)].to(device))

    def begin_block(self, positions: Indices) -> None:
        """Move the block's latents."""
        self._block = self.moved(positions)

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
        attacked = self.attack(model, images, labels)
        model.train()
        return Partners(attacked, torch.ones_like(labels, dtype=torch.bool))

    def attack(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Return the last iterate of PGD against a model in evaluation mode."""
        return pgd_last_iterate(
            model,
            images,
            labels,
            epsilon=self._epsilon,
            steps=self._config.steps,
            step=self._config.relative_step * self._epsilon,
            generator=self._stream,
        )


class StoredSource:
    """Examples made once and kept in a file, whatever their size, as the paper does for every attack."""

    def __init__(self, values: npt.NDArray[Any], device: torch.device) -> None:
        """Take the (N, C, H, W) examples of a split's samples, often memory-mapped."""
        self._values, self._device = values, device
        self._block = np.arange(0)

    @classmethod
    def make(
        cls,
        path: Path,
        attack: Callable[[Tensor, Tensor], Tensor],
        split: Split,
        *,
        batch_size: int,
        device: torch.device,
        on_step: Callable[[float], None],
    ) -> "StoredSource":
        """Attack every image of a split.

        Args:
            path: File to store the examples in.
            attack: From images and labels to examples.
            split: Images to attack.
            batch_size: Images at a time.
            device: Where the attack runs.
            on_step: Called with the share done; may raise to stop.
        """
        shape = (len(split), *split.image_shape)
        values = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        for positions, images, labels in split.batches(batch_size, device):
            values[positions] = attack(images, labels).cpu().numpy()
            on_step((int(positions[-1]) + 1) / len(split))
        return cls(values, device)

    def begin_block(self, positions: Indices) -> None:
        """Remember which samples come."""
        self._block = positions

    def partners(self, model: nn.Module, images: Tensor, labels: Tensor, offset: int) -> Partners:  # noqa: ARG002
        """Return the stored examples; the model under training has no say."""
        rows = self._block[offset : offset + len(images)]
        stored = torch.from_numpy(self._values[rows]).to(self._device)
        return Partners(stored, torch.ones_like(labels, dtype=torch.bool))
