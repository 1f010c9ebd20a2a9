"""Attacks: functions over tensors, one file each, their promises re-checked by `base.finish`."""

from ladder_core.attacks.base import AttackResult, Distances, Norm
from ladder_core.attacks.cw import cw
from ladder_core.attacks.deepfool import deepfool
from ladder_core.attacks.di_fgsm import di_fgsm
from ladder_core.attacks.fgsm import fgsm
from ladder_core.attacks.jsma import jsma
from ladder_core.attacks.ladder import LadderAttacker
from ladder_core.attacks.pgd import pgd, pgd_last_iterate

__all__ = [
    "AttackResult",
    "Distances",
    "LadderAttacker",
    "Norm",
    "cw",
    "deepfool",
    "di_fgsm",
    "fgsm",
    "jsma",
    "pgd",
    "pgd_last_iterate",
]
