"""A job's log over HTTP: as it stands, and followed; through the client, nothing that a terminal obeys."""

import io
import threading
from contextlib import contextmanager
from uuid import UUID

import pytest
from posting import assert_problem
from typer.testing import CliRunner

from api.app import create_app
from ladder_client import Client, NotFoundError
from ladder_client.cli import app as cli
from ladder_jobs.claims import release, settle_failed
from ladder_jobs.joblogs import add_chunk, record_log
from ladder_jobs.objects import attempt_key
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobError

ERROR = JobError(code=ErrorCode.MODEL_NEAR_CHANCE, message="Chance.", stage=None)
HOSTILE = b"\x1b[31mred\x1b]0;title\x07\x9b2J\xff\xe2\x80\xae ok\n"


def grow(account, claim, start: int, content: bytes) -> None:
    with account.sessions.begin() as session:
        add_chunk(session, claim, start, content)


def end(account, claim, content: bytes, *, requeue: bool = False) -> None:
    """End the attempt as its worker would."""
    stored = account.store.put_stream(
        attempt_key(claim.job_id, claim.attempt, "child.log"), io.BytesIO(content)
    )
    with account.sessions.begin() as session:
        record_log(session, claim, stored)
        if requeue:
            release(session, claim, reason="it died", child_died=False, max_child_deaths=3)
        else:
            settle_failed(session, claim, ERROR)


@contextmanager
def following(account, path: str):
    """Everything that has come of a followed log so far, and whether it has ended."""
    received, ended = bytearray(), threading.Event()

    def read() -> None:
        with account.http.stream("GET", path, params={"follow": True}) as answer:
            for chunk in answer.iter_bytes():
                received.extend(chunk)
        ended.set()

    thread = threading.Thread(target=read)
    thread.start()
    yield received, ended
    thread.join(timeout=30)
    assert ended.is_set()


def test_a_log_is_served_like_any_download(account):
    job_id = account.new_job()
    end(account, account.claim(), HOSTILE)
    (listed,) = account.http.get(f"/jobs/{job_id}").json()["logs"]
    assert (listed["attempt"], listed["bytes"]) == (1, len(HOSTILE))
    answer = account.http.get(listed["href"])
    assert (answer.status_code, answer.content) == (200, HOSTILE)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == f'attachment; filename="{job_id[:8]}-1.log"'
    assert answer.headers["etag"] == f'"{listed["sha256"]}"'
    assert answer.headers["ladder-attempt"] == "1"
    part = account.http.get(listed["href"], headers={"Range": "bytes=5-7"})
    assert (part.status_code, part.content) == (206, b"red")
    assert (
        account.http.get(listed["href"], headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    )
    assert account.http.head(listed["href"]).headers["content-length"] == str(len(HOSTILE))


def test_a_running_attempts_log_is_what_has_come_of_it(account):
    path = f"/jobs/{account.new_job()}/log"
    assert account.http.get(path).content == b""
    claim = account.claim()
    grow(account, claim, 0, b"one ")
    grow(account, claim, 4, b"two")
    answer = account.http.get(path)
    assert (answer.content, answer.headers["cache-control"]) == (b"one two", "no-store")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_the_latest_attempts_log_comes_unless_another_is_asked_for(account):
    path = f"/jobs/{account.new_job()}/log"
    end(account, account.claim(), b"first", requeue=True)
    grow(account, account.claim(), 0, b"second")
    assert account.http.get(path).content == b"second"
    assert account.http.get(path, params={"attempt": 1}).content == b"first"
    assert_problem(account.http.get(path, params={"attempt": 3}), 404)
    for bad in ("0", "x", "99999999999"):
        assert_problem(account.http.get(path, params={"attempt": bad}), 422)


def test_nobody_else_reads_a_log(account, new_account):
    path = f"/jobs/{account.new_job()}/log"
    end(account, account.claim(), b"mine")
    for query in ("", "?follow=true"):
        assert_problem(new_account().http.get(path + query), 404)


def test_a_followed_log_ends_with_its_job_and_is_whole(account, eventually):
    path = f"/jobs/{account.new_job()}/log"
    with following(account, path) as (received, ended):
        claim = account.claim()
        grow(account, claim, 0, b"one ")
        eventually(lambda: received == b"one ")
        grow(account, claim, 4, b"two ")
        eventually(lambda: received == b"one two ")
        assert not ended.is_set()
        end(account, claim, b"one two three", requeue=True)
        second = account.claim()
        eventually(lambda: received.endswith(b"--- attempt 2 ---\n"))
        end(account, second, b"four")
    assert received == b"one two three\n--- attempt 2 ---\nfour"


def test_following_goes_on_where_it_broke(account):
    path = f"/jobs/{account.new_job()}/log"
    end(account, account.claim(), b"first", requeue=True)
    end(account, account.claim(), b"second")
    params = {"follow": True, "attempt": 1}
    whole = account.http.get(path, params=params).content
    for skip in range(len(whole) + 1):
        assert account.http.get(path, params={**params, "skip": skip}).content == whole[skip:]


def test_a_followed_log_outlasts_the_database(account, servers, eventually):
    path = f"/jobs/{account.new_job()}/log"
    claim = account.claim()
    grow(account, claim, 0, b"one ")
    with following(account, path) as (received, _):
        eventually(lambda: received == b"one ")
        servers.stop("postgres")
        servers.start("postgres")
        end(account, claim, b"one two")
    assert received == b"one two"


def test_following_a_deleted_job_ends(account, eventually):
    job_id = account.new_job()
    claim = account.claim()
    grow(account, claim, 0, b"one")
    with following(account, f"/jobs/{job_id}/log") as (received, _):
        eventually(lambda: received == b"one")
        with account.sessions.begin() as session:
            settle_failed(session, claim, ERROR)
        account.http.delete(f"/jobs/{job_id}").raise_for_status()


def test_a_bounded_number_of_logs_is_followed(elsewhere, new_account, serve, eventually):
    account = new_account(serve(create_app(elsewhere(max_log_followers=4))))
    path = f"/jobs/{account.new_job()}/log"
    claim = account.claim()
    grow(account, claim, 0, b"one")
    with following(account, path) as (received, _):
        eventually(lambda: received)
        problem = assert_problem(account.http.get(path, params={"follow": True}), 503)
        assert "1 followed logs under way" in problem["detail"]
        end(account, claim, b"one")
    assert account.http.get(path, params={"follow": True}).content == b"one"


@pytest.mark.parametrize("follow", [False, True])
def test_the_client_gives_out_text_that_no_terminal_obeys(account, address, follow):
    job_id = account.new_job()
    end(account, account.claim(), HOSTILE + "Grün\n".encode())
    with Client(address, account.token) as client:
        said = "".join(client.logs(UUID(job_id), follow=follow))
        with pytest.raises(NotFoundError):
            list(client.logs(UUID(job_id), attempt=2, follow=follow))
    assert said == "red0;title2J ok\nGrün\n"


def test_the_command_line_prints_a_log(account, address):
    job_id = account.new_job()
    end(account, account.claim(), b"one\n\x1b[31mtwo")
    for options in ([], ["--follow"], ["--attempt", "1"]):
        where = ["--url", address, "--api-key", account.token]
        result = CliRunner().invoke(cli, ["logs", job_id, *options, *where])
        assert (result.exit_code, result.stdout) == (0, "one\ntwo")
