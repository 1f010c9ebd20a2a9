"""Reads Parquet as Hugging Face lays out image datasets: a column of encoded images beside one of labels.

Rows are streamed, a few at a time. Of several shards in an archive one at a time is unpacked, under a name of
our own, because Parquet is read from its end.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ladder_core.datasets.archives import READ_ERRORS, Archive
from ladder_core.datasets.base import Dataset
from ladder_core.datasets.columns import Columns, find_columns
from ladder_core.datasets.images import MAX_ENCODED_BYTES, BadImageError, Wanted
from ladder_core.datasets.layout import MAX_CLASSES, PARTS, Part
from ladder_core.datasets.reader import ImageReader, Sample
from ladder_core.errors import DatasetError
from ladder_core.harm.containers import check_ratio
from ladder_core.harm.limits import DATASET_LIMITS
from ladder_core.text import quoted, shown
from ladder_schema.errors import ErrorCode

EXTENSION = ".parquet"

_MAX_ROWS = 32
_BATCH_BYTES = 64 << 20
# What a damaged footer claims is not to become an allocation.
_FOOTER_LIMIT = 64 << 20
_READ_ERRORS = (*READ_ERRORS, pa.ArrowException, KeyError, IndexError)
_UNLABELLED = -1


@dataclass(frozen=True)
class Shard:
    """A Parquet file of the dataset, while it can be read.

    Attributes:
        name: For messages only.
        part: The part of the dataset it is.
        path: Where it lies.
    """

    name: str
    part: Part
    path: Path


def load_parquet(
    source: Path | Archive,
    work_dir: Path,
    *,
    wanted: Wanted,
    max_bad_images: float,
    label_column: str | None,
    seed: int,
) -> Dataset:
    """Read a labelled image dataset.

    Args:
        source: One Parquet file, or an archive of shards named ``train-*``, ``test-*``, ``validation-*``.
        work_dir: Takes the decoded images; must outlive the dataset.
        wanted: Size and channels to bring the images to.
        max_bad_images: Largest share of images that may be left out.
        label_column: The column of labels, where the configuration names it.
        seed: Seeds the stratified split where there is no test split.

    Raises:
        DatasetError: A file is damaged or holds no labelled images, or its images cannot be used.
    """
    rows = _Rows(label_column)
    reader = ImageReader(work_dir / "dataset-images.raw", wanted, max_bad_images)
    reader.read(sample for shard in _shards(source, work_dir) for sample in rows.of(shard))
    form = "Parquet" if isinstance(source, Path) else "Parquet shards in an archive"
    class_names = rows.class_names
    if rows.texts:
        class_names = tuple(sorted(rows.texts))
        numbers = {name: number for number, name in enumerate(class_names)}
        reader.renumber(np.array([numbers[name] for name in rows.texts], dtype=np.int64))
    notes = (f"Rows without a label were left out: {rows.unlabelled}.",) if rows.unlabelled else ()
    return reader.dataset(class_names, notes, form=form, seed=seed)


def _shards(source: Path | Archive, work_dir: Path) -> Iterator[Shard]:
    if isinstance(source, Path):
        yield Shard("the Parquet file", Part.TRAIN, source)
        return
    path = work_dir / f"dataset-shard{EXTENSION}"
    for member in source.members():
        if member.name.lower().endswith(EXTENSION):
            with _reading(member.name), member.open() as packed, path.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)
            yield Shard(member.name, part_of(member.name), path)
            path.unlink()


def part_of(name: str) -> Part:
    """Return the part a shard is of, by its own name or else the nearest folder's that says; else training.

    >>> part_of("data/validation-00000-of-00002.parquet")
    <Part.VALIDATION: 'validation'>
    """
    path = PurePosixPath(name.lower())
    for words in (path.stem, *reversed(path.parts[:-1])):
        part = PARTS.get(re.split(r"[-_.]", words)[0])
        if part is not None:
            return part
    return Part.TRAIN


class _Rows:
    """Reads the rows of shards, and remembers what must be the same in all of them."""

    def __init__(self, label_column: str | None) -> None:
        self._label_column = label_column
        self._first: Columns | None = None
        self._has_numbers = False
        self.texts: dict[str, int] = {}
        """Labels that are text, numbered as they come."""
        self.unlabelled = 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called, where a ClassLabel says."""
        return self._first.class_names if self._first else ()

    def of(self, shard: Shard) -> Iterator[Sample]:
        """Yield the labelled rows of a shard.

        Raises:
            DatasetError: It is damaged, without images or labels, or unlike the shards before.
        """
        with _reading(shard.name):
            file = pq.ParquetFile(
                shard.path,
                buffer_size=1 << 20,
                pre_buffer=False,
                thrift_string_size_limit=_FOOTER_LIMIT,
                thrift_container_size_limit=_FOOTER_LIMIT,
            )
        with file:
            with _reading(shard.name):
                schema = file.schema_arrow
            columns = find_columns(schema, self._label_column)
            if self._first is not None and columns.class_names != self._first.class_names:
                raise DatasetError(
                    ErrorCode.DATASET_LABELS_INVALID,
                    f"{shown(shard.name)} names other classes than the shards before it: send "
                    "shards of one dataset",
                )
            self._first = self._first or columns
            for number, (image, label) in enumerate(_rows(file, columns, shard.name)):
                index = self._label(label, number, shard.name)
                if index is not None:
                    yield Sample(f"{shard.name} row {number}", _content(image), shard.part, index)

    def _label(self, label: object, row: int, shard: str) -> int | None:
        """Return a label's class; None where the row has none, as those of hidden test sets."""
        if label is None or label == _UNLABELLED:
            self.unlabelled += 1
            return None
        if isinstance(label, str):
            index = self.texts.setdefault(label, len(self.texts))
        else:
            index = int(label)  # type: ignore[call-overload]
            self._has_numbers = True
        classes = len(self.class_names) or MAX_CLASSES
        if not 0 <= index < classes or (self.texts and self._has_numbers):
            raise DatasetError(
                ErrorCode.DATASET_LABELS_INVALID,
                f"row {row} of {shown(shard)} has the label {shown(str(label))}: give every row a class "
                f"index from 0 to {classes - 1}, or every row the name of its class",
            )
        return index


