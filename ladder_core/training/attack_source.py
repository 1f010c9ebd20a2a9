"""Input-space attacks as a source of training: made as the model learns, or once and kept in a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ladder_core.attacks.pgd import pgd_last_iterate
from ladder_core.classifier import Classifier
from ladder_core.datasets.base import Indices, Split
from ladder_core.records import Record, Stored
from ladder_core.seeding import torch_stream
from ladder_core.training.sources import Partners
from ladder_schema.config import PgdConfig, ThreatModel

Attack = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]
"""From a model in evaluation mode, images, labels and a CPU stream to adversarial images."""


class AttackSource:
    """An attack on the model as it learns, as adversarial training has it (Madry et al. 2018)."""

    def __init__(self, attack: Attack, seed: int, purpose: str = "examples") -> None:
        """Take the attack; sources that train one model together need a purpose of their own each."""
        self._attack, self._seed, self._purpose = attack, seed, purpose
        self._number = 0

    def begin_block(self, positions: Indices, number: int) -> None:  # noqa: ARG002
        """Nothing to prepare: every batch is attacked as it comes."""
        self._number = number

    def partners(self, model: Classifier, images: Tensor, labels: Tensor, offset: int) -> Partners:
        """Attack the batch with the model in evaluation mode, so batch statistics don't leak into it."""
        was_training = model.training
        model.eval()
        stream = torch_stream(self._seed, self._purpose, self._number, offset)
        attacked = self._attack(model, images, labels, stream)
        model.train(was_training)
        return Partners(attacked, torch.ones_like(labels, dtype=torch.bool))


def pgd_attack(config: PgdConfig, threat_model: ThreatModel) -> Attack:
    """Return PGD on the cross-entropy, its last iterate."""

    def attack(model: nn.Module, images: Tensor, labels: Tensor, stream: torch.Generator) -> Tensor:
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

    return attack


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

    def partners(self, model: Classifier, images: Tensor, labels: Tensor, offset: int) -> Partners:  # noqa: ARG002
        """Return the stored examples; the model under training has no say."""
        rows = self._block[offset : offset + len(images)]
        stored = torch.from_numpy(self._values[rows]).to(self._device)
        return Partners(stored, torch.ones_like(labels, dtype=torch.bool))
