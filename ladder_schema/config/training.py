"""How a model is hardened: the method's parts and the retraining."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ladder_schema.config.section import Section, UnitInterval


class BoundaryConfig(Section):
    """The attention SVM of each class pair (paper 3.1.1)."""

    samples_per_class: int = Field(
        200, ge=8, le=10_000, description="Latents a class each SVM is trained on."
    )
    steps: int = Field(30, ge=1, le=10_000, description="Optimiser steps, all pairs at once.")
    learning_rate: float = Field(0.03, gt=0.0, le=1.0)
    weight_decay: float = Field(1e-3, ge=0.0, description="L2 penalty on the SVM's normal.")
    max_pairs: int = Field(
        512,
        ge=1,
        le=20_000,
        description="Class pairs to build; of more, the most confused, at least one for each class.",
    )


class GeneratorConfig(Section):
    """The generator from latents to images (paper 3.1.3, Eq. 4)."""

    architecture: Literal["auto", "mlp", "conv"] = Field(
        "auto",
        description="`auto` takes the multi-layer perceptron for small images, else the convolutional one.",
    )
    norm: Literal["l1", "l2"] = Field("l2", description="p of Eq. 4's reconstruction error.")
    steps: int = Field(
        1_500, ge=1, le=10_000_000, description="Optimiser steps: the cost does not grow with the dataset."
    )
    batch_size: int = Field(256, ge=2, le=65_536)
    learning_rate: float = Field(5e-3, gt=0.0, le=1.0)


class PerturbationConfig(Section):
    """The step along a pair's boundary normal (paper 3.1.2, Eq. 3).

    A relative step of 1 puts the latent on the classifier's own boundary between its class and the target.
    """

    rho: tuple[float, float] = Field(
        (0.5, 1.5),
        description="Range the relative step of a training example is drawn from; equal ends fix it.",
    )
    targets: Literal["random", "nearest"] = Field(
        "random", description="Target class of an example: any other at random, or the one of least margin."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.rho
        if not 0.0 < low <= high <= 100.0:
            raise ValueError(f"rho is [{low}, {high}]: give 0 < low <= high <= 100")
        return self


class AugmentationConfig(Section):
    """What is done to each clean image of a batch; LADDER's own examples come from images as they are."""

    crop_padding: int = Field(
        0, ge=0, le=64, description="Pixels of zeros around the image, of which a random window is kept."
    )
    flip: bool = Field(False, description="Mirror half of the images; not for digits or text.")


class RetrainingConfig(Section):
    """Retraining on pairs: J~ = alpha * J(x, y) + (1 - alpha) * J(x', y) (paper Eq. 6)."""

    alpha: UnitInterval = Field(0.5, description="Weight of the clean loss.")
    examples: Literal["fixed", "fresh"] = Field(
        "fresh",
        description="`fixed`: one set made once, as in the paper; `fresh`: new steps and targets each epoch.",
    )
    fixed_examples: int = Field(4_500, ge=1, description="Size of the set where `examples` is `fixed`.")
    epochs: int = Field(3, ge=1, le=10_000)
    batch_size: int = Field(64, ge=2, le=65_536)
    learning_rate: float = Field(0.01, gt=0.0, le=10.0)
    momentum: float = Field(0.9, ge=0.0, lt=1.0)
    weight_decay: float = Field(5e-4, ge=0.0, le=1.0)
    schedule: Literal["constant", "cosine"] = Field("cosine", description="How the learning rate falls.")
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0)
    max_gradient_norm: float | None = Field(
        None, gt=0.0, description="L2 length that a step's gradient is shortened to; null for no limit."
    )
    average_decay: float | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="Of the moving average of the weights that is returned in place of the last ones; "
        "null for the last ones.",
    )
    batch_norm: Literal["train", "frozen"] = Field(
        "train", description="`frozen` keeps the original's batch statistics, and leaves dropout out."
    )
    augmentation: AugmentationConfig = AugmentationConfig()


class PgdConfig(Section):
    """Projected gradient descent as used *inside* adversarial training; epsilon is the threat model's."""

    steps: int = Field(7, ge=1, le=1_000)
    relative_step: float = Field(0.35, gt=0.0, le=2.0, description="Step size as a share of epsilon.")
