"""Peak memory of a `quick` job on a dataset larger than the memory it may have.

python -m benchmarks.memory [--gib 4] [--only FORM] [--directory DIRECTORY]

Makes a dataset of as many GiB decoded, as an npz of small images, as a zip of folders of JPEGs of 224 pixels,
and as Parquet shards of the same; hardens a classifier of it in the worker's own child process; and samples
the memory that is the child's own: anonymous and shared pages, as the worker limits them. Files that are
mapped lie in the page cache, which the kernel takes back when it wants.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from ladder_schema.config import resolve_config
from ladder_schema.protocol import ResultFile, Start
from worker.sandbox import Confinement

CLASSES, TEST_SHARE, GRAIN = 10, 0.02, 32
MAX_BYTES, MAX_SECONDS = 3 << 30, 15 * 60
CHUNK_BYTES = 24 << 20
SAMPLES_PER_SECOND = 20


@dataclass
class Measured:
    """How a job went: its end, its time, and the most memory it had in each stage."""

    ending: str = ""
    seconds: float = 0.0
    peaks: dict[str, int] = field(default_factory=dict)

    @property
    def peak(self) -> int:
        return max(self.peaks.values(), default=0)


def make_images(seed: int, count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a brighter tile whose place is the class: (count, H, W, 3) uint8 and (count,) labels.

    However large the image, it has as many grains of noise: a photograph is no noise to a JPEG encoder.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    images = rng.integers(0, 160, (count, GRAIN, GRAIN, 3), dtype=np.uint8)
    tile = GRAIN // 4
    for label in range(CLASSES):
        row, column = divmod(label, 4)
        images[labels == label, row * tile : (row + 1) * tile, column * tile : (column + 1) * tile] += 90
    times = side // GRAIN
    return images.repeat(times, axis=1).repeat(times, axis=2), labels


def chunks(count: int, side: int, first_seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    most = CHUNK_BYTES // image_bytes(side)
    for number, start in enumerate(range(0, count, most)):
        yield make_images(first_seed + number, min(most, count - start), side)


def image_bytes(side: int) -> int:
    return 3 * side * side


def write_npz(path: Path, train: int, test: int, side: int) -> None:
    """Write as ``numpy.savez`` does, a chunk at a time."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, count, seed in (("train", train, 1), ("test", test, 1_000_000)):
            labels: list[np.ndarray] = []
            with archive.open(f"x_{name}.npy", "w", force_zip64=True) as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": (count, side, side, 3)}
                np.lib.format.write_array_header_1_0(file, header)
                for images, some in chunks(count, side, seed):
                    file.write(images.tobytes())
                    labels.append(some)
            with archive.open(f"y_{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.concatenate(labels))


def write_folders(path: Path, train: int, test: int, side: int) -> None:
    """Write JPEGs in one folder per class."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, count, seed in (("train", train, 1), ("test", test, 1_000_000)):
            number = 0
            for images, labels in chunks(count, side, seed):
                for image, label in zip(images, labels, strict=True):
                    archive.writestr(f"{name}/class {label}/{number:07}.jpg", jpeg(image))
                    number += 1


def write_shards(path: Path, train: int, test: int, side: int) -> None:
    """Write Parquet shards of JPEGs and labels, as the datasets library names and fills them."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, count, seed in (("train", train, 1), ("test", test, 1_000_000)):
            for number, (images, labels) in enumerate(chunks(count, side, seed)):
                rows = [{"bytes": jpeg(image), "path": None} for image in images]
                buffer = io.BytesIO()
                pq.write_table(pa.table({"image": rows, "label": labels}), buffer)
                archive.writestr(f"data/{name}-{number:05}.parquet", buffer.getbuffer())


def jpeg(image: np.ndarray) -> bytes:
    """Encode in good quality."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@dataclass(frozen=True)
class Form:
    """How a dataset is laid out.

    Attributes:
        side: Height and width of an image.
        write: Makes the file, of so many images to train on, to test on, and of such a side.
        config: Of the job.
    """

    side: int
    write: Callable[[Path, int, int, int], None]
    config: Mapping[str, Any]


QUICK = {"method": "ladder", "preset": "quick"}
# A generator of images of 224 pixels takes hours to train without a GPU.
WITHOUT_GENERATOR = {"method": "pgd", "preset": "quick", "retraining": {"epochs": 1}}
FORMS = {
    "npz": Form(32, write_npz, QUICK),
    "folders": Form(224, write_folders, WITHOUT_GENERATOR),
    "parquet": Form(224, write_shards, WITHOUT_GENERATOR),
}


def write_model(path: Path, side: int) -> None:
    """Train a small classifier of the tiles and save it as TorchScript."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, 16, 2, 2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, CLASSES),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(200):
        images, labels = make_images(2_000_000 + step, 128, side)
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        loss = functional.cross_entropy(model(pixels), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.jit.script(model.eval()).save(str(path))


def run_job(model: Path, dataset: Path, work_dir: Path, raw: Mapping[str, Any]) -> Measured:
    """Harden in the worker's child, as a worker starts it, and watch its memory."""
    work_dir.mkdir()
    config = resolve_config(raw)
    start = Start(model=model, dataset=dataset, work_dir=work_dir, device="cpu", config=config)
    confinement = Confinement(
        writable=str(work_dir),
        readable=(str(model.parent),),
        max_file_bytes=1 << 40,
        max_cpu_seconds=24 * 3600,
        parent=os.getpid(),
        own_user=False,
        gpu=False,
        strict=True,
    )
    command = [sys.executable, "-I", "-m", "worker.child", confinement.to_argument()]
    measured, began = Measured(), time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=work_dir
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(start.model_dump_json().encode() + b"\n")
        child.stdin.flush()
        stage = ["start"]
        watch = threading.Thread(target=_watch, args=(child, stage, measured), daemon=True)
        watch.start()
        for line in child.stdout:
            message = json.loads(line)
            if message.get("stage") not in {None, stage[0]}:
                stage[0] = message["stage"]
                print(f"{time.monotonic() - began:5.0f} s: {stage[0]}", file=sys.stderr, flush=True)
            if message["type"] in {"done", "failed"}:
                measured.ending = f"{message['type']} {message.get('message', '')}".strip()
        child.wait()
        watch.join()
    measured.seconds = time.monotonic() - began
    return measured


def _watch(child: subprocess.Popen[bytes], stage: list[str], measured: Measured) -> None:
    while child.poll() is None:
        try:
            status = Path(f"/proc/{child.pid}/status").read_text()
        except OSError:
            return
        values = dict(line.split(":", 1) for line in status.splitlines())
        kib = sum(int(values.get(name, "0 kB").split()[0]) for name in ("RssAnon", "RssShmem"))
        measured.peaks[stage[0]] = max(measured.peaks.get(stage[0], 0), kib << 10)
        time.sleep(1 / SAMPLES_PER_SECOND)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=4.0, help="size of each dataset, decoded")
    parser.add_argument("--only", choices=FORMS, help="one form of dataset")
    parser.add_argument("--directory", type=Path, help="where to work; three times the size is needed")
    arguments = parser.parse_args()
    within = True
    with tempfile.TemporaryDirectory(prefix="ladder-memory-", dir=arguments.directory) as name:
        print("| dataset | pixels | decoded | images | seconds | peak MiB | MiB by stage | ending |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for form in [arguments.only] if arguments.only else FORMS:
            within &= measure(Path(name), form, arguments.gib)
    if not within:
        raise SystemExit(f"more than {MAX_BYTES >> 30} GiB or {MAX_SECONDS // 60} minutes, or not done")


def measure(directory: Path, name: str, gib: float) -> bool:
    """Make one dataset, run one job, print a row of the table; return whether it kept to the limits."""
    form = FORMS[name]
    count = int(gib * 2**30) // image_bytes(form.side)
    test = int(TEST_SHARE * count)
    model, dataset, work_dir = directory / "model.pt", directory / "dataset", directory / f"work-{name}"
    write_model(model, form.side)
    form.write(dataset, count - test, test, form.side)
    measured = run_job(model, dataset, work_dir, form.config)
    stages = ", ".join(f"{stage} {peak >> 20}" for stage, peak in measured.peaks.items())
    print(
        f"| {name} | {form.side} | {gib:g} GiB | {count:,} | {measured.seconds:.0f} | "
        f"{measured.peak >> 20:,} | {stages} | {measured.ending} |",
        flush=True,
    )
    done = (work_dir / ResultFile.REPORT).is_file()
    shutil.rmtree(work_dir)
    return done and measured.peak <= MAX_BYTES and measured.seconds <= MAX_SECONDS


if __name__ == "__main__":
    main()
