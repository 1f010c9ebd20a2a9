"""The files of a job that has succeeded."""

import hashlib
import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def report(start: dict[str, Any]) -> dict[str, Any]:
    outcome = {"both": 9, "only_before": 0, "only_after": 0, "neither": 1}
    count_fields = {"classes": 10, "latent_dimension": 4, "parameter_count": 50}
    return {
        "created_at": datetime.now(UTC).isoformat(),
        "config": start["config"],
        "verdict": {"recommendation": "deploy", "headline": "Fine."},
        "measurements": {"clean": outcome, "attacks": [], "worst_case": outcome},
        "hardened_sha256": hashlib.sha256(b"a model").hexdigest(),
        "model": {"sha256": sha256(start["model"]), **count_fields, "head": "fc", "output": "logits"},
        "dataset": {
            "sha256": sha256(start["dataset"]),
            "image_shape": [1, 8, 8],
            "train_samples": 10,
            "test_samples": 10,
            "class_names": ["a", "b"],
            "train_per_class": [5, 5],
            "test_per_class": [5, 5],
        },
        "stage_seconds": {"validate": 0.1},
        "device": "cpu",
        "versions": {},
    }


def sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write_results(start: dict[str, Any], **changes: bytes) -> None:
    """Write the four files; `changes` replaces one's content, by its stem."""
    work_dir = Path(start["work_dir"])
    header = json.dumps({"w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}).encode()
    contents = {
        "model.pt": zipped({"model/data.pkl": b"a model"}),
        "weights.safetensors": len(header).to_bytes(8, "little") + header + bytes(4),
        "report.json": json.dumps(report(start)).encode(),
    }
    for name, content in contents.items():
        (work_dir / name).write_bytes(changes.get(name.partition(".")[0], content))
    (work_dir / "examples.zip").write_bytes(zipped({"index.json": b"[]"}))


def zipped(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()
