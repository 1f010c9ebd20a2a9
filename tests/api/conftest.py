"""The API behind a real uvicorn on a loopback port, before the real servers."""

import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import httpx
import pytest
import structlog
import uvicorn
from fastapi import FastAPI
from minio.credentials import Credentials
from minio.signer import presign_v4
from posting import ARTIFACTS, ZIP
from pydantic import SecretStr
from sqlalchemy.orm import Session, sessionmaker

from api.app import create_app
from api.settings import ApiSettings
from ladder_jobs.claims import Claim, StoredArtifact, claim_job, settle_succeeded
from ladder_jobs.database import connect, migrate, session_factory
from ladder_jobs.keys import authenticate, create_key
from ladder_jobs.objects import ObjectStore, attempt_key
from ladder_jobs.settings import Settings


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> None:
    """The server's thread logs when it likes: not into the middle of pytest's own output."""
    structlog.configure(logger_factory=structlog.stdlib.LoggerFactory())


@pytest.fixture(scope="session")
def api_settings(settings: Settings) -> ApiSettings:
    migrate(settings.database_url.get_secret_value())
    return ApiSettings(
        **settings.model_dump(),
        queue=f"test-{uuid4().hex[:8]}",
    )


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve an app from a thread; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the API did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def app(api_settings: ApiSettings) -> FastAPI:
    return create_app(api_settings)


@pytest.fixture(scope="session")
def address(app: FastAPI) -> Iterator[str]:
    with serving(app) as address:
        yield address


@pytest.fixture
def serve() -> Iterator[Callable[[FastAPI], str]]:
    """Serve further apps until the test ends."""
    with ExitStack() as running:
        yield lambda app: running.enter_context(serving(app))


@pytest.fixture(scope="session")
def anonymous(address: str) -> Iterator[httpx.Client]:
    """A caller without a key."""
    with httpx.Client(base_url=address, timeout=30, verify=False) as http:
        yield http


@dataclass
class Account:
    """An owner of this test's own, its key, and what a worker would do for it."""

    token: str
    id: UUID
    settings: ApiSettings
    http: httpx.Client
    sessions: sessionmaker[Session]
    store: ObjectStore

    def post(self, *parts: tuple[str, object], **headers: str) -> httpx.Response:
        """Post parts in this order; without any, a good job."""
        files = parts or (("model", ("m.pt", ZIP)), ("dataset", ("d.npz", ZIP)))
        return self.http.post("/jobs", files=files, headers=headers)

    def new_job(self) -> str:
        answer = self.post()
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def uploads(self) -> list[str]:
        return list(self.store.list_keys(f"uploads/{self.id}/"))

    def unfinished_uploads(self) -> list[str]:
        """Keys of multipart uploads neither completed nor aborted, asked of S3 itself: the SDK has no way."""
        asked = urlsplit(
            f"http://{self.settings.s3_endpoint}/{self.settings.s3_bucket}"
            f"?prefix=uploads%2F{self.id}%2F&uploads="
        )
        keys = self.settings.s3_access_key, self.settings.s3_secret_key
        signed = presign_v4(
            method="GET",
            url=asked,
            region="us-east-1",
            credentials=Credentials(*(key.get_secret_value() for key in keys)),
            date=datetime.now(UTC),
            expires=60,
        )
        answer = httpx.get(urlunsplit(signed)).raise_for_status()
        return re.findall("<Key>(.*?)</Key>", answer.text)

    def claim(self) -> Claim:
        """Claim until this owner's job comes: others of this session may wait in the queue too."""
        while True:
            with self.sessions.begin() as session:
                claim = claim_job(session, queue=self.settings.queue, worker="test", lease_seconds=600)
            assert claim is not None
            if str(self.id) in claim.model.key:
                return claim

    def succeed(self, claim: Claim) -> None:
        artifacts = []
        for name, (filename, content, media_type) in ARTIFACTS.items():
            key = attempt_key(claim.job_id, claim.attempt, filename)
            stored = self.store.put_stream(key, io.BytesIO(content))
            artifacts.append(StoredArtifact(name, key, stored.bytes, stored.sha256, media_type))
        with self.sessions.begin() as session:
            settle_succeeded(session, claim, artifacts)


@pytest.fixture(scope="session")
def sessions(api_settings: ApiSettings) -> Iterator[sessionmaker[Session]]:
    engine = connect(api_settings.database_url.get_secret_value())
    yield session_factory(engine)
    engine.dispose()


@pytest.fixture(scope="session")
def store(api_settings: ApiSettings) -> ObjectStore:
    return ObjectStore(api_settings)


@pytest.fixture
def new_account(
    api_settings: ApiSettings, sessions: sessionmaker[Session], store: ObjectStore, address: str
) -> Iterator[Callable[..., Account]]:
    """Accounts on the shared API, or on the one at ``address``."""
    with ExitStack() as opened:

        def make(address: str = address) -> Account:
            with sessions.begin() as session:
                token = create_key(session, f"test-{uuid4()}")
                caller = authenticate(session, token)
            assert caller is not None
            # Without TLS there is nothing to verify; loading the certificates takes longer than most tests.
            http = httpx.Client(
                base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=60, verify=False
            )
            opened.enter_context(http)
            return Account(token, caller.id, api_settings, http, sessions, store)

        yield make


@pytest.fixture
def account(new_account: Callable[..., Account]) -> Account:
    return new_account()


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Wait until something is true."""

    def wait(condition: Callable[[], object], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "what was waited for did not happen"
            time.sleep(0.02)

    return wait


@pytest.fixture
def elsewhere(api_settings: ApiSettings) -> Callable[..., ApiSettings]:
    """The API's settings with some changed; a text for a secret is made one."""

    def change(**changes: object) -> ApiSettings:
        secret = {"database_url", "broker_url", "s3_access_key", "s3_secret_key"}
        wrapped = {k: SecretStr(str(v)) if k in secret else v for k, v in changes.items()}
        return api_settings.model_copy(update=wrapped)

    return change
