"""What the walls around a model cost: milliseconds at its start, and a ratio in training.

python -m benchmarks.sandbox [--rounds 9]

Each round starts a process that raises the walls and one that does not, in turns, and trains the same small
network in both.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from worker.environment import child_environment
from worker.sandbox import Confinement

MAX_START_MILLISECONDS = 100.0
STEPS = 150

_TRAINING = """
import json, sys, time
from worker.sandbox import Confinement, confine
began = time.perf_counter()
if sys.argv[1] == "inside":
    confine(Confinement.from_argument(sys.argv[2]))
raised = time.perf_counter() - began
import torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Flatten(),
                      nn.Linear(32 * 28 * 28, 10))
optimiser = torch.optim.SGD(model.parameters(), 0.01)
images, labels = torch.rand(64, 3, 32, 32), torch.arange(64) % 10
for step in range(int(sys.argv[3]) + 10):
    if step == 10:
        began = time.perf_counter()
    optimiser.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimiser.step()
print(json.dumps([raised, time.perf_counter() - began]))
"""


def run(where: str, directory: Path) -> tuple[float, float]:
    """Seconds of raising the walls, and of training, in a process of its own."""
    confinement = Confinement(
        writable=str(directory),
        readable=(str(directory),),
        max_file_bytes=1 << 30,
        max_cpu_seconds=3600,
        parent=os.getpid(),
        own_user=False,
        gpu=False,
        strict=True,
    )
    command = [sys.executable, "-I", "-c", _TRAINING, where, confinement.to_argument(), str(STEPS)]
    result = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, cwd=directory, env=child_environment(directory)
    )
    raised, trained = json.loads(result.stdout)
    return raised, trained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    starts, ratios = [], []
    with tempfile.TemporaryDirectory(prefix="ladder-sandbox-") as name:
        for number in range(rounds):
            order = ("inside", "outside") if number % 2 else ("outside", "inside")
            times = {where: run(where, Path(name)) for where in order}
            starts.append(times["inside"][0] * 1e3)
            ratios.append(times["inside"][1] / times["outside"][1])
    when, load = time.strftime("%Y-%m-%d"), os.getloadavg()[0]
    print(f"{rounds} rounds, {os.cpu_count()} cores, load {load:.1f} at the end, {when}\n")
    print("| | median | largest |\n|---|---|---|")
    print(f"| raising the walls, ms | {statistics.median(starts):.1f} | {max(starts):.1f} |")
    print(f"| training inside over outside | {statistics.median(ratios):.3f} | {max(ratios):.3f} |")
    if statistics.median(starts) > MAX_START_MILLISECONDS:
        raise SystemExit(f"more than {MAX_START_MILLISECONDS:.0f} ms")


if __name__ == "__main__":
    main()
