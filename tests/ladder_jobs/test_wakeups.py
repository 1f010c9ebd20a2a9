"""Wake-ups: sent when the broker is there, and no burden when it is not."""

import socket
import socketserver
import threading
import time
from typing import ClassVar
from uuid import uuid4

import pytest
from kombu.exceptions import OperationalError
from pydantic import SecretStr

from ladder_jobs.wakeups import WORK_TASK, celery_app, ping_broker, send_wakeup, task_queue, wakeups_waiting


def elsewhere(settings, url):
    return celery_app(settings.model_copy(update={"broker_url": SecretStr(url)}))


def test_a_wakeup_names_a_queue_and_waits_there(settings):
    app, queue = celery_app(settings), f"test-{uuid4()}"
    assert not wakeups_waiting(app, queue)
    assert send_wakeup(app, queue)
    assert wakeups_waiting(app, queue)
    with app.connection_for_read() as connection, connection.SimpleQueue(task_queue(queue)) as waiting:
        message = waiting.get(timeout=5)
        assert message.headers["task"] == WORK_TASK
        assert message.payload[0] == [queue]
        message.ack()
    assert not wakeups_waiting(app, queue)


def test_a_broker_that_refuses_costs_nothing(settings):
    app = elsewhere(settings, "redis://127.0.0.1:1/0")
    began = time.monotonic()
    assert not send_wakeup(app, "gpu")
    with pytest.raises(OperationalError):
        ping_broker(app)
    assert time.monotonic() - began < 2


class Quitter(socketserver.StreamRequestHandler):
    """A broker that greets everybody, and hangs up, refuses or falls silent when it comes to a queue."""

    answer: bytes | None = b""
    greetings: ClassVar = {b"PING": b"+PONG\r\n", b"HELLO": b"%1\r\n$5\r\nproto\r\n:3\r\n"}

    def handle(self) -> None:
        while words := self._read_command():
            if words[0] in {b"LLEN", b"LPUSH"}:
                if self.answer is None:
                    self.rfile.read(1)  # until the client has had enough
                else:
                    self.wfile.write(self.answer)
                return
            self.wfile.write(self.greetings.get(words[0], b"+OK\r\n"))

    def _read_command(self) -> list[bytes]:
        count = int(self.rfile.readline().strip()[1:] or b"0")
        return [self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2] for _ in range(count)]


class HangsUp(Quitter):
    answer = b""


class Refuses(Quitter):
    answer = b"-NOPERM this user has no permissions\r\n"


class FallsSilent(Quitter):
    answer = None


@pytest.mark.parametrize("handler", [HangsUp, Refuses, FallsSilent])
def test_a_broker_that_is_lost_after_its_greeting_is_the_same_error(settings, handler):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()
        try:
            app = elsewhere(settings, f"redis://127.0.0.1:{server.server_address[1]}/0")
            with pytest.raises(OperationalError):
                wakeups_waiting(app, "gpu")
            assert not send_wakeup(app, "gpu")
        finally:
            server.shutdown()


def test_a_broker_that_says_nothing_costs_seconds(settings):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        app = elsewhere(settings, f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        began = time.monotonic()
        assert not send_wakeup(app, "gpu")
        assert time.monotonic() - began < 8
