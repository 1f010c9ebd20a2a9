"""Writes the report's JSON Schema beside this file: ``python -m ladder_schema.report``."""

import sys
from pathlib import Path

from ladder_schema.report.schema import write

sys.stdout.write(f"{write(Path(__file__).parent)}\n")
