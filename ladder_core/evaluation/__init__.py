"""What hardening did: both models measured on the same images (paper section 4, docs/evaluation.md)."""

from ladder_core.evaluation.bound import BoundAttack, bind
from ladder_core.evaluation.evaluate import Evaluation, evaluate
from ladder_core.evaluation.subjects import Subjects
from ladder_core.evaluation.white_box import Verdicts

__all__ = ["BoundAttack", "Evaluation", "Subjects", "Verdicts", "bind", "evaluate"]
