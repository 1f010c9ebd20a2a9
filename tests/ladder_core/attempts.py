"""Runs of one job that end before their time, and go on in another attempt."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ladder_core.checkpoints import Checkpoints
from ladder_core.pipeline import run_pipeline
from ladder_core.records import _checksum
from ladder_schema.config import resolve_config
from ladder_schema.jobs import Stage
from ladder_schema.protocol import CheckpointName, ResultFile
from ladder_schema.report import Report

NEVER = 1e9
SMALL_EVALUATION = {
    "attacks": ["fgsm", "pgd"],
    "autoattack": "off",
    "black_box": ["transfer"],
    "corruptions": False,
    "curve_points": 0,
}
"""Of the standard preset's evaluation, what the digits have time for."""

Texts = dict[str, dict]
Tensors = dict[str, torch.Tensor]


class Killed(BaseException):
    """Ends a run as SIGKILL would: nothing of the pipeline's own catches it."""


@dataclass
class Attempt:
    """What one attempt said and left."""

    seen: list[tuple[Stage, float, str]] = field(default_factory=list)
    saved: list[CheckpointName] = field(default_factory=list)
    report: Report | None = None
    results: dict[ResultFile, bytes] = field(default_factory=dict)

    @property
    def outcome(self) -> tuple[dict, bytes, bytes]:
        """All that two runs of one job must have in common."""
        kept = self.report.model_dump(exclude={"created_at", "stage_seconds"})
        return kept, self.results[ResultFile.WEIGHTS], self.results[ResultFile.EXAMPLES]


@dataclass
class Job:
    """One job and the store that its attempts save to and go on from, as a worker would run them.

    Attributes:
        model: The upload.
        dataset: The upload.
        config: As a user writes it.
        directory: Of all the attempts.
        last: The latest attempt, also while it runs.
    """

    model: Path
    dataset: Path
    config: dict
    directory: Path
    attempts: int = 0
    last: Attempt = field(default_factory=Attempt)

    @property
    def store(self) -> Path:
        return self.directory / "store"

    def elsewhere(self, name: str) -> "Job":
        """The same job with a store of its own."""
        return Job(self.model, self.dataset, self.config, self.directory / name)

    def run(
        self, on_progress: Callable[[int, Stage], bool] = lambda *_: True, *, every: float = NEVER
    ) -> Attempt:
        """Run one attempt, in a directory of its own; ``on_progress`` is told the number of the call."""
        attempt = self.last = Attempt()
        self.attempts += 1
        work_dir = self.directory / f"attempt-{self.attempts}"
        work_dir.mkdir(parents=True)
        self.store.mkdir(exist_ok=True)

        def on_saved(name: CheckpointName) -> None:
            attempt.saved.append(name)
            (work_dir / "checkpoints" / name).replace(self.store / name)

        def told(stage: Stage, progress: float, detail: str) -> bool:
            attempt.seen.append((stage, progress, detail))
            return on_progress(len(attempt.seen), stage)

        attempt.report = run_pipeline(
            self.model,
            self.dataset,
            work_dir,
            resolve_config(self.config),
            device="cpu",
            on_progress=told,
            checkpoints=Checkpoints(work_dir / "checkpoints", self.store, every, on_saved),
        )
        attempt.results = {name: (work_dir / name).read_bytes() for name in ResultFile}
        return attempt


def rewrite(path: Path, change: Callable[[Texts, Tensors], None]) -> None:
    """Change a checkpoint as somebody would who knows how its checksum is made."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        texts = {name: json.loads(text) for name, text in file.metadata().items() if name != "checksum"}
    change(texts, tensors)
    written = {name: json.dumps(content) for name, content in texts.items()}
    save_file(tensors, path, metadata={**written, "checksum": f"{_checksum(written, tensors):08x}"})
