"""A child behind the real walls that attacks the machine: `climbing_child.py ATTACK TARGET CONFINEMENT`.

It confines itself as the real one does, speaks the protocol, attacks, and tells what came of it: the job
fails with the outcome as its message, unless the attack itself ends it.
"""

import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from worker.sandbox import Confinement, confine

ATTACK, TARGET = sys.argv[1], sys.argv[2]


def say(**message: object) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def read() -> None:
    Path(TARGET).read_bytes()


def connect() -> None:
    host, port = TARGET.split(":")
    socket.create_connection((host, int(port)))


def start_program() -> None:
    os.execv(TARGET, [TARGET])


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def signal_parent() -> None:
    os.kill(os.getppid(), signal.SIGKILL)


def fill_one_file() -> None:
    with Path("large").open("wb") as file:
        while True:
            file.write(bytes(1 << 20))


def fill_the_disk() -> None:
    number = 0
    while True:
        Path(f"file-{number}").write_bytes(os.urandom(1 << 20))
        number += 1


def hoard() -> None:
    held = []
    while True:
        held.append(b"\x01" * (8 << 20))


def start_threads() -> None:
    while True:
        threading.Thread(target=threading.Event().wait, daemon=True).start()


def spin() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        pass


def flood_the_pipe() -> None:
    while True:
        os.write(1, b"x" * 65_536)


def nest_deeply() -> None:
    os.write(1, b"[" * 60_000 + b"\n")
    spin()


def main() -> None:
    confine(Confinement.from_argument(sys.argv[3]))
    say(type="hello", version=2)
    sys.stdin.readline()
    say(type="progress", stage="validate", progress=0.1)
    try:
        globals()[ATTACK]()
    except (OSError, RuntimeError) as error:
        outcome = str(error)
    else:
        outcome = "succeeded"
    say(type="failed", code="internal", message=outcome)


if __name__ == "__main__":
    main()