def _rows(file: pq.ParquetFile, columns: Columns, name: str) -> Iterator[tuple[Any, Any]]:
    """Yield the image and the label of every row, as Python values."""
    with _reading(name):
        _check_packing(file, columns, name)
        rows = _rows_at_once(file, columns.image)
        batches = file.iter_batches(rows, columns=[columns.image, columns.label], use_threads=False)
    while True:
        with _reading(name):
            batch = next(batches, None)
            if batch is None:
                return
            images, labels = batch.column(columns.image), batch.column(columns.label)
        for row in range(len(batch)):
            with _reading(name):
                image, label = images[row].as_py(), labels[row].as_py()
            yield image, label


def _check_packing(file: pq.ParquetFile, columns: Columns, name: str) -> None:
    """Check that what is read does not unpack to far more than the file holds, by the footer.

    Raises:
        DatasetError: ``DATASET_UNSAFE``, naming the column, and both sizes.
    """
    for column in (columns.image, columns.label):
        what = f"the column {quoted(column)} of {shown(name)}"
        size = packed = 0
        for _, chunk in _chunks(file, column):
            check_ratio(what, chunk.total_uncompressed_size, chunk.total_compressed_size, DATASET_LIMITS)
            size, packed = size + chunk.total_uncompressed_size, packed + chunk.total_compressed_size
        check_ratio(what, size, packed, DATASET_LIMITS)


def _rows_at_once(file: pq.ParquetFile, column: str) -> int:
    """So many rows that their images fit into a batch, also where few images are stored for many rows."""
    largest = 1
    for group_rows, chunk in _chunks(file, column):
        is_shared = any("DICTIONARY" in encoding for encoding in chunk.encodings)
        largest = max(largest, chunk.total_uncompressed_size // (1 if is_shared else max(1, group_rows)))
    return min(_MAX_ROWS, max(1, _BATCH_BYTES // largest))


def _chunks(file: pq.ParquetFile, column: str) -> Iterator[tuple[int, pq.ColumnChunkMetaData]]:
    """What the footer says of a column's parts, and of how many rows each is."""
    for group in map(file.metadata.row_group, range(file.metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            if chunk.path_in_schema.partition(".")[0] == column:
                yield group.num_rows, chunk


def _content(image: object) -> bytes | BadImageError:
    if isinstance(image, dict):
        image = image.get("bytes")
    if not isinstance(image, bytes):
        return BadImageError("has no bytes; a path alone leads nowhere here")
    if len(image) > MAX_ENCODED_BYTES:
        return BadImageError(f"is larger than the {MAX_ENCODED_BYTES >> 20} MiB accepted")
    return image


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except (DatasetError, MemoryError):
        raise
    except _READ_ERRORS as error:
        raise DatasetError(
            ErrorCode.DATASET_UNREADABLE,
            f"{shown(name)} cannot be read ({shown(str(error))}): it is cut short or damaged; write it again",
        ) from error
