"""Everything a user can get wrong, posted to the running service: a 4xx or a failed job, and what to do.

The job at the end shows that the service went on serving.
"""

import io
import json
import pickle
import re
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
import pytest
import torch
from torch import nn

from ladder_client import Client, JobFailed
from ladder_local.stack import LocalStack
from ladder_schema.jobs import JobStatus

QUICK = {
    "preset": "quick",
    "boundary": {"steps": 5},
    "generator": {"steps": 50},
    "retraining": {"epochs": 1},
    "evaluation": {"max_samples": 50, "pgd_steps": 2},
    "threat_model": {"epsilon": 0.1},
}


@dataclass(frozen=True)
class Good:
    """A job that succeeds, whose parts the cases replace."""

    model: bytes
    dataset: bytes
    arrays: dict[str, np.ndarray]
    network: nn.Module


@pytest.fixture(scope="module")
def good(digits_model, digits_npz, digits_arrays, digits_network) -> Good:
    return Good(digits_model.read_bytes(), digits_npz.read_bytes(), digits_arrays, digits_network)


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    # Not pytest's own directory: as root that is closed to the account Postgres runs as.
    with (
        tempfile.TemporaryDirectory(prefix="ladder-tests-") as directory,
        LocalStack(Path(directory)) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def http(stack: LocalStack) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    with httpx.Client(base_url=stack.api_url, headers=headers, timeout=60) as client:
        yield client


def post(http: httpx.Client, model: bytes, dataset: bytes, config: object = None) -> httpx.Response:
    files = {"model": ("model.pt", model), "dataset": ("data.npz", dataset)}
    text = config if isinstance(config, str) else json.dumps(QUICK if config is None else config)
    return http.post("/jobs", files=files, data={"config": text})


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def scripted(network: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(network.eval()), buffer)
    return buffer.getvalue()


def state_dict(network: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return buffer.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def untrained(*tail: nn.Module, outputs: int = 10) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, outputs), *tail)


# What is refused while it is posted: what is sent, and what the answer's text must say.
REFUSED = {
    "model: empty file": (lambda good: {"model": b""}, "empty"),
    "model: a pickle": (lambda good: {"model": pickle.dumps({"weights": [1, 2]})}, "pickle"),
    "model: no archive": (lambda good: {"model": b"hello" * 1000}, "torch.jit"),
    "model: cut short": (lambda good: {"model": good.model[:-200]}, "truncated|incomplete|cut"),
    "dataset: empty file": (lambda good: {"dataset": b""}, "empty"),
    "dataset: cut short": (lambda good: {"dataset": good.dataset[:5000]}, "truncated|incomplete|cut"),
    "dataset: no archive": (lambda good: {"dataset": b"1,2,3\n" * 100}, "numpy.savez"),
    "config: no JSON": (lambda good: {"config": "{preset: quick}"}, "JSON"),
    "config: unknown key": (lambda good: {"config": {"retraning": {}}}, "retraning"),
    "config: unknown method": (lambda good: {"config": {"method": "magic"}}, "magic|method"),
    "config: out of range": (lambda good: {"config": {"threat_model": {"epsilon": 3}}}, "epsilon"),
}

