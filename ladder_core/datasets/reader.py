"""Encoded images, decoded once: threads decode, one writer fills the cache, bad ones are counted.

Memory stays flat whatever the number of images: what is waiting to be decoded or written is bounded, and of
an image that is done only its label and its part are kept.
"""

import errno
import os
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ladder_core.datasets.base import BadImages, Dataset, Indices, Split
from ladder_core.datasets.cache import ImageCache
from ladder_core.datasets.images import (
    BadImageError,
    Finding,
    OtherSizeError,
    Pixels,
    Size,
    Wanted,
    decode,
    read_size,
)
from ladder_core.datasets.layout import Part
from ladder_core.datasets.splits import choose_splits
from ladder_core.errors import DatasetError
from ladder_core.text import shown
from ladder_schema.errors import ErrorCode

_MAX_THREADS = 4
_WAITING_BYTES = 64 << 20
_WAITING_IMAGES = 1_024
_GROUPS = 2 * _MAX_THREADS
_GROUP_BYTES = 1 << 20
_EXAMPLES = 20
_SIZES_LISTED = 8

_PARTS = tuple(Part)
_Look = Pixels | Size | BadImageError


@dataclass(frozen=True)
class Sample:
    """An encoded image and where it belongs.

    Attributes:
        name: For messages only.
        content: The encoded image, or why there is none.
        part: The part of the dataset it is in.
        label: Its class.
        extension: What its name says about its format; None where a name means nothing.
    """

    name: str
    content: bytes | BadImageError
    part: Part
    label: int
    extension: str | None = None


