"""A job's configuration: what a user may set, its bounds, and the presets that fill in the rest.

``resolve_config`` turns what a user wrote into a complete configuration: preset values under the user's own,
every default spelled out. The resolved value is what a job stores and what a worker runs.
"""

from ladder_schema.config.evaluation import (
    GRADIENT_ATTACKS,
    AttackChoice,
    BlackBoxSource,
    EvaluationConfig,
)
from ladder_schema.config.job import (
    JOB_CONFIG,
    READABLE_VERSIONS,
    SCHEMA_VERSION,
    JobConfig,
    LadderConfig,
    PgdTrainingConfig,
)
from ladder_schema.config.presets import DEFAULT_METHOD, PRESETS, resolve_config
from ladder_schema.config.training import (
    BoundaryConfig,
    GeneratorConfig,
    PerturbationConfig,
    PgdConfig,
    RetrainingConfig,
)
from ladder_schema.config.uploads import InputConfig, Preprocessing, ThreatModel

__all__ = [
    "DEFAULT_METHOD",
    "GRADIENT_ATTACKS",
    "JOB_CONFIG",
    "PRESETS",
    "READABLE_VERSIONS",
    "SCHEMA_VERSION",
    "AttackChoice",
    "BlackBoxSource",
    "BoundaryConfig",
    "EvaluationConfig",
    "GeneratorConfig",
    "InputConfig",
    "JobConfig",
    "LadderConfig",
    "PerturbationConfig",
    "PgdConfig",
    "PgdTrainingConfig",
    "Preprocessing",
    "RetrainingConfig",
    "ThreatModel",
    "resolve_config",
]
