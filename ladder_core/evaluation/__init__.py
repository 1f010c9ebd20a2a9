"""What hardening did: both models measured on the same images (paper section 4)."""

from ladder_core.evaluation.white_box import (
    GradientAttack,
    clean_accuracy,
    evaluate_gradient_attack,
    evaluate_ladder_attack,
    gradient_attacks,
)

__all__ = [
    "GradientAttack",
    "clean_accuracy",
    "evaluate_gradient_attack",
    "evaluate_ladder_attack",
    "gradient_attacks",
]
