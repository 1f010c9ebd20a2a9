"""POST /jobs: what is accepted, and every bad input with its answer at the edge."""

import hashlib
import json
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from posting import ZIP, assert_problem, make_zip
from sqlalchemy import text

from api.errors import Invalid
from api.intake.config import MAX_CONFIG_BYTES, parse_config
from ladder_jobs.wakeups import wakeups_waiting
from ladder_schema.config import READABLE_VERSIONS, SCHEMA_VERSION, resolve_config

MODEL = ("model", ("m.pt", ZIP))
DATASET = ("dataset", ("d.npz", ZIP))


def config(text: str | bytes) -> tuple[str, object]:
    return ("config", (None, text))


def test_a_posted_job_is_queued_with_every_default_filled_in(account):
    answer = account.post(MODEL, DATASET, config('{"preset": "quick", "retraining": {"alpha": 0.25}}'))
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert (job["status"], job["stage"], job["progress"], job["error"]) == ("queued", None, 0.0, None)
    raw = {"preset": "quick", "retraining": {"alpha": 0.25}}
    assert job["config"] == resolve_config(raw).model_dump(mode="json")
    assert account.http.get(answer.headers["location"]).json() == job


def test_what_is_stored_is_what_was_sent(account, tmp_path):
    model, dataset = make_zip(b"a model" * 500_000), make_zip(b"a dataset")
    job_id = account.post(("model", ("my model.pt", model)), ("dataset", ("d.npz", dataset))).json()["id"]
    claim = account.claim()
    assert claim.job_id == UUID(job_id)
    for upload, content, name in [(claim.model, model, "my model.pt"), (claim.dataset, dataset, "d.npz")]:
        assert (upload.bytes, upload.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert b"".join(account.store.open(upload.key)) == content
        assert upload.filename == name


@pytest.mark.parametrize(
    "parts",
    [
        (config("{}"), DATASET, MODEL),
        (DATASET, config("{}"), MODEL),
        (MODEL, DATASET, config("")),
    ],
)
def test_parts_come_in_any_order(account, parts):
    assert account.post(*parts).status_code == 202


def test_posting_wakes_the_queue(account, app):
    account.new_job()
    services = app.state.services
    assert wakeups_waiting(services.celery, services.settings.queue)


@pytest.mark.parametrize("name", ["../../etc/passwd", 'a"b\r\nSet-Cookie: x', "模型.pt", "x" * 5_00])
def test_no_file_name_does_harm(account, name):
    assert account.post(("model", (name, ZIP)), DATASET).status_code == 202


def test_the_same_idempotency_key_is_the_same_job(account, new_account):
    first = account.post(**{"Idempotency-Key": "k1"})
    again = account.post(**{"Idempotency-Key": "k1"})
    other = account.post(**{"Idempotency-Key": "k2"})
    assert first.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]
    assert len(account.uploads()) == 4
    assert new_account().post(**{"Idempotency-Key": "k1"}).json()["id"] != first.json()["id"]


def test_racing_posts_with_one_idempotency_key_make_one_job(account):
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: account.post(**{"Idempotency-Key": "k"}), range(6)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(account.uploads()) == 2


