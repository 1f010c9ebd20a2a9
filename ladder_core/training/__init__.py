"""Retraining on clean and adversarial images: paper section 3.1.3, Eq. 6."""

from ladder_core.training.examples import ExampleSource, LadderSource, Partners, PgdSource, StoredSource
from ladder_core.training.retraining import retrain

__all__ = ["ExampleSource", "LadderSource", "Partners", "PgdSource", "StoredSource", "retrain"]
