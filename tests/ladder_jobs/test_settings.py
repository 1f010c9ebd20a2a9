"""Every setting is documented as it is: name, default and meaning."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr
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
