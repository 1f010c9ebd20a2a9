"""The ways to harden a model, one file each: a validated run in, an outcome out."""

from ladder_core.methods.ladder import harden_with_ladder
from ladder_core.methods.pgd import harden_with_pgd

__all__ = ["harden_with_ladder", "harden_with_pgd"]
