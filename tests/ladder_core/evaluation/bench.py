"""Two models on the same few images, measured without a job around them."""

import numpy as np
import torch
from torch import Tensor, nn

from ladder_core.checkpoints import Keeper
from ladder_core.datasets import Split
from ladder_core.evaluation.clean import measure_clean
from ladder_core.evaluation.ledger import Ledger
from ladder_core.evaluation.subjects import Subjects
from ladder_core.progress import Progress
from ladder_schema.config import EvaluationConfig, ThreatModel
from ladder_schema.jobs import Stage

CPU = torch.device("cpu")


class Anything(dict[str, float]):
    """Costs of whatever is measured."""

    def __missing__(self, name: str) -> float:
        return 1.0


def split_of(images: Tensor, labels: Tensor) -> Split:
    return Split(images.numpy(), labels.numpy(), np.arange(len(labels)), 1.0)


def subjects(
    original: nn.Module,
    hardened: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float = 0.05,
    norm: str = "linf",
    batch_size: int = 33,
    classes: int = 2,
    **config: object,
) -> Subjects:
    return Subjects(
        original,
        hardened,
        split_of(images, labels),
        split_of(images, labels),
        True,
        classes,
        ThreatModel(norm=norm, epsilon=epsilon),
        EvaluationConfig(**config),
        0,
        CPU,
        batch_size,
    )


def ledger() -> Ledger:
    progress = Progress({Stage.EVALUATE: 1.0}, lambda *_: True)
    progress.enter(Stage.EVALUATE)
    return Ledger.open(Keeper(None, "", progress), progress, Anything(begun=1.0))


def clean_of(of: Subjects) -> Tensor:
    return measure_clean(of, ledger())