class ImageReader:
    """Decodes samples into a cache and makes a dataset of them."""

    def __init__(self, cache: Path, wanted: Wanted, max_bad_images: float) -> None:
        """Prepare.

        Args:
            cache: File to write; must outlive the dataset.
            wanted: Size and channels of the images.
            max_bad_images: Largest share of images that may be left out.
        """
        self._cache = ImageCache(cache)
        self._wanted = wanted
        self._max_bad = max_bad_images
        self._labels = array("q")
        self._parts = array("b")
        self._total = 0
        self._bad: list[str] = []
        self._bad_count = 0
        self._sizes: Counter[Size] = Counter()
        self._findings: Counter[Finding] = Counter()

    def read(self, samples: Iterable[Sample]) -> None:
        """Decode every sample, in order.

        Raises:
            DatasetError: The images have several sizes and none was asked for, too many are bad, or there is
                no room for them.
        """
        with self._cache:
            for sample, result in _in_order(samples, self._look, self._room):
                self._total += 1
                if isinstance(result, BadImageError):
                    self._leave_out(sample.name, result)
                elif isinstance(result, Pixels):
                    self._keep(sample, result)
                else:
                    self._sizes[result] += 1
        self._check_bad()
        self._check_sizes()

    def renumber(self, numbers: Indices) -> None:
        """Give every class c the number ``numbers[c]``."""
        self._labels = array("q", numbers[np.frombuffer(self._labels, dtype=np.int64)].tobytes())

    def dataset(self, class_names: tuple[str, ...], notes: Iterable[str], *, form: str, seed: int) -> Dataset:
        """Return what was read.

        Args:
            class_names: Of all classes; empty if the upload names none.
            notes: What was decided before the images were read.
            form: How the upload was laid out.
            seed: Of the stratified split, where there is no test split.

        Raises:
            DatasetError: There are no images or too few to split, or they are of one class.
        """
        images = self._cache.finish()
        labels = np.frombuffer(self._labels, dtype=np.int64)
        whole = Split(images, labels, np.arange(len(labels)), 1 / np.iinfo(images.dtype).max)
        parts = np.frombuffer(self._parts, dtype=np.int8)
        rows = {part: np.flatnonzero(parts == number) for number, part in enumerate(_PARTS)}
        train, test, split_notes = _splits(whole, rows, seed)
        return Dataset(
            train,
            test,
            tuple(shown(name) for name in class_names),
            (*notes, *split_notes, *self._notes()),
            form,
            BadImages(self._bad_count, tuple(self._bad)),
            test_given=any(len(rows[part]) for part in _PARTS if part != "train"),
        )

    def _look(self, sample: Sample) -> _Look:
        """Decode a sample, or, once it is clear that the sizes differ, read its size only; in a thread."""
        if isinstance(sample.content, BadImageError):
            return sample.content
        try:
            if len(self._sizes) > 1 and self._wanted.size is None:
                return read_size(sample.content, named=sample.extension)
            return decode(sample.content, self._wanted, named=sample.extension, expected=self._cache.size)
        except BadImageError as error:
            return error
        except OtherSizeError as error:
            return error.size

    def _room(self) -> int:
        """How many images may wait at a time, now that the size of a decoded one is known or not yet."""
        size = self._wanted.size or self._cache.size
        if size is None:
            return 1
        # Six bytes a pixel: three channels of 16 bits.
        return min(_WAITING_BYTES // (6 * size[0] * size[1]), _WAITING_IMAGES)

    def _keep(self, sample: Sample, image: Pixels) -> None:
        height, width = image.values.shape[1:]
        self._sizes[height, width] += 1
        if len(self._sizes) > 1:
            return
        try:
            self._cache.append(image.values)
        except OSError as error:
            if error.errno != errno.EFBIG:
                raise
            raise DatasetError(
                ErrorCode.DATASET_TOO_LARGE,
                f"decoded, the images are larger than a job's file may be; {len(self._cache)} of {height} x "
                f"{width} fitted: send fewer images, or set config.input.size to something smaller",
            ) from error
        self._labels.append(sample.label)
        self._parts.append(_PARTS.index(sample.part))
        self._findings.update(image.findings)

    def _leave_out(self, name: str, error: BadImageError) -> None:
        self._bad_count += 1
        if len(self._bad) < _EXAMPLES:
            self._bad.append(f"{shown(name)} {error}")

    def _check_bad(self) -> None:
        if not self._total:
            raise DatasetError(
                ErrorCode.DATASET_TOO_SMALL,
                "the dataset holds no labelled images: send at least 2 of every class",
            )
        share = self._bad_count / self._total
        if share > self._max_bad or self._bad_count == self._total:
            raise DatasetError(
                ErrorCode.DATASET_IMAGES_INVALID,
                f"{self._bad_count} of {self._total} images ({share:.1%}) cannot be used, where "
                f"config.max_bad_images accepts {self._max_bad:.1%}: {'; '.join(self._bad[:5])}"
                f"{'; ...' if self._bad_count > 5 else ''}",
            )

    def _check_sizes(self) -> None:
        if len(self._sizes) > 1:
            common = self._sizes.most_common(_SIZES_LISTED)
            listed = ", ".join(f"{height} x {width} ({count})" for (height, width), count in common)
            more = len(self._sizes) - len(common)
            raise DatasetError(
                ErrorCode.DATASET_IMAGES_INVALID,
                f"the images have {len(self._sizes)} sizes, and the model's file names none: set "
                f"config.input.size to [height, width]. Found, with how often: {listed}"
                f"{f', and {more} more sizes' if more else ''}",
            )

    def _notes(self) -> Iterator[str]:
        said = self._findings
        if count := said[Finding.RESIZED]:
            size = " x ".join(map(str, self._cache.size or ()))
            yield f"{count} images were resized to {size} (bilinear; their proportions were not kept)."
        if count := said[Finding.TRANSPARENT]:
            yield f"{count} images have transparent parts, which were laid onto black."
        if count := said[Finding.TO_GREY]:
            yield f"{count} colour images were made grey."
        if count := said[Finding.DEEP_COLOUR]:
            yield f"{count} images have 16 bits a colour, of which 8 were kept."
        if self._cache.mixed_channels:
            yield "Some images are grey and some in colour; the grey ones were given three equal channels."


def _in_order(
    samples: Iterable[Sample], look: Callable[[Sample], _Look], room: Callable[[], int]
) -> Iterator[tuple[Sample, _Look]]:
    """Run ``look`` over the samples in threads; Pillow's decoders release the interpreter lock.

    Small images go to the threads by the dozen: handing one over takes as long as decoding it.

    Args:
        samples: Read in this thread.
        look: Run in the others.
        room: How many images may wait at a time, as far as is known by now.
    """
    waiting: deque[tuple[int, Future[list[tuple[Sample, _Look]]]]] = deque()
    size = 0
    with ThreadPoolExecutor(_threads(), thread_name_prefix="decode") as pool:
        for group in _groups(samples, lambda: room() // _GROUPS):
            weight = sum(map(_weight, group))
            waiting.append((weight, pool.submit(lambda group: [(s, look(s)) for s in group], group)))
            size += weight
            while len(waiting) >= _GROUPS or size > _WAITING_BYTES:
                weight, future = waiting.popleft()
                size -= weight
                yield from future.result()
        for _, future in waiting:
            yield from future.result()


def _groups(samples: Iterable[Sample], most: Callable[[], int]) -> Iterator[list[Sample]]:
    group: list[Sample] = []
    size = 0
    for sample in samples:
        group.append(sample)
        size += _weight(sample)
        if len(group) >= most() or size > _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _weight(sample: Sample) -> int:
    return len(sample.content) if isinstance(sample.content, bytes) else 0


def _threads() -> int:
    return min(_MAX_THREADS, len(os.sched_getaffinity(0)))


def _splits(whole: Split, rows: dict[Part, Indices], seed: int) -> tuple[Split, Split, tuple[str, ...]]:
    """Return what is trained on, what is measured on, and what was decided."""
    train, test, validation = (rows[part] for part in _PARTS)
    if not len(train) and len(test) and len(validation):
        raise DatasetError(
            ErrorCode.DATASET_TOO_SMALL,
            "there are test and validation images but none to train on: add train/",
        )
    if not len(train):  # one part only, whatever it is called
        train, test, validation = np.concatenate([test, validation]), test[:0], validation[:0]
    return choose_splits(whole.subset(train), whole.subset(test), whole.subset(validation), seed=seed)
