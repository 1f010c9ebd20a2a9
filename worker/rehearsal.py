"""A child that is started as for a job and is given none: whether any could run here."""

from collections.abc import Iterator
from uuid import uuid4

from ladder_schema.protocol import PROTOCOL_VERSION, Done, Failed, Hello, Message, Rehearse
from worker.endings import OtherVersion, ProtocolViolation
from worker.launch import child_group, start_child
from worker.process import ChildProcess
from worker.text import last_words
from worker.tools import Tools
from worker.transfer import Check
from worker.users import borrowed
from worker.workspace import Workspace

_TICK_SECONDS = 0.1
_ATTEMPT = 0  # a job's first is 1


class RehearsalError(Exception):
    """No job could run here; why."""


def rehearse(tools: Tools, check: Check) -> None:
    """Start a child with all that an attempt's has, and have it compute a little on its device.

    Args:
        tools: The worker's.
        check: Called ten times a second; what it raises ends the child, and comes out.

    Raises:
        RehearsalError: It could not be started, did not live, or could not compute.
        OtherVersion: It is of another version than this worker.
    """
    name = f"rehearsal-{uuid4().hex}"
    try:
        with (
            borrowed(tools.users) as identity,
            Workspace(tools.settings.attempt_dir(name, _ATTEMPT), identity) as workspace,
            child_group(tools, name) as cgroup,
        ):
            child = start_child(tools, workspace, cgroup)
            try:
                complaint = _complaint(child, tools.device, check)
            finally:
                returncode = child.close()
    except OSError as error:
        raise RehearsalError(f"no process for a job can be started: {error}") from error
    except ProtocolViolation as violation:
        raise RehearsalError(f"a process without a job breaks the protocol: {violation}") from violation
    if complaint is not None:
        ended = f" (exit code {returncode})" if child.exited else ""
        words = last_words(child.log_tail, lines=1)
        raise RehearsalError(f"{complaint}{ended}. {words}".rstrip())


def _complaint(child: ChildProcess, device: str, check: Check) -> str | None:
    """What went wrong; None if nothing did."""
    for message in _heard(child, check):
        match message:
            case Hello(version=version) if version != PROTOCOL_VERSION:
                raise OtherVersion.of_child(version, PROTOCOL_VERSION)
            case Hello():
                child.enter_cgroup()
                child.send(Rehearse(device=device))
            case Done():
                return None
            case Failed() as failed:
                return f"a process without a job cannot compute on {device}: {failed.message}"
    return "a process without a job ended unasked"


def _heard(child: ChildProcess, check: Check) -> Iterator[Message]:
    while not child.exited:
        check()
        yield from child.receive(_TICK_SECONDS)
