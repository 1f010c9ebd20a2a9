"""Which split and class an image belongs to, by the folders it is in: torchvision's ImageFolder layout."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from posixpath import splitext

from ladder_core.datasets.images import EXTENSIONS
from ladder_core.errors import DatasetError
from ladder_core.text import shown, shown_list
from ladder_schema.errors import ErrorCode

MAX_CLASSES = 100_000

_LAYOUT = "put images into train/<class>/ and test/<class>/, or into one folder per class"


class Part(StrEnum):
    """A part of a dataset as it was uploaded."""

    TRAIN = "train"
    TEST = "test"
    VALIDATION = "validation"


PARTS = {
    "train": Part.TRAIN,
    "training": Part.TRAIN,
    "test": Part.TEST,
    "testing": Part.TEST,
    "val": Part.VALIDATION,
    "valid": Part.VALIDATION,
    "validation": Part.VALIDATION,
}
"""What the parts are called, in folders and in the names of Parquet shards."""


@dataclass(frozen=True)
class Place:
    """Where an image belongs."""

    part: Part
    label: int


@dataclass(frozen=True)
class Layout:
    """The folders of an archive, read.

    Attributes:
        class_names: Sorted as text, which is how torchvision numbers them.
        notes: What was decided.
    """

    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    _places: dict[tuple[str, ...], Place]

    def place(self, name: str) -> Place | None:
        """Return where a member belongs; None if it is no image, or in no class's folder."""
        folders = image_folders(name)
        return None if folders is None else self._places.get(folders)


def image_folders(name: str) -> tuple[str, ...] | None:
    """Return the folders a member is in; None if its name is not an image's, or hidden."""
    if splitext(name)[1].lower() not in EXTENSIONS:
        return None
    parts = [part for part in name.replace("\\", "/").split("/") if part not in {"", "."}]
    # Hidden files and __MACOSX hold what a file manager keeps about an image, under the image's own name.
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return None
    return tuple(parts[:-1])


def read_layout(names: Iterable[str]) -> Layout:
    """Find splits and classes in the names of an archive's members.

    Raises:
        DatasetError: The images are not in folders of classes.
    """
    folders: Counter[tuple[str, ...]] = Counter()
    others = 0
    for name in names:
        found = image_folders(name)
        if found is None:
            others += 1
        else:
            folders[found] += 1
    if not folders:
        raise DatasetError(
            ErrorCode.DATASET_UNREADABLE,
            f"the archive holds no image by its name ({', '.join(EXTENSIONS)}): {_LAYOUT}",
        )
    classes = _classes(folders)
    class_names = tuple(sorted({name for _, name in classes.values()}))
    if not class_names:
        raise DatasetError(
            ErrorCode.DATASET_UNLABELLED, f"the images are in no folder that names their class: {_LAYOUT}"
        )
    if len(class_names) > MAX_CLASSES:
        raise DatasetError(
            ErrorCode.DATASET_LABELS_INVALID,
            f"the archive has {len(class_names)} folders of classes: {MAX_CLASSES} are accepted; {_LAYOUT}",
        )
    labels = {name: label for label, name in enumerate(class_names)}
    places = {folder: Place(part, labels[name]) for folder, (part, name) in classes.items()}
    placed = sum(count for folder, count in folders.items() if folder in places)
    notes = list(_order_notes(class_names))
    if others:
        notes.append(f"Files that are no images by their name were left out: {others}.")
    if placed < folders.total():
        notes.append(f"Images outside of the classes' folders were left out: {folders.total() - placed}.")
    return Layout(class_names, tuple(notes), places)


def _classes(folders: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], tuple[Part, str]]:
    """Return the part and the class of every folder that has one."""
    depth = _wrappers([folder for folder in folders if folder])
    inner = {folder: folder[depth:] for folder in folders}
    # A folder "train" with images right in it is a class of that name, say in a set of vehicles.
    if any(len(rest) > 1 and rest[0].lower() in PARTS for rest in inner.values()):
        return {
            folder: (PARTS[rest[0].lower()], rest[1])
            for folder, rest in inner.items()
            if len(rest) > 1 and rest[0].lower() in PARTS
        }
    return {folder: (Part.TRAIN, rest[0]) for folder, rest in inner.items() if rest}


def _wrappers(folders: list[tuple[str, ...]]) -> int:
    """Return how many folders are around all others, such as the name of the dataset.

    Images may lie beside what it wraps, a preview or a logo, as long as it wraps parts or several classes.
    """
    depth = 0
    while folders and len({folder[depth] for folder in folders}) == 1:
        below = {folder[depth + 1].lower() for folder in folders if len(folder) > depth + 1}
        has_strays = any(len(folder) == depth + 1 for folder in folders)
        if folders[0][depth].lower() in PARTS or not below or (has_strays and not _can_be_wrapped(below)):
            break
        depth += 1
        folders = [folder for folder in folders if len(folder) > depth]
    return depth


def _can_be_wrapped(names: set[str]) -> bool:
    return len(names) > 1 or bool(names & PARTS.keys())


def _order_notes(class_names: tuple[str, ...]) -> Iterable[str]:
    # Python refuses to make a number of thousands of digits.
    if all(name.isdecimal() and len(name) < 20 for name in class_names):
        by_number = tuple(sorted(class_names, key=int))
        if by_number != class_names:
            yield (
                "The classes' folders are numbers; they were ordered as text, as torchvision does: "
                f"{shown_list(class_names, 12)}."
            )
    if any(shown(name) != name for name in class_names):
        yield "Names of classes were shortened, or had characters that cannot be shown."
