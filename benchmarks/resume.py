"""What a killed job still has to do: MNIST hardened once to its end, and once killed late in its training.

Exits with 1 where the part after the kill takes more than its share of the whole run, or ends differently.
What is compared is the seconds of all cores: those by the clock are as much about what else the machine does.

python -m benchmarks.resume --data mnist.npz [--model lenet.pt] [--config JSON] [--every SECONDS]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mnist_job import CONFIG, train
from ladder_core.methods.ladder import STAGE_WEIGHTS
from ladder_schema.jobs import Stage
from ladder_schema.protocol import ResultFile

KILLED_AT, MAX_SHARE = 0.8, 0.3

_ATTEMPT = """
import json, sys
from pathlib import Path
from ladder_core.checkpoints import Checkpoints
from ladder_core.pipeline import run_pipeline
from ladder_schema.config import resolve_config

def told(stage, progress, detail):
    print(json.dumps([stage, progress]), flush=True)
    return True

asked = json.loads(sys.argv[1])
work_dir, store = Path(asked["work_dir"]), Path(asked["store"])
checkpoints = work_dir / "checkpoints"
run_pipeline(
    Path(asked["model"]), Path(asked["data"]), work_dir, resolve_config(asked["config"]), device="cpu",
    on_progress=told,
    checkpoints=Checkpoints(
        checkpoints, store, asked["every"], lambda name: (checkpoints / name).replace(store / name)
    ),
)
"""


@dataclass(frozen=True)
class Attempt:
    """One process: its seconds by the clock and of all cores, and the weights it left."""

    seconds: float
    core_seconds: float
    weights: bytes | None


@dataclass(frozen=True)
class Job:
    model: Path
    data: Path
    config: dict[str, object]
    every: float

    def run(self, work_dir: Path, store: Path, *, kill_at: float = 2.0) -> Attempt:
        """Run an attempt in a process of its own; kill it where its progress, 0 to 1, comes to a point."""
        work_dir.mkdir()
        store.mkdir(exist_ok=True)
        asked = {
            "model": str(self.model),
            "data": str(self.data),
            "config": self.config,
            "every": self.every,
            "work_dir": str(work_dir),
            "store": str(store),
        }
        cores, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        command = [sys.executable, "-c", _ATTEMPT, json.dumps(asked)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if json.loads(line)[1] >= kill_at:
                    process.kill()
                    break
        if kill_at > 1 and process.returncode:
            raise SystemExit(f"the attempt ended with status {process.returncode}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        weights = work_dir / ResultFile.WEIGHTS
        return Attempt(
            time.monotonic() - clock,
            after.ru_utime + after.ru_stime - cores.ru_utime - cores.ru_stime,
            weights.read_bytes() if weights.exists() else None,
        )


def point(stage: Stage, share: float) -> float:
    """The progress of a run in which a share of a stage is done."""
    before = sum(weight for other, weight in STAGE_WEIGHTS.items() if other.precedes(stage))
    return (before + share * STAGE_WEIGHTS[stage]) / sum(STAGE_WEIGHTS.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz")
    parser.add_argument("--model", type=Path, help="a TorchScript LeNet to use instead of training one")
    parser.add_argument("--config", type=json.loads, default={}, help="JSON laid over the configuration")
    parser.add_argument("--every", type=float, default=30.0, help="seconds between saves of a training")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ladder-resume-") as name:
        directory = Path(name)
        model = arguments.model or directory / "lenet.pt"
        if arguments.model is None:
            train(arguments.data, model, epochs=2)
        config = CONFIG | {"evaluation": {"max_samples": 1000}} | arguments.config
        job = Job(model, arguments.data, config, arguments.every)
        whole = job.run(directory / "whole", directory / "whole-store")
        killed = job.run(directory / "killed", directory / "store", kill_at=point(Stage.RETRAIN, KILLED_AT))
        resumed = job.run(directory / "resumed", directory / "store")
    share = resumed.core_seconds / whole.core_seconds
    print("| MNIST, LeNet | seconds by the clock | of all cores | share of the whole run's |")
    print("|---|---|---|---|")
    rows = {"whole run": whole, f"killed at {KILLED_AT:.0%} of retraining": killed, "after that": resumed}
    for title, attempt in rows.items():
        of_whole = f"{attempt.core_seconds / whole.core_seconds:.0%}"
        print(f"| {title} | {attempt.seconds:.0f} | {attempt.core_seconds:.0f} | {of_whole} |")
    same = resumed.weights is not None and resumed.weights == whole.weights
    print(f"\nThe weights are {'the same' if same else 'DIFFERENT'}.")
    if share > MAX_SHARE or not same:
        raise SystemExit(
            f"Missed: {share:.0%} after the kill (at most {MAX_SHARE:.0%}), same weights: {same}"
        )


if __name__ == "__main__":
    main()
