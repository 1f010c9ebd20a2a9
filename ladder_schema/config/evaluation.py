"""How robustness is measured; docs/evaluation.md gives the reason of every default."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from ladder_schema.config.section import Section

GradientAttack = Literal["fgsm", "pgd", "di_fgsm"]
AttackChoice = Literal["fgsm", "pgd", "di_fgsm", "cw", "deepfool", "jsma", "square"]
BlackBoxSource = Literal["transfer", "surrogate"]
GRADIENT_ATTACKS: tuple[str, ...] = get_args(GradientAttack)
"""Attacks that follow the gradient within the threat model; the others are costlier, or bounded otherwise."""


class EvaluationConfig(Section):
    """How robustness is measured, before and after.

    What is not given is the evaluation of a configuration of version 2; a preset asks for more.
    """

    max_samples: int | None = Field(
        None,
        ge=1,
        description="Test images attacks and generator are measured on, a stratified choice; null takes all.",
    )
    attacks: Annotated[tuple[AttackChoice, ...], Field(min_length=1, max_length=7)] = Field(
        ("fgsm", "pgd"), description="Attacks on both models; at least one of fgsm, pgd and di_fgsm."
    )
    pgd_steps: int = Field(40, ge=1, le=10_000, description="Steps of PGD, DI-FGSM and the curve.")
    pgd_restarts: int = Field(1, ge=1, le=100)
    autoattack: Literal["off", "standard", "plus", "rand"] = Field(
        "off", description="AutoAttack's version; `rand` is for models that are random themselves."
    )
    autoattack_samples: int = Field(
        200, ge=1, le=1_000_000, description="Of the images, how many it attacks."
    )
    costly_samples: int = Field(
        100, ge=1, le=2_000, description="Of the images, how many CW, DeepFool, JSMA and Square attack."
    )
    black_box: Annotated[tuple[BlackBoxSource, ...], Field(max_length=2)] = Field(
        ("transfer",),
        description="Whose examples are replayed on both models: the original's (`transfer`), or those of "
        "an independently trained model (`surrogate`).",
    )
    surrogate_steps: int = Field(2_000, ge=1, le=10_000_000, description="Training steps of the surrogate.")
    surrogate_learning_rate: float = Field(0.05, gt=0.0, le=10.0)
    curve_points: int = Field(
        0, ge=0, le=30, description="Radii of the curve of accuracy against epsilon; 0 for no curve."
    )
    curve_samples: int = Field(
        200, ge=1, le=1_000_000, description="Of the images, how many it is drawn from."
    )
    corruptions: bool = Field(
        False, description="Whether to measure accuracy under common corruptions: noise, blur, JPEG, ..."
    )
    corruption_samples: int = Field(
        500, ge=1, le=1_000_000, description="Of the images, how many are corrupted."
    )
    trade_off_examples: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=10)] = Field(
        (), description="Numbers of examples to harden with, one after the other (paper Fig. 8)."
    )
    trade_off_rho: Annotated[tuple[Annotated[float, Field(gt=0.0, le=100.0)], ...], Field(max_length=10)] = (
        Field((), description="Relative steps to harden with, one after the other (paper Fig. 9).")
    )
    rho: float = Field(1.2, gt=0.0, le=100.0, description="Relative step of LADDER's own attack.")
    batch_size: int | None = Field(
        None, ge=1, le=65_536, description="Images at a time; null finds it from the memory that is free."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("attacks", "black_box", "trade_off_examples", "trade_off_rho"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} is {list(values)}: give each value once")
        if not set(self.attacks) & set(GRADIENT_ATTACKS):
            raise ValueError(
                f"attacks is {list(self.attacks)}: give one at least of {', '.join(GRADIENT_ATTACKS)}, which "
                "attack within the threat model"
            )
        if self.curve_points == 1:
            raise ValueError("curve_points is 1: a curve has at least 2, give 0 for none")
        return self
