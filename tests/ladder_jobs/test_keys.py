"""Keys: shown once, stored as a hash, useless once revoked."""

from sqlalchemy import select
from typer.testing import CliRunner

from ladder_jobs.__main__ import app
from ladder_jobs.keys import authenticate, create_key, ensure_local_key, revoke_key
from ladder_jobs.tables import ApiKey, Owner


def test_a_key_names_its_owner_and_is_stored_nowhere(jobs, sessions):
    token = jobs.do(create_key, "alice")
    caller = jobs.do(authenticate, token)
    assert caller is not None
    assert caller.name == "alice"
    with sessions() as session:
        key = session.scalars(select(ApiKey)).one()
    assert token.startswith(key.prefix)
    stored = [str(value) for value in vars(key).values()]
    assert not any(token in value for value in stored)
    assert len(token) - len(key.prefix) >= 32


def test_an_owner_may_have_several_keys(jobs, sessions):
    tokens = {jobs.do(create_key, "alice") for _ in range(3)}
    assert len(tokens) == 3
    with sessions() as session:
        assert len(session.scalars(select(Owner)).all()) == 1


def test_a_wrong_or_revoked_key_is_nobodys(jobs):
    token = jobs.do(create_key, "alice")
    other = jobs.do(create_key, "alice")
    for wrong in ("", token[:-1], token.upper(), "ladder_" + "x" * 43, "ключ"):
        assert jobs.do(authenticate, wrong) is None
    assert jobs.do(revoke_key, token[:15])
    assert jobs.do(authenticate, token) is None
    assert jobs.do(authenticate, other) is not None
    assert not jobs.do(revoke_key, "ladder_unknown0")


def test_the_local_key_works(jobs, settings, database_url):
    local = settings.model_copy(update={"database_url": type(settings.database_url)(database_url)})
    token = ensure_local_key(local)
    assert jobs.do(authenticate, token).name == "local"


def test_the_command_line_makes_and_revokes_keys(jobs, settings, database_url, monkeypatch):
    for name, value in settings.model_dump().items():
        secret = value.get_secret_value() if hasattr(value, "get_secret_value") else value
        monkeypatch.setenv(f"LADDER_{name.upper()}", "" if secret is None else str(secret))
    monkeypatch.setenv("LADDER_DATABASE_URL", database_url)
    command = CliRunner()
    assert command.invoke(app, ["migrate"]).exit_code == 0
    token = command.invoke(app, ["create-key", "carol"]).output.strip()
    assert jobs.do(authenticate, token).name == "carol"
    assert command.invoke(app, ["revoke-key", token]).exit_code == 0
    assert jobs.do(authenticate, token) is None
    assert command.invoke(app, ["revoke-key", "nothing"]).exit_code == 1
