"""The picture in the documentation is the state machine of the code."""

from pathlib import Path

from ladder_jobs.diagram import mermaid, page
from ladder_jobs.states import TRANSITIONS

PAGE = Path(__file__).parents[2] / "docs" / "jobs.md"


def test_the_committed_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m ladder_jobs.diagram > docs/jobs.md"


def test_every_transition_is_an_arrow():
    arrows = {line.strip() for line in mermaid().splitlines()}
    assert {f"{source.value} --> {target.value}: {cause}" for source, target, cause in TRANSITIONS} <= arrows
