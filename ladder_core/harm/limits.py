"""What an uploaded archive may be, and whose error it is when it is not."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import NoReturn

from ladder_core.errors import DatasetError, HardeningError, ModelError
from ladder_schema.errors import ErrorCode

_MIB = 1 << 20
_GIB = 1 << 30
# They reorder the text around them: a name that holds one reads as another.
_BIDIRECTIONAL = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class Upload:
    """One of the two things a user uploads, and how its errors are raised."""

    noun: str
    error: type[HardeningError]
    unsafe_code: ErrorCode
    unreadable_code: ErrorCode

    def unsafe(self, message: str) -> NoReturn:
        """Refuse an upload that could do harm.

        Raises:
            HardeningError: Always.
        """
        raise self.error(self.unsafe_code, f"the {self.noun} was refused: {message}")

    def unreadable(self, message: str) -> NoReturn:
        """Refuse an upload that is damaged.

        Raises:
            HardeningError: Always.
        """
        raise self.error(self.unreadable_code, f"the {self.noun} cannot be read: {message}; upload it again")


MODEL = Upload("model file", ModelError, ErrorCode.MODEL_UNSAFE, ErrorCode.MODEL_UNREADABLE)
DATASET = Upload("dataset", DatasetError, ErrorCode.DATASET_UNSAFE, ErrorCode.DATASET_UNREADABLE)


@dataclass(frozen=True)
class ArchiveLimits:
    """What `check_archive` lets through.

    Attributes:
        upload: What is being checked.
        max_entries: Files and folders in the archive.
        max_entry_bytes: One file, unpacked.
        max_total_bytes: All files, unpacked.
        max_ratio: Unpacked over packed size, of one file and of all together.
        ratio_floor_bytes: Files that unpack to less than this are never called bombs.
        strict: Whether nothing but the entries may be in the file: no comment, no gap. PyTorch finds its way
            through an archive differently from Python, and they must agree on what is in it.
    """

    upload: Upload
    max_entries: int
    max_entry_bytes: int
    max_total_bytes: int
    max_ratio: int
    ratio_floor_bytes: int
    strict: bool = False


# A program compresses well, and weights are stored as they are. The largest vision transformers keep some
# thousands of tensors.
MODEL_LIMITS = ArchiveLimits(MODEL, 50_000, 16 * _GIB, 32 * _GIB, 100, 8 * _MIB, strict=True)
# ImageNet has 1.3 million images. Labels and blank images compress a hundredfold and more.
DATASET_LIMITS = ArchiveLimits(DATASET, 2_000_000, 256 * _GIB, 512 * _GIB, 250, 64 * _MIB)


def path_fault(name: str) -> str | None:
    """What is wrong with the name of an entry, or None.

    Args:
        name: As the archive has it; a folder's ends in a slash.
    """
    if any(unicodedata.category(char) in ("Cc", "Cs") or char in _BIDIRECTIONAL for char in name):
        return "has control characters in its name"
    if "\\" in name:
        return "has a backslash in its name"
    if name.startswith("/"):
        return "has an absolute path"
    if name[1:2] == ":":
        return "names a drive"
    parts = name.removesuffix("/").split("/")
    if ".." in parts:
        return "leads out of the archive with '..'"
    if "" in parts or any(len(part) > 255 for part in parts) or len(parts) > 64:
        return "has a path no file system takes"
    return None
