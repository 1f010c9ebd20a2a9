"""A job's configuration as a whole, one class a method."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from ladder_schema.config.evaluation import EvaluationConfig
from ladder_schema.config.section import Section, Seed, UnitInterval
from ladder_schema.config.training import (
    BoundaryConfig,
    GeneratorConfig,
    PerturbationConfig,
    PgdConfig,
    RetrainingConfig,
)
from ladder_schema.config.uploads import InputConfig, Preprocessing, ThreatModel

SCHEMA_VERSION: Literal[3] = 3
READABLE_VERSIONS = (1, 2, 3)
"""Versions this one reads; what an earlier one wrote becomes this one's when it is read.

2  adds ``max_runtime``
3  adds ``threat_model.norm: l2`` and most of ``evaluation``
"""


class _Job(Section):
    """What every method shares."""

    schema_version: Literal[3] = Field(SCHEMA_VERSION, description="Version of this schema.")
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

    @model_validator(mode="after")
    def _has_no_rho(self) -> Self:
        if self.evaluation.trade_off_rho:
            raise ValueError("evaluation.trade_off_rho varies LADDER's step: leave it out with method pgd")
        return self


JobConfig = Annotated[LadderConfig | PgdTrainingConfig, Field(discriminator="method")]
JOB_CONFIG: TypeAdapter[LadderConfig | PgdTrainingConfig] = TypeAdapter(JobConfig)
