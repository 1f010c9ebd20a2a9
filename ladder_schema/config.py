"""A job's configuration: what a user may set, its bounds, and the presets that fill in the rest.

``resolve_config`` turns what a user wrote into a complete configuration: preset values under the user's own,
every default spelled out. The resolved value is what a job stores and what a worker runs.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

SCHEMA_VERSION: Literal[2] = 2
READABLE_VERSIONS = (1, 2)
"""Versions this one reads; what an earlier one wrote becomes this one's when it is read.

2  adds ``max_runtime``
"""

UnitInterval = Annotated[float, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class _Section(BaseModel):
    """A part of the configuration: immutable, and an unknown key is an error rather than a silent typo."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ThreatModel(_Section):
    """What the adversary may do to an image, shared by training and evaluation."""

    norm: Literal["linf"] = Field("linf", description="Norm that bounds the perturbation.")
    epsilon: float = Field(
        8 / 255,
        gt=0.0,
        le=1.0,
        description="Radius in pixels of [0, 1]; 8/255 is usual for photos, 0.3 for MNIST.",
    )


class Preprocessing(_Section):
    """What the model expects of its input; folded in front of it, so attacks work on pixels in [0, 1].

    Applied in this order: resize, value range, channel order, then ``(x - mean) / std``.
    """

    resize: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = Field(
        None, description="Height and width the model takes, when the dataset's differ."
    )
    value_range: tuple[float, float] = Field(
        (0.0, 1.0), description="What pixel 0.0 and pixel 1.0 become, e.g. [0, 255] or [-1, 1]."
    )
    channel_order: Literal["rgb", "bgr"] = Field("rgb", description="Order of the three channels.")
    mean: tuple[float, ...] | None = Field(
        None, description="Per channel (or one for all), after `value_range`."
    )
    std: tuple[Annotated[float, Field(gt=0.0)], ...] | None = Field(
        None, description="Per channel, or one for all."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.value_range
        if not low < high:
            raise ValueError(f"value_range is [{low}, {high}]: its first value must be below its second")
        if self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            raise ValueError(
                f"mean has {len(self.mean)} values and std {len(self.std)}: give one per channel in each"
            )
        return self


class InputConfig(_Section):
    """How images that come as files are read; images that come as arrays are used as they are."""

    size: tuple[Annotated[int, Field(ge=1, le=4_096)], Annotated[int, Field(ge=1, le=4_096)]] | None = Field(
        None,
        description="Height and width images are resized to; by default what the model takes, where known.",
    )
    channels: Literal[1, 3] | None = Field(
        None,
        description="Grey (1) or RGB (3); by default what the model takes, where known, else as they are.",
    )
    label_column: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="Parquet's column of labels, where there are several that may be."
    )


class BoundaryConfig(_Section):
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


class GeneratorConfig(_Section):
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


class PerturbationConfig(_Section):
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


class AugmentationConfig(_Section):
    """What is done to each clean image of a batch; LADDER's own examples come from images as they are."""

    crop_padding: int = Field(
        0, ge=0, le=64, description="Pixels of zeros around the image, of which a random window is kept."
    )
    flip: bool = Field(False, description="Mirror half of the images; not for digits or text.")


class RetrainingConfig(_Section):
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


class PgdConfig(_Section):
    """Projected gradient descent as used *inside* adversarial training; epsilon is the threat model's."""

    steps: int = Field(7, ge=1, le=1_000)
    relative_step: float = Field(0.35, gt=0.0, le=2.0, description="Step size as a share of epsilon.")


class EvaluationConfig(_Section):
    """How robustness is measured, before and after."""

    max_samples: int | None = Field(
        None,
        ge=1,
        description="Test images attacks and generator are measured on, a stratified choice; null takes all.",
    )
    pgd_steps: int = Field(40, ge=1, le=10_000)
    pgd_restarts: int = Field(1, ge=1, le=100)
    rho: float = Field(1.2, gt=0.0, le=100.0, description="Relative step of LADDER's own attack.")
    batch_size: int = Field(512, ge=1, le=65_536)


