import pytest
from reports import doubtful_report, good_report, minimal_report

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
