"""What a retraining minimises: Eq. 6, TRADES, and their sums, as weighted terms over one forward pass.

One pass over the clean images and all examples lets batch norm see them together, as Eq. 6's pairs ask, and
costs less than one for each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ladder_core.classifier import Classifier
from ladder_core.datasets.base import Indices
from ladder_core.training.sources import ExampleSource, LatentSource
from ladder_schema.report import TermName

Kind = Literal["cross_entropy", "kl"]


@dataclass(frozen=True)
class Term:
    """One weighted loss.

    Attributes:
        name: For the report.
        weight: Its factor.
        source: Makes its images, or moves the batch's latents; None for the clean images themselves.
        loss: ``cross_entropy`` with the labels, or ``kl``: the divergence of the predictions on its images
            from those on the clean ones, KL(p(x) || p(x')), as TRADES has it (Zhang et al. 2019, Eq. 5).
    """

    name: TermName
    weight: float
    source: ExampleSource | LatentSource | None = None
    loss: Kind = "cross_entropy"


class Objective:
    """A sum of terms.

    What a term's source draws depends on the block and the place in it alone, so a training that goes on in
    the middle of a block meets the same examples.
    """

    def __init__(self, terms: Sequence[Term], *, label_smoothing: float = 0.0) -> None:
        """Take the terms; one of them at most for each source.

        Args:
            terms: In the order of the report.
            label_smoothing: Share of the cross-entropy's target spread over all classes.
        """
        self.terms = tuple(terms)
        self._smoothing = label_smoothing

    def begin_block(self, positions: Indices, number: int) -> None:
        """Prepare for batches that go through these positions of the split in order.

        Args:
            positions: In the split, of the whole block.
            number: Unlike any other block's of the training.
        """
        for term in self.terms:
            if term.source is not None:
                term.source.begin_block(positions, number)

    def __call__(
        self, model: Classifier, images: Tensor, labels: Tensor, offset: int
    ) -> tuple[Tensor, Tensor]:
        """Return the loss and its unweighted terms (T,) of a batch that starts ``offset`` into its block."""
        made = {
            number: term.source.partners(model, images, labels, offset)
            for number, term in enumerate(self.terms)
            if isinstance(term.source, ExampleSource)
        }
        latents = model.features(torch.cat([images, *(partners.images for partners in made.values())]))
        moved = {
            number: term.source.moved(model, latents[: len(images)], labels, offset)
            for number, term in enumerate(self.terms)
            if isinstance(term.source, LatentSource)
        }
        logits = model.head(torch.cat([latents, *(partners.latents for partners in moved.values())]))
        clean, *others = torch.split(logits, len(images))
        own = dict(zip([*made, *moved], others, strict=True))
        valid = {number: partners.valid for number, partners in (made | moved).items()}
        losses = torch.stack(
            [
                _mean(self._loss(term, clean, own.get(number, clean), labels), valid.get(number))
                for number, term in enumerate(self.terms)
            ]
        )
        return losses @ losses.new_tensor([term.weight for term in self.terms]), losses

    def _loss(self, term: Term, clean: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        if term.loss == "kl":
            return divergence(clean, logits)
        return functional.cross_entropy(logits, labels, reduction="none", label_smoothing=self._smoothing)


def divergence(clean: Tensor, logits: Tensor) -> Tensor:
    """Return KL(p || q) of each sample (B,), p and q the softmax of two sets of logits (B, K)."""
    return functional.kl_div(
        logits.log_softmax(dim=1), clean.log_softmax(dim=1), reduction="none", log_target=True
    ).sum(dim=1)


def _mean(losses: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return losses.mean()
    return (losses * valid).sum() / valid.sum().clamp_min(1)