class _Job(_Section):
    """What every method shares."""

    schema_version: Literal[2] = Field(SCHEMA_VERSION, description="Version of this schema.")
    preset: Literal["quick", "standard", "thorough"] = Field(
        "standard", description="Fills in whatever the configuration leaves out."
    )
    seed: Seed = Field(
        0, description="Seeds every random choice; the same seed gives the same result on CPU."
    )
    max_runtime: float | None = Field(
        None,
        ge=1.0,
        description="Seconds the job may run, all its attempts together, before it fails; "
        "null allows what the service does.",
    )
    threat_model: ThreatModel = ThreatModel()
    preprocessing: Preprocessing = Preprocessing()
    input: InputConfig = InputConfig()
    max_bad_images: UnitInterval = Field(
        0.01, description="Share of image files that may be unreadable and are left out; more fail the job."
    )
    retraining: RetrainingConfig = RetrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    example_count: int = Field(
        64, ge=1, le=10_000, description="Adversarial examples in the examples archive."
    )

    @model_validator(mode="before")
    @classmethod
    def _upgraded(cls, given: Any) -> Any:  # noqa: ANN401 - whatever somebody wrote
        """Read what an earlier version wrote: what it lacks has a default that means the old way."""
        if isinstance(given, Mapping) and type(version := given.get("schema_version")) is int:
            return {**given, "schema_version": SCHEMA_VERSION if version in READABLE_VERSIONS else version}
        return given


class LadderConfig(_Job):
    """Latent boundary-guided adversarial training: LADDER (paper section 3)."""

    method: Literal["ladder"] = "ladder"
    boundary: BoundaryConfig = BoundaryConfig()
    generator: GeneratorConfig = GeneratorConfig()
    perturbation: PerturbationConfig = PerturbationConfig()


class PgdTrainingConfig(_Job):
    """Input-space adversarial training on PGD examples (Madry et al. 2018), the usual rival."""

    method: Literal["pgd"]
    pgd: PgdConfig = PgdConfig()


JobConfig = Annotated[LadderConfig | PgdTrainingConfig, Field(discriminator="method")]
JOB_CONFIG: TypeAdapter[LadderConfig | PgdTrainingConfig] = TypeAdapter(JobConfig)

DEFAULT_METHOD = "ladder"

# What a preset changes from the defaults above; sections a method doesn't have are left out for it.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "quick": {
        "boundary": {"steps": 20},
        "generator": {"steps": 1_000},
        "retraining": {"examples": "fixed", "epochs": 15},
        "evaluation": {"max_samples": 1_000, "pgd_steps": 20},
    },
    "standard": {},
    "thorough": {
        "boundary": {"steps": 150},
        "generator": {"steps": 15_000},
        "retraining": {"epochs": 15},
        "evaluation": {"pgd_steps": 100, "pgd_restarts": 3},
    },
}


def resolve_config(raw: Mapping[str, Any]) -> LadderConfig | PgdTrainingConfig:
    """Complete a user's configuration.

    Args:
        raw: What the user wrote; empty is fine.

    Returns:
        The configuration with the preset's values under the user's and every default filled in.

    Raises:
        pydantic.ValidationError: An unknown key or a value out of range, with its location.
    """
    given = {"method": DEFAULT_METHOD, **raw}
    preset = PRESETS.get(given["preset"], {}) if isinstance(given.get("preset"), str) else PRESETS["standard"]
    for name, values in preset.items():
        section = given.get(name, {})
        if name in _sections(given["method"]) and isinstance(section, Mapping):
            given[name] = {**values, **section}
    return JOB_CONFIG.validate_python(given)


def _sections(method: object) -> set[str]:
    """Names of the sections the method has; none for an unknown method, which validation refuses."""
    for variant in get_args(get_args(JobConfig)[0]):
        if get_args(variant.model_fields["method"].annotation) == (method,):
            return set(variant.model_fields)
    return set()
