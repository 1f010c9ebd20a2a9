"""One shape for every error, on every route; outages are told apart from faults."""

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from uuid import uuid4

import httpx
import pytest
from posting import assert_problem
from sqlalchemy import text

from api.app import create_app

PATHS = [
    ("POST", "/jobs"),
    ("GET", "/jobs"),
    ("GET", "/jobs/{job_id}"),
    ("GET", "/jobs/{job_id}/events"),
    ("POST", "/jobs/{job_id}/cancel"),
    ("DELETE", "/jobs/{job_id}"),
    ("GET", "/jobs/{job_id}/model"),
    ("GET", "/jobs/{job_id}/weights"),
    ("GET", "/jobs/{job_id}/examples"),
    ("GET", "/jobs/{job_id}/report"),
    ("GET", "/jobs/{job_id}/report.html"),
    ("GET", "/jobs/{job_id}/report.pdf"),
    ("GET", "/jobs/{job_id}/model-card"),
    ("GET", "/jobs/{job_id}/log"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/schemas/report.json"),
]
OPEN = {"/healthz", "/readyz", "/schemas/report.json"}


@pytest.fixture(scope="module")
def description(anonymous) -> dict:
    return anonymous.get("/openapi.json").json()


def test_the_description_lists_these_routes_and_no_others(description):
    found = {(method.upper(), path) for path, methods in description["paths"].items() for method in methods}
    assert found == set(PATHS)


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_every_route_documents_its_problems_and_its_key(description, method, path):
    operation = description["paths"][path][method.lower()]
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemView"}}}
    assert operation["responses"]["default"]["content"] == problem
    errors = [code for code in operation["responses"] if code.startswith(("4", "5"))]
    for code in errors:
        if path != "/readyz":
            assert operation["responses"][code]["content"] == problem
    assert ("security" in operation) == (path not in OPEN)
    if path not in OPEN:
        assert "401" in errors
    assert "HTTPValidationError" not in description["components"]["schemas"]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_every_route_answers_errors_in_the_one_shape(account, anonymous, method, path):
    concrete = path.format(job_id=uuid4())
    if path not in OPEN:
        for headers in ({}, {"Authorization": "Bearer no"}, {"Authorization": "Basic eDp5"}):
            answer = anonymous.request(method, concrete, headers=headers)
            assert_problem(answer, 401)
            assert answer.headers["www-authenticate"].startswith("Bearer")
    if "{job_id}" in path:
        assert_problem(account.http.request(method, concrete), 404)
    answer = account.http.put(concrete)
    assert_problem(answer, 405)
    assert method in answer.headers["allow"].split(", ")
    assert_problem(account.http.get(f"{concrete}/and/nothing"), 404)


def test_the_body_of_a_post_is_documented(description):
    operation = description["paths"]["/jobs"]["post"]
    schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(schema["properties"]) == {"model", "dataset", "config"}
    assert schema["required"] == ["model", "dataset"]
    assert {"202", "400", "401", "408", "413", "415", "422", "503"} <= set(operation["responses"])


def test_references_in_the_description_lead_somewhere(description):
    assert {"ProblemView", "JobView", "Report"} <= set(description["components"]["schemas"])
    for reference in re.findall(r"'\$ref': '#/components/schemas/([^']+)'", str(description)):
        assert reference in description["components"]["schemas"]


def test_the_documentation_page_is_there(anonymous):
    answer = anonymous.get("/docs")
    assert answer.status_code == 200
    assert "openapi.json" in answer.text


def test_a_fault_of_ours_says_so_and_nothing_else(api_settings, serve):
    app = create_app(api_settings)

    def broken() -> None:
        raise RuntimeError("a secret detail")

    app.add_api_route("/broken", broken)
    problem = assert_problem(httpx.get(f"{serve(app)}/broken"), 500)
    assert "secret" not in str(problem)


@pytest.mark.parametrize("given", ["abc-123", "x" * 64])
def test_a_callers_request_id_is_kept(anonymous, given):
    answer = anonymous.get("/nowhere", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] == given == answer.json()["request_id"]


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a;b", "{}"])
def test_an_odd_request_id_is_replaced(anonymous, given):
    answer = anonymous.get("/healthz", headers={"X-Request-ID": given})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def test_it_is_ready_when_all_it_needs_is(anonymous):
    assert anonymous.get("/healthz").json() == {"status": "ok"}
    answer = anonymous.get("/readyz")
    assert answer.status_code == 200
    found = answer.json()["dependencies"]
    assert {name: item["status"] for name, item in found.items()} == {
        "database": "ok",
        "broker": "ok",
        "object_store": "ok",
    }


NOWHERE = {
    "database": {"database_url": "postgresql://u:p@127.0.0.1:1/x"},
    "broker": {"broker_url": "redis://127.0.0.1:1/0"},
    "object_store": {"s3_endpoint": "127.0.0.1:1"},
}


@pytest.mark.parametrize("name", NOWHERE)
def test_readiness_names_what_is_down_and_liveness_does_not_care(elsewhere, serve, name):
    address = serve(create_app(elsewhere(**NOWHERE[name])))
    began = time.monotonic()
    answer = httpx.get(f"{address}/readyz", timeout=10)
    assert time.monotonic() - began < 5
    assert answer.status_code == 503
    down = {key for key, item in answer.json()["dependencies"].items() if item["status"] == "down"}
    assert down == {name}
    assert "127.0.0.1" not in answer.text
    assert httpx.get(f"{address}/healthz").status_code == 200


def test_readiness_does_not_wait_for_a_silent_server(elsewhere, serve):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        address = serve(create_app(elsewhere(broker_url=url, ready_seconds=0.3)))
        began = time.monotonic()
        answer = httpx.get(f"{address}/readyz", timeout=10)
        assert time.monotonic() - began < 2.5
    assert answer.json()["dependencies"]["broker"]["error"] == "no answer in time"


def test_any_number_of_callers_asks_a_silent_server_once(elsewhere, serve):
    with ExitStack() as opened:
        silent = {
            name: opened.enter_context(socket.create_server(("127.0.0.1", 0)))
            for name in ("database", "broker", "object_store")
        }
        port = {name: server.getsockname()[1] for name, server in silent.items()}
        app = create_app(
            elsewhere(
                database_url=f"postgresql://u:p@127.0.0.1:{port['database']}/x",
                broker_url=f"redis://127.0.0.1:{port['broker']}/0",
                s3_endpoint=f"127.0.0.1:{port['object_store']}",
                ready_seconds=1.0,
            )
        )
        address = serve(app)
        with httpx.Client(timeout=10) as http, ThreadPoolExecutor(40) as pool:
            accept_all(silent["object_store"])  # the look at the start
            answers = list(pool.map(lambda _: http.get(f"{address}/readyz"), range(40)))
        assert {answer.status_code for answer in answers} == {503}
        for name, server in silent.items():
            assert accept_all(server) <= 1, name


def test_an_answer_holds_for_a_moment(api_settings, serve, sessions):
    with httpx.Client(base_url=serve(create_app(api_settings))) as http:
        first, second = (http.get("/readyz").json()["dependencies"] for _ in range(2))
    assert first == second, "measured once"


def accept_all(server: socket.socket) -> int:
    """How many connections wait at a server."""
    server.setblocking(False)
    waiting = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return waiting
        waiting += 1


def test_without_a_database_callers_are_told_to_come_back(elsewhere, new_account, serve):
    account = new_account(serve(create_app(elsewhere(**NOWHERE["database"]))))
    answer = account.http.get("/jobs")
    assert_problem(answer, 503)
    assert int(answer.headers["retry-after"]) > 0
    assert_problem(account.post(), 503)


def test_a_database_that_restarted_is_noticed_by_nobody(account, sessions):
    assert account.http.get("/jobs").status_code == 200
    with sessions() as session:
        session.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    assert account.http.get("/jobs").status_code == 200


def test_a_missing_bucket_is_made_by_the_next_look(elsewhere, serve, eventually):
    bucket = f"late-{uuid4().hex}"
    app = create_app(elsewhere(s3_bucket=bucket))
    address = serve(app)
    client = app.state.services.store._client
    client.remove_bucket(bucket)
    eventually(lambda: httpx.get(f"{address}/readyz").status_code == 200 and client.bucket_exists(bucket))


def test_without_an_object_store_nothing_is_queued(elsewhere, new_account, serve):
    account = new_account(serve(create_app(elsewhere(**NOWHERE["object_store"]))))
    assert_problem(account.post(), 503)
    assert account.http.get("/jobs").json()["items"] == []


def test_without_a_broker_jobs_are_accepted_all_the_same(elsewhere, new_account, serve):
    account = new_account(serve(create_app(elsewhere(**NOWHERE["broker"]))))
    began = time.monotonic()
    job_id = account.new_job()
    assert time.monotonic() - began < 5
    assert account.http.get(f"/jobs/{job_id}").json()["status"] == "queued"


@pytest.mark.parametrize(
    ("server", "name"), [("postgres", "database"), ("valkey", "broker"), ("seaweedfs", "object_store")]
)
def test_readiness_names_a_server_that_was_stopped_and_forgets_it_when_it_is_back(
    anonymous, servers, eventually, server, name
):
    def down() -> set[str]:
        dependencies = anonymous.get("/readyz").json()["dependencies"]
        return {key for key, item in dependencies.items() if item["status"] == "down"}

    assert down() == set()
    servers.stop(server)
    try:
        eventually(lambda: down() == {name})
    finally:
        servers.start(server)
    eventually(lambda: down() == set())
