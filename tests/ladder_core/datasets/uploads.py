"""Dataset files in every layout, made from images that are known."""

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ladder_core.datasets import Dataset, load_dataset

Files = Mapping[str, bytes]


def pixels(number: int, size: tuple[int, int] = (6, 5), channels: int = 3) -> np.ndarray:
    """The image of a number: (H, W, C) uint8, C = 3, or (H, W)."""
    shape = (*size, channels) if channels == 3 else size
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: np.ndarray | Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, form, **options)
    return buffer.getvalue()


def png(number: int) -> bytes:
    return encoded(pixels(number))


def write_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: Files, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def table(
    images: Sequence[bytes | None], labels: Sequence[Any], names: Sequence[str] | None = None
) -> pa.Table:
    """As the datasets library writes it."""
    rows = [{"bytes": content, "path": f"{number}.png"} for number, content in enumerate(images)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {"image": pa.array(rows, kind), "label": pa.array(labels)}
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    if names is not None:
        features["label"] = {"names": list(names), "_type": "ClassLabel"}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.table(columns).replace_schema_metadata(metadata)


def write_parquet(path: Path, content: pa.Table, **options: Any) -> Path:
    pq.write_table(content, path, **options)
    return path


def parquet_bytes(content: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(content, buffer, **options)
    return buffer.getvalue()


def load(path: Path, work_dir: Path, **options: Any) -> Dataset:
    work_dir.mkdir(exist_ok=True)
    return load_dataset(path, work_dir, seed=0, **options)


def numbered(dataset: Dataset) -> list[np.ndarray]:
    """The training images as (H, W, C) uint8, or (H, W)."""
    images = (dataset.train.batch(range(len(dataset.train)))[0] * 255).round().byte()
    return [image.permute(1, 2, 0).squeeze(2).numpy() for image in images]
