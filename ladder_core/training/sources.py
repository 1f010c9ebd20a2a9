"""Where the examples of a retraining come from: what every source offers."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from ladder_core.classifier import Classifier
from ladder_core.datasets.base import Indices


@dataclass(frozen=True)
class Partners:
    """The adversarial partner of each image of a batch.

    Attributes:
        images: (B, C, H, W) in [0, 1].
        valid: (B,) bool; a partner that is not valid has no part in the loss.
    """

    images: Tensor
    valid: Tensor


@runtime_checkable
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

    def partners(self, model: Classifier, images: Tensor, labels: Tensor, offset: int) -> Partners:
        """Return the partners of a batch that starts ``offset`` samples into the block."""


@dataclass(frozen=True)
class MovedLatents:
    """The moved latent of each image of a batch.

    Attributes:
        latents: (B, D); gradients flow through them to the features.
        valid: (B,) bool; one that is not valid has no part in the loss.
    """

    latents: Tensor
    valid: Tensor


@runtime_checkable
class LatentSource(Protocol):
    """Moves each batch's latents, without a detour through images."""

    def begin_block(self, positions: Indices, number: int) -> None:
        """As of `ExampleSource`."""

    def moved(self, model: Classifier, latents: Tensor, labels: Tensor, offset: int) -> MovedLatents:
        """Return moved latents of a batch whose latents (B, D) the model under training just computed."""
