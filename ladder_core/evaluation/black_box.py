"""The paper's black-box protocol (section 4): one set of examples, replayed on every model.

The original's examples (``transfer``) are made where it is attacked itself. Those of a ``surrogate``, trained
independently of it, are made here.
"""

import torch
from torch import nn

from ladder_core.counting import paired
from ladder_core.datasets.base import Indices
from ladder_core.evaluation.bound import BoundAttack
from ladder_core.evaluation.clean import predict
from ladder_core.evaluation.ledger import Column, Columns, Ledger
from ladder_core.evaluation.ranks import average_ranks
from ladder_core.evaluation.subjects import Subjects
from ladder_core.evaluation.white_box import Verdicts, both
from ladder_schema.report import AttackResult, AverageRank, Paired, Setting
