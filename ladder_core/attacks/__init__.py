"""Attacks: functions over tensors, one file each, their promises re-checked by `base.finish`."""

from ladder_core.attacks.apgd import apgd, apgd_targeted
from ladder_core.attacks.autoattack import AutoAttackResult, autoattack
from ladder_core.attacks.base import AttackResult, Distances, Norm
from ladder_core.attacks.cw import cw
from ladder_core.attacks.deepfool import deepfool
from ladder_core.attacks.di_fgsm import di_fgsm
from ladder_core.attacks.fab import fab, fab_targeted
from ladder_core.attacks.fgsm import fgsm
from ladder_core.attacks.jsma import jsma
from ladder_core.attacks.ladder import LadderAttacker
from ladder_core.attacks.pgd import pgd, pgd_last_iterate
from ladder_core.attacks.square import square

__all__ = [
    "AttackResult",
    "AutoAttackResult",
    "Distances",
    "LadderAttacker",
    "Norm",
    "apgd",
    "apgd_targeted",
    "autoattack",
    "cw",
    "deepfool",
    "di_fgsm",
    "fab",
    "fab_targeted",
    "fgsm",
    "jsma",
    "pgd",
    "pgd_last_iterate",
    "square",
]
