"""The report's JSON Schema, so that anybody can check a report without our code.

A file of the package has it, written by ``python -m ladder_schema.report``; a test compares the two.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from ladder_schema.report.value import REPORT_VERSION, Report

SCHEMA_ID = f"urn:ladder-hardening:report:{REPORT_VERSION}"
SCHEMA_FILE = f"report-v{REPORT_VERSION}.schema.json"


def report_schema() -> dict[str, Any]:
    """The schema of what a report is written as, with the numbers that follow from others."""
    schema = Report.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **schema}


def written() -> str:
    """The schema as its file has it."""
    return json.dumps(report_schema(), indent=2) + "\n"


def committed() -> str:
    """The file's content."""
    return (files("ladder_schema.report") / SCHEMA_FILE).read_text(encoding="utf-8")


def write(folder: Path) -> Path:
    """Write the file anew, and say where it is."""
    path = folder / SCHEMA_FILE
    path.write_text(written(), encoding="utf-8")
    return path