def test_a_job_that_the_database_did_not_take_leaves_no_files(account, sessions, eventually):
    end_blocked = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    )
    with ThreadPoolExecutor(1) as pool:
        with sessions.begin() as session:
            session.execute(text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"))
            posted = pool.submit(account.post)
            eventually(lambda: session.execute(end_blocked).first() or posted.done())
            answer = posted.result()
        assert_problem(answer, 503)
    assert account.uploads() == []
    assert account.http.get("/jobs").json()["items"] == []
    assert account.post().status_code == 202


HDF5 = b"\x89HDF\r\n\x1a\n" + b"\0" * 300
SAFETENSORS = struct.pack("<Q", 40) + b'{"w":{"dtype":"F32","shape":[1]}}' + b"\0" * 300
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03." + b"\0" * 300
ONNX = b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:" + b"\0" * 300
CUT = make_zip(bytes(range(256)) * 100)[:-40]
HOLLOW = ZIP[:30] + ZIP[60:]
TRAILING_CUT = ZIP[:-1]

BAD_FILES = {
    "empty": (b"", "empty"),
    "short": (b"PK", "no format|plain text"),
    "pickle": (pickle.dumps({"w": list(range(100))}), "pickle"),
    "state_dict": (LEGACY, "torch.save"),
    "hdf5": (HDF5, "HDF5"),
    "safetensors": (SAFETENSORS, "safetensors"),
    "onnx": (ONNX, "ONNX"),
    "npy": (b"\x93NUMPY\x01\x00" + b"\0" * 300, "npy"),
    "gguf": (b"GGUF" + b"\0" * 300, "GGUF"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + b"\0" * 300, "7z"),
    "text": (b"hello", "plain text"),
    "noise": (b"\xfe\xed" * 200, "no format"),
    "nothing in it": (make_zip()[-22:-12] + b"\0" * 12, "nothing in it"),
    "cut off": (CUT, "table of contents"),
    "hollow": (HOLLOW, "bytes are missing"),
    "last byte lost": (TRAILING_CUT, "table of contents"),
}


@pytest.mark.parametrize("kind", ["model", "dataset"])
@pytest.mark.parametrize(("content", "said"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_cannot_be_right_is_refused_with_what_it_is(account, kind, content, said):
    good = DATASET if kind == "model" else MODEL
    problem = assert_problem(account.post(good, (kind, ("f", content))), 422)
    (error,) = problem["errors"]
    assert error["field"] == kind
    assert any(word in error["message"] for word in said.split("|")), error["message"]
    assert account.uploads() == []


TAR = b"\0" * 257 + b"ustar" + b"\0" * 250
DATASETS = {
    "tar": TAR,
    "gzip": b"\x1f\x8b\x08" + b"\0" * 300,
    "bzip2": b"BZh9" + b"\0" * 300,
    "xz": b"\xfd7zXZ\x00" + b"\0" * 300,
    "Parquet": b"PAR1" + b"\0" * 300 + b"PAR1",
}


@pytest.mark.parametrize("content", DATASETS.values(), ids=DATASETS)
def test_a_dataset_may_be_a_tar_or_parquet_and_a_model_may_not(account, content):
    assert account.post(MODEL, ("dataset", ("d", content))).status_code == 202
    problem = assert_problem(account.post(("model", ("m", content)), DATASET), 422)
    assert [error["field"] for error in problem["errors"]] == ["model"]


@pytest.mark.parametrize(
    "content", [TAR[:-1], DATASETS["Parquet"][:-1], b"PAR1"], ids=["tar", "Parquet", "mark"]
)
def test_a_dataset_that_is_cut_short_is_refused(account, content):
    problem = assert_problem(account.post(MODEL, ("dataset", ("d", content))), 422)
    assert "cut short" in problem["errors"][0]["message"]


BAD_BODIES = {
    "no model": ((DATASET,), ["model"]),
    "no dataset": ((MODEL,), ["dataset"]),
    "neither": ((config("{}"),), ["model", "dataset"]),
    "a stranger": ((MODEL, DATASET, ("labels", ("l.txt", b"1 2 3"))), ["labels"]),
    "two models": ((MODEL, MODEL, DATASET), ["model"]),
    "two configs": ((MODEL, DATASET, config("{}"), config("{}")), ["config"]),
}


@pytest.mark.parametrize(("parts", "fields"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_form_that_is_not_the_documented_one_is_refused(account, parts, fields):
    problem = assert_problem(account.post(*parts), 422)
    assert [error["field"] for error in problem["errors"]] == fields
    assert account.uploads() == []


BAD_CONFIGS = {
    "not JSON": ("{preset}", "config", "JSON"),
    "a list": ("[1]", "config", "list"),
    "not text": (b"\xff\xfe", "config", "not readable"),
    "too deep": ("[" * 30_000, "config", ""),
    "unknown method": ('{"method": "magic"}', "config.method", "'ladder'"),
    "no method": ('{"method": null}', "config.method", "'ladder'"),
    "unknown key": ('{"retraining": {"alpa": 1}}', "config.retraining.alpa", "alpha"),
    "unknown section": ('{"retrainning": {}}', "config.retrainning", "retraining"),
    "out of range": ('{"retraining": {"alpha": 1.5}}', "config.retraining.alpha", "0.5"),
    "wrong type": ('{"seed": "x"}', "config.seed", "0"),
    "infinite": ('{"threat_model": {"epsilon": 1e999}}', "config.threat_model.epsilon", ""),
    "not a number": ('{"threat_model": {"epsilon": NaN}}', "config.threat_model.epsilon", ""),
    "huge": ('{"seed": 1' + "0" * 4000 + "}", "config.seed", ""),
    "half a character": ('{"preset": "\\ud800"}', "config.preset", ""),
    "unknown half a character": ('{"\\ud800": 1}', "config", ""),
    "other method's": ('{"method": "pgd", "generator": {}}', "config.generator", "pgd"),
    "inconsistent": ('{"preprocessing": {"value_range": [1, 0]}}', "config.preprocessing", "value_range"),
    "unknown preset": ('{"preset": "fast"}', "config.preset", "quick"),
}


@pytest.mark.parametrize(("text", "field", "said"), BAD_CONFIGS.values(), ids=BAD_CONFIGS)
def test_a_bad_config_names_the_field_the_value_and_the_remedy(account, text, field, said):
    problem = assert_problem(account.post(MODEL, DATASET, config(text)), 422)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert said in problem["detail"], problem["detail"]
    assert account.uploads() == []


def test_every_mistake_in_a_config_is_told_at_once(account):
    text = json.dumps({"seed": -1, "speed": 3, "retraining": {"epochs": 0}})
    problem = assert_problem(account.post(config(text), MODEL, DATASET), 422)
    assert {e["field"]: e["value"] for e in problem["errors"]} == {
        "config.seed": -1,
        "config.speed": 3,
        "config.retraining.epochs": 0,
    }


@pytest.mark.parametrize("seconds", [1, 86_400.0, None])
def test_a_job_may_ask_for_as_long_as_the_service_allows(account, seconds):
    answer = account.post(config(json.dumps({"max_runtime": seconds})), MODEL, DATASET)
    assert answer.status_code == 202
    assert answer.json()["config"]["max_runtime"] == seconds


def test_a_job_may_not_ask_for_longer_than_the_service_allows(account):
    answer = account.post(config('{"max_runtime": 86400.5}'), MODEL, DATASET)
    (error,) = assert_problem(answer, 422)["errors"]
    assert (error["field"], error["value"]) == ("config.max_runtime", 86_400.5)
    assert "more than the 86400 seconds" in error["message"]
    assert "at most 86400" in error["remedy"]
    assert account.uploads() == []


@pytest.mark.parametrize("version", READABLE_VERSIONS)
def test_a_config_of_an_earlier_version_becomes_one_of_this(account, version):
    answer = account.post(config(json.dumps({"schema_version": version})), MODEL, DATASET)
    assert answer.json()["config"]["schema_version"] == SCHEMA_VERSION


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1, True, "1", 1.5])
def test_a_config_of_another_version_is_refused(account, version):
    answer = account.post(config(json.dumps({"schema_version": version})), MODEL, DATASET)
    (error,) = assert_problem(answer, 422)["errors"]
    assert error["field"] == "config.schema_version"


def test_no_config_makes_a_long_answer(account):
    text = json.dumps({f"key{n}": n for n in range(1000)})
    answer = account.post(config(text), MODEL, DATASET)
    assert len(assert_problem(answer, 422)["errors"]) == 20
    assert len(answer.content) < 20_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["method", "preset", "retraining", "alpha", "seed", "generator", "preprocessing"])
            | st.text(max_size=5),
            children,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@limits(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(json_values.map(json.dumps).map(str.encode) | st.binary(max_size=40))
def test_any_config_is_accepted_or_refused_in_words(text):
    try:
        parse_config(text, longest_seconds=60.0)
    except Invalid as problem:
        refused = problem
    else:
        return
    assert refused.errors
    refused.detail.encode()


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/mixed; boundary=x", 415),
        ("", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=" + "x" * 300, 400),
    ],
)
def test_another_content_type_is_refused(account, content_type, status):
    answer = account.http.post("/jobs", content=b"{}", headers={"Content-Type": content_type})
    assert_problem(answer, status)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        b"--x\r\n",
        b"--x\r\nContent-Disposition: form-data\r\n\r\nnameless\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nPK\x03\x04 and no end',
        b"--x\r\nA bad header\r\n\r\n",
        b"--x\r\n" + b"A: b\r\n" * 1000,
        b"--x\r\nA: " + b"b" * 100_000,
    ],
)
def test_a_garbled_body_is_refused(account, body):
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert_problem(account.http.post("/jobs", content=body, headers=headers), 400)
    assert account.uploads() == []


def test_a_config_has_a_largest_size(account):
    text = json.dumps({"preset": "quick"}).ljust(MAX_CONFIG_BYTES)
    assert account.post(MODEL, DATASET, config(text)).status_code == 202
    assert_problem(account.post(MODEL, DATASET, config(text + " ")), 413)
