"""Attacks: functions over tensors, one file each, their promises re-checked by `verified`."""

from ladder_core.attacks.base import AdversarialExamples, verified
from ladder_core.attacks.fgsm import fgsm
from ladder_core.attacks.ladder import LadderAttacker
from ladder_core.attacks.pgd import pgd, pgd_last_iterate

__all__ = ["AdversarialExamples", "LadderAttacker", "fgsm", "pgd", "pgd_last_iterate", "verified"]
