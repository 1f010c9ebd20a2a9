"""Retraining on clean and adversarial images: paper section 3.1.3, Eq. 6."""

from ladder_core.training.examples import (
    ExampleSource,
    LadderSource,
    Partners,
    PgdSource,
    StoredSource,
    attack_with_pgd,
    move_once,
)
from ladder_core.training.retraining import begin_retraining, retrain

__all__ = [
    "ExampleSource",
    "LadderSource",
    "Partners",
    "PgdSource",
    "StoredSource",
    "attack_with_pgd",
    "begin_retraining",
    "move_once",
    "retrain",
]
