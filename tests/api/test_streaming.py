"""Uploads stream: bounded memory, caps that bite at once, and nothing left behind by whoever hangs up."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from posting import ZIP, assert_problem
from pydantic import SecretStr

from api.app import create_app
from api.settings import ApiSettings

BOUNDARY = "boundary-of-the-test"
MIB = 1 << 20


def part(name: str) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n'
    return head.encode()


END = f"\r\n--{BOUNDARY}--\r\n".encode()
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
ZIP_END = b"PK\x05\x06" + b"\0" * 18


def large_zip(mebibytes: int) -> Iterator[bytes]:
    """As much of a zip as can be seen without opening it."""
    block = os.urandom(MIB)
    yield b"PK\x03\x04"
    for _ in range(mebibytes):
        yield block
    yield ZIP_END


def body(*, model: Iterator[bytes], dataset: Iterator[bytes]) -> Iterator[bytes]:
    yield part("model")
    yield from model
    yield b"\r\n" + part("dataset")
    yield from dataset
    yield END


@contextmanager
def begun_post(address: str, token: str, *, length: int | None = None) -> Iterator[socket.socket]:
    """A connection on which a POST has begun; without a length, its body is chunked."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    head = (
        f"POST /jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {HEADERS['Content-Type']}\r\n{framing}\r\n\r\n"
    )
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode())
        yield connection


def answer_to_pieces(connection: socket.socket, piece: bytes) -> bytes:
    """Send pieces until there is an answer with a JSON body, and return it."""
    connection.settimeout(0.05)
    answer = b""
    while not answer:
        connection.sendall(piece)
        with suppress(TimeoutError):
            answer = connection.recv(4096)
    connection.settimeout(10)
    while not answer.endswith(b"}"):  # the body may come after the headers
        answer += connection.recv(4096)
    return answer


def environment(settings: ApiSettings) -> dict[str, str]:
    plain = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in settings.model_dump().items()
    }
    return os.environ | {f"LADDER_{k.upper()}": str(v) for k, v in plain.items() if v is not None}


@dataclass
class Process:
    """The API as its own process, started as it is in production."""

    address: str
    pid: int
    log: Path

    def peak_mebibytes(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) // 1024


@pytest.fixture(scope="module")
def process(api_settings, tmp_path_factory) -> Iterator[Process]:
    command = [sys.executable, "-m", "uvicorn", "--factory", "api.app:create_app", "--no-access-log"]
    log = tmp_path_factory.mktemp("api") / "log"
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as stderr:
        api = subprocess.Popen(
            [*command, "--fd", str(listener.fileno())],
            env=environment(api_settings),
            pass_fds=[listener.fileno()],
            stderr=stderr,
        )
        try:
            yield Process(f"http://127.0.0.1:{listener.getsockname()[1]}", api.pid, log)
        finally:
            api.terminate()
            api.wait()


def test_memory_does_not_grow_with_the_upload(process, new_account):
    account = new_account(process.address)
    account.new_job()
    before = process.peak_mebibytes()
    content = body(model=large_zip(1), dataset=large_zip(256))
    answer = account.http.post("/jobs", content=content, headers=HEADERS)
    assert answer.status_code == 202, answer.text
    assert process.peak_mebibytes() - before < 64, "a quarter of what was sent"


def test_the_log_names_each_request_and_no_secret(process, new_account, eventually):
    account = new_account(process.address)
    account.http.get("/jobs?after=secret", headers={"X-Request-ID": "find-me"})
    eventually(lambda: "find-me" in process.log.read_text())
    (line,) = [text for text in process.log.read_text().splitlines() if "find-me" in text]
    said = json.loads(line)
    assert (said["method"], said["path"], said["status"], said["level"]) == ("GET", "/jobs", 400, "info")
    assert "secret" not in line
    assert account.token not in process.log.read_text()


def test_the_log_is_json_from_its_first_line_on(process, anonymous, eventually):
    """What uvicorn itself says included: of its start, and of a request that is no HTTP."""
    host, port = process.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"no HTTP at all\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")
    eventually(lambda: "Invalid HTTP request" in process.log.read_text())
    said = [json.loads(line) for line in process.log.read_text().splitlines()]
    assert {"event", "level", "logger", "timestamp"} <= set.intersection(*map(set, said))
    assert any("startup complete" in line["event"] for line in said)


def test_a_file_over_the_cap_is_refused_while_it_arrives(elsewhere, new_account, serve):
    address = serve(create_app(elsewhere(max_model_bytes=1000, max_dataset_bytes=3 * MIB)))
    account = new_account(address)
    with begun_post(address, account.token) as connection:
        for piece in [part("dataset"), *large_zip(3)]:
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
    assert account.uploads() == []


def test_caps_are_for_each_file_and_exact(elsewhere, new_account, serve):
    account = new_account(serve(create_app(elsewhere(max_model_bytes=len(ZIP), max_dataset_bytes=len(ZIP)))))
    bigger = ZIP[:-22] + b"\0" + ZIP[-22:]
    assert account.post().status_code == 202
    for parts in [
        (("model", ("m", bigger)), ("dataset", ("d", ZIP))),
        (("model", ("m", ZIP)), ("dataset", ("d", bigger))),
    ]:
        assert_problem(account.post(*parts), 413)
    assert len(account.uploads()) == 2


