"""What a preset fills in, under what the user wrote."""

from collections.abc import Mapping
from typing import Any, get_args

from ladder_schema.config.job import (
    JOB_CONFIG,
    READABLE_VERSIONS,
    SCHEMA_VERSION,
    JobConfig,
    LadderConfig,
    PgdTrainingConfig,
)

DEFAULT_METHOD = "ladder"

# What a preset changes from the defaults; sections a method doesn't have are left out for it.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "quick": {
        "boundary": {"steps": 20},
        "generator": {"steps": 1_000},
        "retraining": {"examples": "fixed", "epochs": 15},
        "evaluation": {"max_samples": 1_000, "pgd_steps": 20, "curve_points": 6, "curve_samples": 50},
    },
    "standard": {
        "evaluation": {
            "attacks": ("fgsm", "pgd", "di_fgsm", "cw", "deepfool", "jsma"),
            "autoattack": "standard",
            "black_box": ("transfer", "surrogate"),
            "curve_points": 8,
            "corruptions": True,
        },
    },
    "thorough": {
        "boundary": {"steps": 150},
        "generator": {"steps": 15_000},
        "retraining": {"epochs": 15},
        "evaluation": {
            "attacks": ("fgsm", "pgd", "di_fgsm", "cw", "deepfool", "jsma", "square"),
            "pgd_steps": 100,
            "pgd_restarts": 3,
            "autoattack": "standard",
            "autoattack_samples": 1_000,
            "costly_samples": 500,
            "black_box": ("transfer", "surrogate"),
            "surrogate_steps": 10_000,
            "curve_points": 15,
            "curve_samples": 1_000,
            "corruptions": True,
            "corruption_samples": 2_000,
        },
    },
}

# What version 2's presets set of an evaluation, which had no more to set than FGSM and PGD.
_EVALUATION_BEFORE_3 = {"max_samples", "pgd_steps", "pgd_restarts"}


def resolve_config(raw: Mapping[str, Any]) -> LadderConfig | PgdTrainingConfig:
    """Complete a user's configuration.

    Args:
        raw: What the user wrote; empty is fine. One that says it is of an earlier version has that version's
            evaluation: the presets' measurements since then take far longer than it was written for.

    Returns:
        The configuration with the preset's values under the user's and every default filled in.

    Raises:
        pydantic.ValidationError: An unknown key or a value out of range, with its location.
    """
    given = {"method": DEFAULT_METHOD, **raw}
    preset = PRESETS.get(given["preset"], {}) if isinstance(given.get("preset"), str) else PRESETS["standard"]
    for name, values in _of_version(preset, given.get("schema_version")).items():
        section = given.get(name, {})
        if name in _sections(given["method"]) and isinstance(section, Mapping):
            given[name] = {**values, **section}
    return JOB_CONFIG.validate_python(given)


def _of_version(preset: Mapping[str, dict[str, Any]], version: object) -> Mapping[str, dict[str, Any]]:
    """Return what a preset fills in of a configuration that says it is of that version."""
    if version not in READABLE_VERSIONS or version == SCHEMA_VERSION:
        return preset
    evaluation = preset.get("evaluation", {})
    known = {name: value for name, value in evaluation.items() if name in _EVALUATION_BEFORE_3}
    return {**preset, "evaluation": known}


def _sections(method: object) -> set[str]:
    """Names of the sections the method has; none for an unknown method, which validation refuses."""
    for variant in get_args(get_args(JobConfig)[0]):
        if get_args(variant.model_fields["method"].annotation) == (method,):
            return set(variant.model_fields)
    return set()
