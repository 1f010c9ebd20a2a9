"""The JSON report is valid under the schema that users are given, and faults are found by it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from ladder_schema.report import Report
from ladder_schema.report.schema import committed

VALIDATOR = Draft202012Validator(json.loads(committed()))


@pytest.mark.parametrize("name", ["good", "doubtful", "minimal"])
def test_a_report_is_valid_under_its_schema(name: str, request: pytest.FixtureRequest) -> None:
    report: Report = request.getfixturevalue(name)

    VALIDATOR.validate(json.loads(report.model_dump_json()))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda report: report.pop("verdict"),
        lambda report: report.update(report_version=1),
        lambda report: report["measurements"]["clean"].update(both=-1),
        lambda report: report["measurements"]["clean"].pop("p_value"),
        lambda report: report["verdict"].update(recommendation="maybe"),
    ],
)
def test_a_spoilt_report_is_not(spoil: Callable[[dict[str, Any]], object], minimal: Report) -> None:
    value = json.loads(minimal.model_dump_json())
    spoil(value)

    with pytest.raises(ValidationError):
        VALIDATOR.validate(value)