def test_a_body_announced_too_long_is_refused_before_it_arrives(elsewhere, new_account, serve):
    address = serve(create_app(elsewhere(max_model_bytes=1000, max_dataset_bytes=1000)))
    with begun_post(address, new_account(address).token, length=1 << 30) as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_refused_caller_that_keeps_sending_still_reads_the_answer(anonymous, key):
    headers = HEADERS | ({"Authorization": f"Bearer {key}"} if key else {})
    content = body(model=large_zip(16), dataset=large_zip(1))
    answer = anonymous.post("/jobs", content=content, headers=headers)
    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "begun",
    [
        [part("model"), ZIP, b"\r\n", part("dataset"), *large_zip(20)],
        [part("model"), ZIP, b"\r\n", part("dataset"), b"PK\x03\x04 and then"],
    ],
    ids=["in the middle of a large file", "in the middle of a small one"],
)
def test_hanging_up_leaves_nothing(address, account, eventually, begun):
    with begun_post(address, account.token, length=1 << 28) as connection:
        for piece in begun:
            connection.sendall(piece)
        eventually(lambda: len(account.uploads()) == 1)  # the model has arrived
        if len(begun) > 5:
            eventually(account.unfinished_uploads)  # and some of the dataset
    eventually(lambda: account.uploads() == [])
    eventually(lambda: account.unfinished_uploads() == [])
    assert account.http.get("/jobs").json()["items"] == []


def test_a_caller_that_stalls_is_given_up(elsewhere, new_account, serve):
    address = serve(create_app(elsewhere(upload_idle_seconds=0.2)))
    account = new_account(address)
    with begun_post(address, account.token, length=9999) as connection:
        connection.sendall(part("model") + ZIP)
        assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")
    assert account.uploads() == []


def test_more_uploads_than_there_is_room_for_are_told_to_wait(elsewhere, new_account, serve, eventually):
    address = serve(create_app(elsewhere(max_concurrent_uploads=1)))
    account = new_account(address)
    with begun_post(address, account.token, length=9999) as connection:
        connection.sendall(part("model") + ZIP + b"\r\n" + part("dataset"))
        eventually(lambda: len(account.uploads()) == 1)
        refused = account.post()
        assert_problem(refused, 503)
        assert refused.headers["retry-after"]
        assert account.http.get("/jobs").status_code == 200
    eventually(lambda: account.uploads() == [])
    assert account.post().status_code == 202


def test_one_owner_does_not_keep_out_the_others(elsewhere, new_account, serve, eventually):
    address = serve(create_app(elsewhere(max_concurrent_uploads=2, max_concurrent_uploads_per_owner=1)))
    account, other = new_account(address), new_account(address)
    with begun_post(address, account.token, length=9999) as connection:
        connection.sendall(part("model") + ZIP + b"\r\n" + part("dataset"))
        eventually(lambda: len(account.uploads()) == 1)
        refused = account.post()
        assert "one owner" in assert_problem(refused, 503)["detail"]
        assert refused.headers["retry-after"]
        assert other.post().status_code == 202
    eventually(lambda: account.uploads() == [])
    assert account.post().status_code == 202


def test_a_caller_that_trickles_is_given_up(elsewhere, new_account, serve):
    address = serve(create_app(elsewhere(upload_idle_seconds=0.5, upload_min_bytes_per_second=MIB)))
    account = new_account(address)
    with begun_post(address, account.token, length=9999) as connection:
        connection.sendall(part("model") + ZIP)
        answer = answer_to_pieces(connection, b"x")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"bytes a second" in answer
    assert account.uploads() == []


def test_an_upload_may_not_take_for_ever_however_well_it_goes(elsewhere, new_account, serve):
    address = serve(create_app(elsewhere(upload_max_seconds=0.5)))
    account = new_account(address)
    with begun_post(address, account.token, length=9_999_999) as connection:
        connection.sendall(part("model") + ZIP)
        answer = answer_to_pieces(connection, b"x" * 100)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"It took longer than 0.5 seconds" in answer
    assert account.uploads() == []


def test_a_model_is_no_orphan_while_its_dataset_may_still_arrive(api_settings):
    given = api_settings.model_dump() | {"orphan_grace_seconds": 100.0}
    ApiSettings(**(given | {"upload_max_seconds": 50.0}))
    with pytest.raises(
        ValueError, match=r"upload_max_seconds \(51\) is more than half of orphan_grace_seconds"
    ):
        ApiSettings(**(given | {"upload_max_seconds": 51.0}))


def test_what_follows_the_closing_boundary_is_not_waited_for(address, account):
    with begun_post(address, account.token) as connection:
        whole = b"".join(body(model=iter([ZIP]), dataset=iter([ZIP])))
        for piece in [whole, b"and more"]:
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        assert connection.recv(4096).startswith(b"HTTP/1.1 202 ")


def test_a_body_without_a_length_has_a_largest_size_too(elsewhere, new_account, serve):
    """However it is filled: these are line ends before the first boundary, which belong to no part."""
    address = serve(create_app(elsewhere(max_model_bytes=1000, max_dataset_bytes=1000)))
    with begun_post(address, new_account(address).token) as connection:
        for _ in range(32):
            connection.sendall(b"10000\r\n%b\r\n" % (b"\r\n" * (1 << 15)))
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
