import io

import pytest
from hostile import short_report, with_slots
from pypdf import PdfReader
from reports import doubtful_report, good_report, minimal_report

from ladder_report.faces import Faces, render
from ladder_schema.report import Report


@pytest.fixture(scope="session")
def good() -> Report:
    return Report.model_validate(good_report())


@pytest.fixture(scope="session")
def doubtful() -> Report:
    return Report.model_validate(doubtful_report())


@pytest.fixture(scope="session")
def minimal() -> Report:
    return Report.model_validate(minimal_report())


@pytest.fixture(scope="session")
def slots() -> Report:
    """A report whose every free text is one recognisable word."""
    return with_slots(short_report())


@pytest.fixture(scope="session")
def good_faces(good: Report, tmp_path_factory: pytest.TempPathFactory) -> Faces:
    return render(good, tmp_path_factory.mktemp("scratch"))


@pytest.fixture(scope="session")
def good_pages(good_faces: Faces) -> list[str]:
    """The text of each of the PDF's pages."""
    return [page.extract_text() for page in PdfReader(io.BytesIO(good_faces.pdf)).pages]
