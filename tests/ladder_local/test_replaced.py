"""Servers that the environment names are used, not started."""

from pathlib import Path

import pytest

from ladder_jobs.settings import Settings
from ladder_local.servers import LocalServers
from ladder_local.stack import as_environment

SERVERS = ("LADDER_DATABASE_URL", "LADDER_BROKER_URL", "LADDER_S3_")


def test_with_every_server_named_none_is_started(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in as_environment(settings).items():
        if name.startswith(SERVERS):
            monkeypatch.setenv(name, value)
    with LocalServers(tmp_path / "data") as other:
        assert other.supervisor.running(["postgres", "valkey", "seaweedfs"]) == []
        assert other.settings == settings.model_copy(update={"work_dir": tmp_path / "data" / "work"})
        assert {path.name for path in other.directory.path.iterdir()} == {"lock", "logs"}
        assert [*other.directory.logs.iterdir()] == []


def test_one_server_can_be_named_alone(
    settings: Settings, tmp_path_for_servers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in as_environment(settings).items():
        if name.startswith(("LADDER_DATABASE_URL", "LADDER_S3_")):
            monkeypatch.setenv(name, value)
    with LocalServers(tmp_path_for_servers) as other:
        assert other.supervisor.running(["postgres", "valkey", "seaweedfs"]) == ["valkey"]
        assert other.settings.database_url == settings.database_url
        assert other.settings.s3_endpoint == settings.s3_endpoint
        assert other.settings.broker_url != settings.broker_url
