"""Wake-ups: sent when the broker is there, and no burden when it is not."""

import socket
import time
from uuid import uuid4

import pytest
from kombu.exceptions import OperationalError
from pydantic import SecretStr

from ladder_jobs.wakeups import WORK_TASK, celery_app, ping_broker, send_wakeup, task_queue, wakeup_waits


def elsewhere(settings, url):
    return celery_app(settings.model_copy(update={"broker_url": SecretStr(url)}))


def test_a_wakeup_names_a_queue_and_waits_there(settings):
    app, queue = celery_app(settings), f"test-{uuid4()}"
    assert not wakeup_waits(app, queue)
    assert send_wakeup(app, queue)
    assert wakeup_waits(app, queue)
    with app.connection_for_read() as connection, connection.SimpleQueue(task_queue(queue)) as waiting:
        message = waiting.get(timeout=5)
        assert message.headers["task"] == WORK_TASK
        assert message.payload[0] == [queue]
        message.ack()
    assert not wakeup_waits(app, queue)


def test_a_broker_that_refuses_costs_nothing(settings):
    app = elsewhere(settings, "redis://127.0.0.1:1/0")
    began = time.monotonic()
    assert not send_wakeup(app, "gpu")
    with pytest.raises(OperationalError):
        ping_broker(app)
    assert time.monotonic() - began < 2


def test_a_broker_that_says_nothing_costs_seconds(settings):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        app = elsewhere(settings, f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        began = time.monotonic()
        assert not send_wakeup(app, "gpu")
        assert time.monotonic() - began < 8
