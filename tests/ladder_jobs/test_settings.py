"""Every setting is documented as it is: name, default and meaning."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from api.settings import ApiSettings
from ladder_jobs.settings import Settings
from worker.settings import WorkerSettings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"
SECTIONS = {"Both": Settings, "API": ApiSettings, "Workers": WorkerSettings}


def own_fields(settings: type[Settings]) -> dict[str, FieldInfo]:
    inherited = {} if settings is Settings else Settings.model_fields
    return {name: field for name, field in settings.model_fields.items() if name not in inherited}


def row(name: str, field: FieldInfo) -> str:
    if field.is_required():
        default = "required"
    elif field.default is None:
        default = "none"
    else:
        default = f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
    return f"| `LADDER_{name.upper()}` | {default} | {field.description} |"


@pytest.mark.parametrize("section", SECTIONS)
def test_the_document_lists_the_settings_of_the_code(section):
    text = DOCUMENT.read_text()
    found = re.search(rf"## {section}\n[^#]*?\n\|---[^\n]*\n((?:\|[^\n]*\n)+)", text)
    assert found is not None
    assert found.group(1).splitlines() == [row(*item) for item in own_fields(SECTIONS[section]).items()]


def test_passwords_are_not_shown(settings):
    secrets = [settings.database_url, settings.broker_url, settings.s3_access_key, settings.s3_secret_key]
    for secret in secrets:
        assert isinstance(secret, SecretStr)
    assert settings.s3_secret_key.get_secret_value() not in repr(settings)


@pytest.mark.parametrize(
    "change",
    [
        {"heartbeat_seconds": 6.0, "lease_seconds": 15.0},
        {"s3_endpoint": "http://h:1"},
        {"s3_endpoint": "h:1/bucket"},
        {"log_level": "banana"},
    ],
)
def test_what_cannot_work_is_refused(settings, change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        Settings(**(settings.model_dump() | change))


@pytest.mark.parametrize(
    "change", [{"s3_endpoint": "[::1]:9000"}, {"s3_endpoint": "s3.example"}, {"log_level": "info"}]
)
def test_what_can_work_is_taken(settings, change):
    Settings(**(settings.model_dump() | change))
