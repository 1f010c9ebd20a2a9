"""The command line where it meets its user: mistakes end with a sentence and a remedy, never a traceback."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ladder_client.cli import app

runner = CliRunner()
NOWHERE = ["--url", "http://127.0.0.1:9", "--api-key", "key"]


@pytest.mark.parametrize("config", ["{not json", "missing.json", "[1, 2]"])
def test_a_bad_configuration_is_refused_before_anything_is_sent(config: str, tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps([1, 2]))
    given = str(path) if config.startswith("[") else config
    result = runner.invoke(app, ["submit", str(path), str(path), "--config", given, *NOWHERE])
    assert result.exit_code == 1
    assert "--config" in result.stderr


def test_serving_without_the_servers_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ladder_local.cli", None)
    result = runner.invoke(app, ["serve"])
    assert result.exit_code == 1
    assert "pip install 'ladder-hardening[local]'" in result.stderr


def test_a_key_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LADDER_API_KEY", raising=False)
    result = runner.invoke(app, ["jobs"])
    assert result.exit_code == 2
    assert "LADDER_API_KEY" in result.stderr
