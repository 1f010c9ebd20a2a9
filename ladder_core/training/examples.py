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
from ladder_core.records import Record, Stored
from ladder_core.seeding import torch_stream
from ladder_schema.config import PgdConfig, ThreatModel

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
    """Makes each batch's adversarial images.

    What it draws depends on the block's number and the batch's place in it alone, so that a training that
    goes on in the middle of a block meets the same examples.
    """

    def begin_block(self, positions: Indices, number: int) -> None:
        """Prepare for batches that go through these positions of the split in order.

        Args:
            positions: In the split, of the whole block.
            number: Unlike any other block's of the training.
        """

    def partners(self, model: nn.Module, images: Tensor, labels: Tensor, offset: int) -> Partners:
        """Return the partners of a batch that starts ``offset`` samples into the block."""


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

    def partners(self, model: nn.Module, images: Tensor, labels: Tensor, offset: int) -> Partners:  # noqa: ARG002
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


class PgdSource:
    """PGD against the model under training (Madry et al. 2018)."""

    def __init__(self, config: PgdConfig, threat_model: ThreatModel, seed: int) -> None:
        self._config, self._threat_model, self._seed = config, threat_model, seed
        self._number = 0

    def begin_block(self, positions: Indices, number: int) -> None:  # noqa: ARG002
        """Nothing to prepare: every batch is attacked as it comes."""
        self._number = number

    def partners(self, model: nn.Module, images: Tensor, labels: Tensor, offset: int) -> Partners:
        """Attack the batch with the model in evaluation mode, so batch statistics don't leak into it."""
        model.eval()
        stream = torch_stream(self._seed, "examples", self._number, offset)
        attacked = attack_with_pgd(model, images, labels, self._config, self._threat_model, stream)
        model.train()
        return Partners(attacked, torch.ones_like(labels, dtype=torch.bool))


def attack_with_pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    config: PgdConfig,
    threat_model: ThreatModel,
    stream: torch.Generator,
) -> Tensor:
    """Return the last iterate of adversarial training's PGD against a model in evaluation mode."""
    return pgd_last_iterate(
        model,
        images,
        labels,
        epsilon=threat_model.epsilon,
        norm=threat_model.norm,
        steps=config.steps,
        step=config.relative_step * threat_model.epsilon,
        generator=stream,
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

    def record(self) -> Record:
        """Return what a checkpoint keeps."""
        return Record({"examples": torch.from_numpy(self._values)})

    @classmethod
    def read(cls, stored: Stored, split: Split, device: torch.device) -> "StoredSource":
        """Take the examples of a split's samples from a checkpoint, mapped from its file.

        Raises:
            RecordError: The checkpoint has no such examples.
        """
        return cls(stored.tensor("examples", (len(split), *split.image_shape)).numpy(), device)

    def begin_block(self, positions: Indices, number: int) -> None:  # noqa: ARG002
        """Remember which samples come."""
        self._block = positions

    def partners(self, model: nn.Module, images: Tensor, labels: Tensor, offset: int) -> Partners:  # noqa: ARG002
        """Return the stored examples; the model under training has no say."""
        rows = self._block[offset : offset + len(images)]
        stored = torch.from_numpy(self._values[rows]).to(self._device)
        return Partners(stored, torch.ones_like(labels, dtype=torch.bool))
