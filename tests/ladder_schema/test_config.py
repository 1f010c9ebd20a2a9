"""The evaluation's configuration: versions, presets, and what makes no sense."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from ladder_schema.config import JOB_CONFIG, PRESETS, EvaluationConfig, resolve_config

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"


@pytest.mark.parametrize("version", [1, 2])
def test_what_an_earlier_version_wrote_is_evaluated_as_it_was(version: int) -> None:
    old = {"max_samples": 100, "pgd_steps": 40, "pgd_restarts": 1, "rho": 1.2, "batch_size": 512}
    found = JOB_CONFIG.validate_python({"schema_version": version, "method": "ladder", "evaluation": old})
    assert found.schema_version == 3
    evaluation = found.evaluation
    assert (evaluation.attacks, evaluation.black_box) == (("fgsm", "pgd"), ("transfer",))
    assert (evaluation.autoattack, evaluation.curve_points, evaluation.corruptions) == ("off", 0, False)
    assert evaluation.batch_size == 512


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("preset", "measured"),
    [
        ({}, {}),
        ({"preset": "quick"}, {"max_samples": 1_000, "pgd_steps": 20}),
        ({"preset": "thorough"}, {"pgd_steps": 100, "pgd_restarts": 3}),
    ],
)
def test_a_preset_asks_an_earlier_version_for_what_it_did_then(
    preset: dict[str, str], measured: dict[str, int], version: int
) -> None:
    found = resolve_config({"schema_version": version, **preset})
    assert found.evaluation == EvaluationConfig(**measured)
    assert found.schema_version == 3
    now = resolve_config({"schema_version": 3, **preset})
    assert now == resolve_config(preset)
    assert found.model_copy(update={"evaluation": now.evaluation}) == now, "only the evaluation differs"


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("method", ["ladder", "pgd"])
def test_a_resolved_configuration_is_complete(preset: str, method: str) -> None:
    resolved = resolve_config({"preset": preset, "method": method})
    assert JOB_CONFIG.validate_python(resolved.model_dump(mode="json")) == resolved


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"threat_model": {"norm": "l2"}}, "give epsilon with norm l2"),
        ({"threat_model": {"epsilon": 2}}, "at most 1 in linf"),
        ({"evaluation": {"attacks": ["cw", "square"]}}, "one at least of fgsm, pgd, di_fgsm"),
        ({"evaluation": {"attacks": ["pgd", "pgd"]}}, "give each value once"),
        ({"evaluation": {"attacks": []}}, "at least 1 item"),
        ({"evaluation": {"trade_off_examples": [5, 5]}}, "give each value once"),
        ({"evaluation": {"curve_points": 1}}, "at least 2"),
        ({"method": "pgd", "evaluation": {"trade_off_rho": [1.0]}}, "leave it out with method pgd"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_remedy(config: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        resolve_config(config)


def test_every_setting_of_the_evaluation_is_documented() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in EvaluationConfig.model_fields if f"`{name}`" not in page] == []
