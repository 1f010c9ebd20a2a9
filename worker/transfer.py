"""Files to and from the object store, in transfers that can be broken off."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ladder_jobs.claims import UploadRef
from ladder_jobs.objects import MAX_PARTS, PART_BYTES, ObjectMissingError, ObjectStore, StoredObject
from worker.endings import InputLost

Check = Callable[[], None]
"""Called with every chunk; what it raises ends the transfer."""


def download(store: ObjectStore, upload: UploadRef, path: Path, check: Check) -> None:
    """Fetch an upload into a new file.

    Raises:
        InputLost: It is gone, or no longer the bytes that were uploaded.
    """
    digest, size = hashlib.sha256(), 0
    try:
        chunks = store.open(upload.key)
    except ObjectMissingError as error:
        raise InputLost(f"The uploaded {path.name} is gone from the object store") from error
    with path.open("xb") as file:
        for chunk in chunks:
            check()
            size += len(chunk)
            if size > upload.bytes:
                break  # more of it would only fill the disk
            file.write(chunk)
            digest.update(chunk)
    if (size, digest.hexdigest()) != (upload.bytes, upload.sha256):
        raise InputLost(f"The stored {path.name} is no longer the file that was uploaded")


def store_file(store: ObjectStore, key: str, path: Path, media_type: str, check: Check) -> StoredObject:
    """Store a file; a transfer that is broken off leaves no object.

    A file that grows meanwhile is stored as far as it went at the start.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        reader = _CheckedReader(file, check, size)
        part_bytes = max(PART_BYTES, -(-size // MAX_PARTS))
        return store.put_stream(key, reader, media_type=media_type, part_bytes=part_bytes)


class _CheckedReader:
    def __init__(self, file: BinaryIO, check: Check, size: int) -> None:
        self._file = file
        self._check = check
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        self._check()
        chunk = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(chunk)
        return chunk
