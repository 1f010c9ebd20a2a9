"""AutoAttack as RobustBench reports it: https://arxiv.org/abs/2010.09670."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ladder_core.attacks.autoattack import Planned, autoattack, plan
from ladder_core.counting import paired
from ladder_core.datasets.base import Indices
from ladder_core.evaluation.clean import predict
from ladder_core.evaluation.ledger import Column, Columns, Ledger
from ladder_core.evaluation.subjects import Subjects
from ladder_core.evaluation.white_box import both
from ladder_schema.config import ThreatModel
from ladder_schema.report import AutoAttackComponent, AutoAttackSummary

_OWN_MISTAKE = 0
"""Of the components that broke an image, the model itself, without an attack."""
