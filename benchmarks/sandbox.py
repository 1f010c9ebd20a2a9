"""What the walls around a model cost: milliseconds at its start, and a ratio in training.

python -m benchmarks.sandbox [--rounds 9]

Each round starts a process that raises the walls and one that does not, in turns, and trains the same small
network in both; the first is watched as a worker watches its child. Processes are also started as a worker
starts its child, with one wall more each time, and timed up to their first word: as root with a user of their
own, and within bubblewrap where that is installed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from worker.bubblewrap import Bubblewrap, find_bubblewrap
from worker.environment import child_environment
from worker.identity import Identity, start_as
from worker.limits import Limits
from worker.runtime import Runtime
from worker.sandbox import Confinement
from worker.settings import WorkerSettings
from worker.users import borrowed, child_users
from worker.workspace import Workspace

MAX_START_MILLISECONDS = 100.0
STEPS = 60
WATCH_SECONDS = 0.1

_TRAINING = """
import json, sys, time
from worker.sandbox import Confinement, confine
if sys.argv[1] == "inside":
    confine(Confinement.from_argument(sys.argv[2]))
import torch
from torch import nn
torch.manual_seed(0)
torch.set_num_threads(1)  # of threads that wait for each other, a busy machine makes the time a lottery
model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Flatten(),
                      nn.Linear(32 * 28 * 28, 10))
optimiser = torch.optim.SGD(model.parameters(), 0.01)
images, labels = torch.rand(64, 3, 32, 32), torch.arange(64) % 10
for step in range(int(sys.argv[3]) + 10):
    if step == 10:
        began, began_cpu = time.perf_counter(), time.process_time()
    optimiser.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimiser.step()
print(json.dumps([time.perf_counter() - began, time.process_time() - began_cpu]))
"""
_STARTING = """
import sys
from worker.sandbox import Confinement, confine
if sys.argv[1] == "inside":
    confine(Confinement.from_argument(sys.argv[2]))
print("hello", flush=True)
"""


def confinement(directory: Path, parent: int) -> str:
    """As one argument."""
    return Confinement(
        writable=str(directory),
        readable=(str(directory),),
        max_file_bytes=1 << 30,
        max_cpu_seconds=3600,
        parent=parent,
        own_user=False,
        gpu=False,
        strict=True,
    ).to_argument()


def train(where: str, directory: Path, settings: WorkerSettings) -> tuple[float, float]:
    """Seconds of training in a process of its own, and seconds of them on a core."""
    walls = confinement(directory, os.getpid())
    command = [sys.executable, "-I", "-c", _TRAINING, where, walls, str(STEPS)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=directory, env=child_environment(directory)
    ) as process:
        limits = Limits(settings, Runtime(None, 3600.0, 0.0), process.pid, directory)
        while process.poll() is None:
            if where == "inside" and (exceeded := limits.exceeded()):
                raise SystemExit(str(exceeded))
            time.sleep(WATCH_SECONDS)
        assert process.stdout is not None
        seconds, on_core = json.loads(process.stdout.read())
        return seconds, on_core


def start(where: str, workspace: Workspace, identity: Identity | None, wall: Bubblewrap | None) -> float:
    """Milliseconds until a process says its first word."""
    parent = os.getpid() if wall is None else Bubblewrap.PARENT
    walls = confinement(workspace.output.resolve(), parent)
    began = time.perf_counter()
    with start_as(
        identity,
        (sys.executable, "-I", "-c", _STARTING, where, walls),
        workspace.root,
        cwd=workspace.output,
        env=child_environment(workspace.output),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        outer_wall=wall,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"hello\n"
        return (time.perf_counter() - began) * 1e3


def trainings(rounds: int, settings: WorkerSettings) -> dict[str, list[tuple[float, float]]]:
    """What `train` says of inside and outside the walls."""
    found: dict[str, list[tuple[float, float]]] = {"inside": [], "outside": []}
    with tempfile.TemporaryDirectory(prefix="ladder-sandbox-") as name:
        for number in range(rounds):
            order = ("inside", "outside") if number % 2 else ("outside", "inside")
            for where in order:
                found[where].append(train(where, Path(name), settings))
    return found


def starts(rounds: int, settings: WorkerSettings) -> dict[str, list[float]]:
    """Milliseconds until the first word, by which walls were raised before it."""
    users = child_users(settings)
    wall = find_bubblewrap(settings, users, gpu=False)
    with borrowed(users) as identity, Workspace(settings.work_dir / "job" / "1", identity) as workspace:
        kinds: dict[str, Callable[[], float]] = {
            "no walls": lambda: start("outside", workspace, None, None),
            "limits, landlock, seccomp": lambda: start("inside", workspace, None, None),
        }
        if identity is not None:
            kinds["and a user of its own"] = lambda: start("inside", workspace, identity, None)
        if wall is not None:
            kinds["and bubblewrap"] = lambda: start("inside", workspace, identity, wall)
        # Taken in turns: what else the machine does falls on all of them.
        found: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(rounds):
            for kind, measure in kinds.items():
                found[kind].append(measure())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    unused: dict[str, object] = {
        "database_url": "postgresql://unused", "broker_url": "redis://unused", "s3_endpoint": "unused:1",
        "s3_access_key": "unused", "s3_secret_key": "unused",
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="ladder-sandbox-") as name:
        settings = WorkerSettings(**(unused | {"work_dir": Path(name)}))
        milliseconds, seconds = starts(4 * rounds, settings), trainings(rounds, settings)
    when, load = time.strftime("%Y-%m-%d"), os.getloadavg()[0]
    print(f"{rounds} rounds, {os.cpu_count()} cores, load {load:.1f} at the end, {when}\n")
    print("| | median | largest |\n|---|---|---|")
    for kind, times in milliseconds.items():
        print(f"| first word of a process: {kind}, ms | {statistics.median(times):.1f} | {max(times):.1f} |")
    medians = [statistics.median(times) for times in milliseconds.values()]
    print(f"| all walls together, ms | {medians[-1] - medians[0]:.1f} | |")
    ratios = [
        statistics.median(times[number] for times in seconds["inside"])
        / statistics.median(times[number] for times in seconds["outside"])
        for number in range(2)
    ]
    print(f"| training inside over outside, time | {ratios[0]:.3f} | |")
    # What a busy machine does to the others it does least to this one.
    print(f"| training inside over outside, time on a core | {ratios[1]:.3f} | |")
    if medians[-1] - medians[0] > MAX_START_MILLISECONDS:
        raise SystemExit(f"more than {MAX_START_MILLISECONDS:.0f} ms")


if __name__ == "__main__":
    main()
