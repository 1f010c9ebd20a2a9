"""Attacks on whoever opens the container."""

import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from ladder_schema.errors import ErrorCode
from tests.hostile.base import Hostile, Wall, harmless, rewrite


def _with_entry(name: str, data: bytes = b"x") -> Callable[[Path, Path], None]:
    return lambda path, outside: rewrite(harmless(), path, extra={name: data})


def _bomb(path: Path, outside: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/extra/zeros", bytes(64 << 20))


def _many_bombs(path: Path, outside: Path) -> None:
    """Each entry is too small to be called a bomb; together they are one."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(16):
            archive.writestr(f"train/{number}", bytes(32 << 20))


def _symlink(path: Path, outside: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("model/data.pkl")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, str(outside / "secret"))


def _nested(path: Path, outside: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a", b"x")
    rewrite(harmless(), path, extra={"{root}/extra/inner": inner.getvalue()})


def _duplicate(path: Path, outside: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"what a check reads")
        archive.NameToInfo.clear()
        archive.writestr("model/data.pkl", b"what PyTorch reads")


def _many_entries(path: Path, outside: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(100_000):
            archive.writestr(f"model/data/{number}", b"")


def _patched(offset_of: Callable[[bytes], int], value: bytes) -> Callable[[Path, Path], None]:
    def make(path: Path, outside: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data.pkl", b"first" * 20)
            archive.writestr("model/version", b"second" * 20)
        data = bytearray(path.read_bytes())
        at = offset_of(bytes(data))
        data[at : at + len(value)] = value
        path.write_bytes(data)

    return make


def _second_record(data: bytes) -> int:
    return data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)


def _in_front(path: Path, outside: Path) -> None:
    path.write_bytes(b"#!/bin/sh\n" + harmless())


def _tar(
    kind: bytes = tarfile.REGTYPE, name: str = "train/cat/0.png", link: str = ""
) -> Callable[[Path, Path], None]:
    def make(path: Path, outside: Path) -> None:
        with tarfile.open(path, "w") as archive:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link or str(outside)
            archive.addfile(member)

    return make


def _tar_bomb(path: Path, outside: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for number in range(3):
            member = tarfile.TarInfo(f"train/cat/{number}.png")
            member.size = 64 << 20
            archive.addfile(member, io.BytesIO(bytes(member.size)))


def _tar_long_name(path: Path, outside: Path) -> None:
    """A header that says its name is two gibibytes long."""
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 2 << 30
    with path.open("wb") as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(1024))


_DATASET = {"code": ErrorCode.DATASET_UNSAFE, "of": "dataset"}

CONTAINERS = {
    "zip bomb": Hostile("64 MiB of zeros", _bomb, Wall.CONTAINER, "times is allowed"),
    "many small bombs": Hostile(
        "512 MiB in 16 files", _many_bombs, Wall.CONTAINER, "times is allowed", **_DATASET
    ),
    "traversal": Hostile(
        "a path that leads out", _with_entry("{root}/../../etc/cron.d/x"), Wall.CONTAINER, "leads out"
    ),
    "absolute path": Hostile("a path from the root", _with_entry("/etc/passwd"), Wall.CONTAINER, "absolute"),
    "backslashes": Hostile("a path of Windows", _with_entry("{root}\\..\\x"), Wall.CONTAINER, "backslash"),
    "control characters": Hostile(
        "a name that rewrites the log", _with_entry("{root}/\x1b[2Jx"), Wall.CONTAINER, "control characters"
    ),
    "symlink": Hostile("a link to a secret", _symlink, Wall.CONTAINER, "a symbolic link"),
    "nested zip": Hostile("a zip in the zip", _nested, Wall.CONTAINER, "itself an archive (zip)"),
    "duplicate names": Hostile("two files of one name", _duplicate, Wall.CONTAINER, "occurs twice"),
    "100,000 entries": Hostile("too much to list", _many_entries, Wall.CONTAINER, "100000 entries"),
    "encrypted": Hostile(
        "an entry nobody can look into",
        _patched(lambda data: _second_record(data) + 8, b"\x01"),
        Wall.CONTAINER,
        "is encrypted",
    ),
    "overlapping entries": Hostile(
        "one packed file under many names",
        _patched(lambda data: _second_record(data) + 42, struct.pack("<L", 10)),
        Wall.CONTAINER,
        "overlap",
    ),
    "lying size": Hostile(
        "two sizes for one entry",
        _patched(lambda data: data.index(b"PK\x03\x04") + 18, struct.pack("<2L", 7, 7)),
        Wall.CONTAINER,
        "lies about its size",
    ),
    "something in front": Hostile("a script that is also a zip", _in_front, Wall.CONTAINER, "in front"),
    "tar traversal": Hostile(
        "a path that leads out", _tar(name="../../x.png"), Wall.CONTAINER, "leads out", **_DATASET
    ),
    "tar symlink": Hostile(
        "a link outside", _tar(tarfile.SYMTYPE), Wall.CONTAINER, "symbolic link", **_DATASET
    ),
    "tar hardlink": Hostile("a link outside", _tar(tarfile.LNKTYPE), Wall.CONTAINER, "hard link", **_DATASET),
    "tar device": Hostile("a device", _tar(tarfile.CHRTYPE), Wall.CONTAINER, "no plain file", **_DATASET),
    "tar bomb": Hostile("192 MiB of zeros", _tar_bomb, Wall.CONTAINER, "times as much", **_DATASET),
    "tar header bomb": Hostile("a name of 2 GiB", _tar_long_name, Wall.CONTAINER, "header", **_DATASET),
}
