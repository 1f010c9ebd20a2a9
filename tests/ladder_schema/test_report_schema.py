"""The report's JSON Schema: what is committed is current, and says what a report may be."""

import json
from pathlib import Path

from jsonschema import Draft202012Validator

from ladder_schema.report import REPORT_VERSION
from ladder_schema.report.schema import SCHEMA_ID, committed, write, written


def test_the_committed_schema_is_current() -> None:
    assert committed() == written(), "run: python -m ladder_schema.report"


def test_is_a_schema_that_names_its_version() -> None:
    schema = json.loads(committed())

    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == SCHEMA_ID
    assert schema["properties"]["report_version"]["const"] == REPORT_VERSION


def test_says_what_each_count_and_interval_means() -> None:
    definitions = json.loads(committed())["$defs"]

    for name in ("Accuracy", "Paired"):
        properties = definitions[name]["properties"]
        assert all(
            part.get("description") for key, part in properties.items() if key not in {"correct", "total"}
        )


def test_is_written_where_one_says(tmp_path: Path) -> None:
    assert write(tmp_path).read_text(encoding="utf-8") == committed()
