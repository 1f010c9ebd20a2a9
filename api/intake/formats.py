"""Tells a file's format by its first bytes, and by its last whether it is whole; opens nothing."""

import struct

HEAD_BYTES = 264
"""How much of a file's beginning :func:`recognise` looks at."""

TAIL_BYTES = 22 + 0xFFFF
"""How much of its end :func:`flaw` looks at: a zip archive's end record with the longest comment."""

_ZIP = b"PK\x03\x04"
_ZIP_END = b"PK\x05\x06"
_LEAST_PARQUET = 12
_TAR_BLOCK = 512
_UNKNOWN_IN_ZIP32 = 0xFFFFFFFF

_PARQUET = b"PAR1"
_COMPRESSED = (b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00")

_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_SIGNATURES = (
    (_ZIP_END, "a zip archive with nothing in it"),
    (_LEGACY_TORCH, "a pickle written by an old torch.save (a state_dict or a whole module)"),
    (b"\x80", "a bare pickle"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras or h5py)"),
    (b"\x93NUMPY", "a single .npy array"),
    (_PARQUET, "a Parquet file"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
)


def is_zip(head: bytes) -> bool:
    """Whether a file begins as a zip archive with something in it does."""
    return head.startswith(_ZIP)


def is_dataset(head: bytes) -> bool:
    """Whether a file begins as a zip, a tar, a compressed file (of a tar, perhaps) or Parquet does."""
    return is_zip(head) or is_tar(head) or head.startswith((_PARQUET, *_COMPRESSED))


def is_tar(head: bytes) -> bool:
    """Whether a file begins as a tar archive does."""
    return head[257:262] == b"ustar"


def recognise(head: bytes) -> str:
    """What a file that is no zip archive looks like, in words."""
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if is_tar(head):
        return "a tar archive"
    if head[8:10] == b'{"':
        return "a safetensors file"
    if head[:1] == b"\x08" and (
        b"\x12\x07pytorch" in head or b"onnx" in head.lower() or head[2:3] in b"\x12:"
    ):
        return "an ONNX model"
    try:
        head.decode("ascii")
    except UnicodeDecodeError:
        return "no format known here"
    return "plain text"


def flaw(head: bytes, tail: bytes, size: int) -> str | None:
    """What shows, at its end, that a file is not whole.

    Args:
        head: The file's first bytes.
        tail: Its last, at most :data:`TAIL_BYTES`.
        size: The whole file's length.

    Returns:
        The flaw in words, or None; a compressed file's end says nothing.
    """
    if is_zip(head):
        return zip_flaw(tail, size)
    if head.startswith(_PARQUET):
        return (
            None
            if tail.endswith(_PARQUET) and size >= _LEAST_PARQUET
            else "it is cut short: its footer is missing"
        )
    if is_tar(head) and size % _TAR_BLOCK:
        return f"it is cut short: a tar archive is made of blocks of {_TAR_BLOCK} bytes"
    return None


def zip_flaw(tail: bytes, size: int) -> str | None:
    """What shows, at its end, that a zip archive is not whole.

    Args:
        tail: The file's last bytes, at most :data:`TAIL_BYTES`.
        size: The whole file's length.

    Returns:
        The flaw in words, or None.
    """
    at = tail.rfind(_ZIP_END)
    if at < 0 or at + 22 > len(tail):
        return "it ends before its table of contents, as a file does whose copy was cut off"
    length, offset = struct.unpack_from("<II", tail, at + 12)
    end_record = size - len(tail) + at
    if _UNKNOWN_IN_ZIP32 not in {length, offset} and offset + length > end_record:
        return "bytes are missing between its beginning and its table of contents"
    return None