# What fails as a job: what is sent, the error's code, and what its message must say.
FAILED = {
    "model: a state_dict": (
        lambda good: {"model": state_dict(good.network)},
        "model_unreadable",
        "state_dict|torch.jit",
    ),
    "model: some zip": (lambda good: {"model": zipped("a.txt", b"hello")}, "model_unreadable", "torch.jit"),
    "model: near chance": (
        lambda good: {"model": scripted(untrained())},
        "model_near_chance",
        "preprocessing",
    ),
    "model: multi-label": (
        lambda good: {"model": scripted(untrained(nn.Sigmoid()))},
        "model_not_classifier",
        "multi-label",
    ),
    "model: a regression": (
        lambda good: {"model": scripted(untrained(outputs=1))},
        "dataset_labels_invalid",
        "regression",
    ),
    "dataset: no labels": (
        lambda good: {"dataset": npz(x_train=good.arrays["x_train"])},
        "dataset_unlabelled",
        "y_train",
    ),
    "dataset: labels outside the model's classes": (
        lambda good: {"dataset": npz(**(good.arrays | {"y_train": good.arrays["y_train"] + 5}))},
        "dataset_labels_invalid",
        "class 14, but the model has 10 outputs",
    ),
    "dataset: one class": (
        lambda good: {"dataset": npz(**(good.arrays | {"y_train": good.arrays["y_train"] * 0}))},
        "dataset_too_few_classes",
        "at least two",
    ),
    "dataset: NaN": (
        lambda good: {"dataset": npz(**(good.arrays | {"x_train": good.arrays["x_train"] * np.nan}))},
        "dataset_images_invalid",
        r"x_train\[0\] holds NaN",
    ),
    "dataset: shape the model rejects": (
        lambda good: {"dataset": npz(x_train=np.zeros((40, 8, 20)), y_train=np.arange(40) % 10)},
        "model_rejects_images",
        r"\(1, 8, 20\)",
    ),
    "dataset: Python objects": (
        lambda good: {"dataset": npz(x_train=np.array([{}] * 40), y_train=np.arange(40))},
        "dataset_unreadable",
        "Python objects",
    ),
}


def check_problem(response: httpx.Response, status: int) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/problem+json")
    problem = response.json()
    assert {"type", "title", "status", "detail"} <= problem.keys()
    assert "Traceback" not in response.text
    return problem


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_known_at_once_is_refused_at_once(name: str, http: httpx.Client, good: Good) -> None:
    change, says = REFUSED[name]
    answer = post(http, **({"model": good.model, "dataset": good.dataset} | change(good)))
    problem = check_problem(answer, 422)
    assert_says(json.dumps(problem), says)
    print(f"\n{name}: {answer.status_code} {problem['detail']}")


@pytest.mark.parametrize("missing", ["model", "dataset"])
def test_a_missing_field_is_named(missing: str, http: httpx.Client, good: Good) -> None:
    files = {"model": ("m.pt", good.model), "dataset": ("d.npz", good.dataset)}
    del files[missing]
    answer = http.post("/jobs", files=files)
    problem = check_problem(answer, 422)
    assert_says(json.dumps(problem), missing)
    print(f"\nno {missing}: {answer.status_code} {problem['detail']}")


def test_an_unknown_job_is_not_found(http: httpx.Client) -> None:
    for path in (f"/jobs/{uuid4()}", f"/jobs/{uuid4()}/model", "/jobs/none"):
        problem = check_problem(http.get(path), 404)
        print(f"\nGET {path}: 404 {problem['detail']}")


def test_a_wrong_key_is_refused(stack: LocalStack) -> None:
    answer = httpx.get(f"{stack.api_url}/jobs", headers={"Authorization": "Bearer nonsense"})
    check_problem(answer, 401)


def test_what_only_a_look_inside_can_tell_fails_the_job(
    stack: LocalStack, http: httpx.Client, good: Good
) -> None:
    jobs = {
        name: post(http, **({"model": good.model, "dataset": good.dataset} | change(good)))
        for name, (change, _, _) in FAILED.items()
    }
    last = post(http, good.model, good.dataset)
    with Client(stack.api_url, stack.api_key) as client:
        for name, answer in jobs.items():
            _, code, says = FAILED[name]
            assert answer.status_code == 202, (name, answer.text)
            with pytest.raises(JobFailed):
                client.wait(answer.json()["id"])
            error = client.get(answer.json()["id"]).error
            assert error is not None
            assert error.code == code, (name, error)
            assert_says(error.message, says)
            assert "Traceback" not in error.message
            assert "/attempts" not in error.message, "a path of the worker's is nobody's business"
            print(f"\n{name}: failed in {error.stage}, {error.code}: {error.message}")
        assert client.wait(last.json()["id"]).status is JobStatus.SUCCEEDED


def assert_says(text: str, pattern: str) -> None:
    assert re.search(pattern, text, re.IGNORECASE), text
