"""Retraining on clean and adversarial images: Eq. 6 of the paper (section 3.1.3), TRADES, and their sums."""

from ladder_core.training.attack_source import AttackSource, StoredSource, pgd_attack
from ladder_core.training.ladder_source import LadderSource, LatentLadderSource, move_once
from ladder_core.training.objectives import Objective, Term
from ladder_core.training.retraining import begin_retraining, retrain
from ladder_core.training.sources import ExampleSource, LatentSource, MovedLatents, Partners
from ladder_core.training.trades import most_divergent

__all__ = [
    "AttackSource",
    "ExampleSource",
    "LadderSource",
    "LatentLadderSource",
    "LatentSource",
    "MovedLatents",
    "Objective",
    "Partners",
    "StoredSource",
    "Term",
    "begin_retraining",
    "most_divergent",
    "move_once",
    "pgd_attack",
    "retrain",
]
