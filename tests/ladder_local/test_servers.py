"""The three servers are the real ones: ready when they say so, closed to strangers, and found again."""

import io
import os
from pathlib import Path
from urllib.parse import urlsplit

import minio
import psycopg
import pytest
import redis
import urllib3
from redis.backoff import NoBackoff
from redis.retry import Retry

from ladder_jobs.settings import Settings
from ladder_local.accounts import Account
from ladder_local.errors import DataDirectoryUnreachableError
from ladder_local.servers import LocalServers
from tests.ladder_local.conftest import eventually


def object_store(settings: Settings, secret_key: str | None = None) -> minio.Minio:
    return minio.Minio(
        settings.s3_endpoint,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=secret_key or settings.s3_secret_key.get_secret_value(),
        secure=False,
        http_client=urllib3.PoolManager(retries=False),
    )


def postgres_url(settings: Settings) -> str:
    return settings.database_url.get_secret_value().replace("+psycopg", "")


def write_everywhere(settings: Settings) -> None:
    with psycopg.connect(postgres_url(settings)) as connection:
        connection.execute("CREATE TABLE note AS SELECT 'kept' AS text")
    object_store(settings).put_object(settings.s3_bucket, "note", io.BytesIO(b"kept"), 4)


def read_everywhere(settings: Settings) -> tuple[str, str]:
    with psycopg.connect(postgres_url(settings)) as connection:
        row = connection.execute("SELECT text FROM note").fetchone()
        assert row is not None
    with object_store(settings).get_object(settings.s3_bucket, "note") as answer:
        return row[0], answer.read().decode()


def test_every_server_is_ready(settings: Settings) -> None:
    write_everywhere(settings)
    assert read_everywhere(settings) == ("kept", "kept")
    with redis.Redis.from_url(settings.broker_url.get_secret_value()) as client:
        assert client.ping()


def test_postgres_wants_a_password(settings: Settings) -> None:
    url = urlsplit(postgres_url(settings))
    for password in ("", ":wrong"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"postgresql://{url.username}{password}@{url.hostname}:{url.port}/ladder")


def test_the_broker_wants_a_password(settings: Settings) -> None:
    url = urlsplit(settings.broker_url.get_secret_value())
    for password in (None, "wrong"):
        client = redis.Redis(
            host=str(url.hostname), port=url.port or 0, password=password, retry=Retry(NoBackoff(), 0)
        )
        with client, pytest.raises(redis.AuthenticationError):
            client.ping()


def test_the_object_store_wants_its_keys(settings: Settings) -> None:
    object_store(settings).put_object(settings.s3_bucket, "private", io.BytesIO(b"x"), 1)
    http = urllib3.PoolManager(retries=False)
    url = f"http://{settings.s3_endpoint}/{settings.s3_bucket}/private"
    assert http.request("GET", url).status == 403
    assert http.request("PUT", url, body=b"y").status == 403
    with pytest.raises(minio.S3Error):
        object_store(settings, "wrong").get_object(settings.s3_bucket, "private")


def test_objects_cannot_be_had_around_s3(servers: LocalServers, settings: Settings) -> None:
    """The filer and the volumes behind S3 listen too, and must not hand out what S3 protects."""
    object_store(settings).put_object(settings.s3_bucket, "private", io.BytesIO(b"x" * 4096), 4096)
    http = urllib3.PoolManager(retries=False)
    ports = servers.process("seaweedfs").command.argv
    master, volume, filer = (
        next(word.rpartition("=")[2] for word in ports if word.startswith(f"-{part}.port="))
        for part in ("master", "volume", "filer")
    )
    path = f"/buckets/{settings.s3_bucket}/private"
    assert http.request("GET", f"http://127.0.0.1:{filer}{path}").status == 404
    assigned = http.request("GET", f"http://127.0.0.1:{master}/dir/assign").json()
    assert http.request("GET", f"http://127.0.0.1:{volume}/{assigned['fid']}").status == 401
    assert http.request("DELETE", f"http://127.0.0.1:{volume}/{assigned['fid']}").status == 401


def test_secrets_are_kept_private_and_off_the_command_lines(servers: LocalServers) -> None:
    root = servers.directory.path
    for name in ("secrets.json", "valkey/valkey.conf", "seaweedfs/s3.json", "seaweedfs/security.toml"):
        assert (root / name).stat().st_mode & 0o077 == 0, name
    words = servers.settings.s3_secret_key, servers.settings.broker_url, servers.settings.database_url
    secrets = {urlsplit(word.get_secret_value()).password or word.get_secret_value() for word in words}
    for name in ("postgres", "valkey", "seaweedfs"):
        arguments = Path(f"/proc/{servers.process(name).pid}/cmdline").read_text()
        assert not any(secret in arguments for secret in secrets)


def test_postgres_has_an_account_that_uploaded_models_do_not_share(servers: LocalServers) -> None:
    owner = Path(f"/proc/{servers.process('postgres').pid}").stat().st_uid
    if os.geteuid() == 0:
        assert owner not in {0, 65534}, "nobody is who runs uploaded models"
    else:
        assert owner == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs Postgres as itself")
def test_root_may_keep_the_installation_to_itself(
    tmp_path_for_servers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout in /root, say: the account that Postgres runs as cannot enter it."""
    can_enter = Account.can_enter
    monkeypatch.setattr(
        Account, "can_enter", lambda self, path: "site-packages" not in path.parts and can_enter(self, path)
    )
    with LocalServers(tmp_path_for_servers, durable=False) as servers:
        assert servers.process("postgres").command.argv[0].startswith(str(tmp_path_for_servers))


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs Postgres as itself")
def test_root_is_told_of_a_directory_that_postgres_cannot_enter(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with (
        pytest.raises(DataDirectoryUnreachableError, match="choose a --data-dir"),
        LocalServers(tmp_path / "data"),
    ):
        pass


def test_a_second_start_finds_data_secrets_and_ports_again(tmp_path_for_servers: Path) -> None:
    with LocalServers(tmp_path_for_servers, durable=False) as servers:
        first = servers.settings
        write_everywhere(first)
    with LocalServers(tmp_path_for_servers, durable=False) as servers:
        assert servers.settings == first
        assert read_everywhere(servers.settings) == ("kept", "kept")


def test_killed_servers_come_back_with_their_data(tmp_path_for_servers: Path) -> None:
    with LocalServers(tmp_path_for_servers, durable=False) as servers:
        write_everywhere(servers.settings)
        killed = {name: servers.process(name).pid for name in ("postgres", "valkey", "seaweedfs")}
        for pid in killed.values():
            os.kill(pid, 9)
        eventually(lambda: all(servers.process(name).pid != pid for name, pid in killed.items()))
        eventually(lambda: read_everywhere(servers.settings) == ("kept", "kept"))


def test_a_stopped_server_stays_down_until_started(tmp_path_for_servers: Path) -> None:
    with LocalServers(tmp_path_for_servers, durable=False) as servers:
        url = servers.settings.broker_url.get_secret_value()
        servers.stop("valkey")
        with redis.Redis.from_url(url) as client, pytest.raises(redis.ConnectionError):
            client.ping()
        servers.start("valkey")
        with redis.Redis.from_url(url) as client:
            assert client.ping()
