"""What is measured of a process that hides what it takes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from ladder_schema.errors import ErrorCode
from tests.worker.conftest import Bench
from worker import limits
from worker.identity import start_as
from worker.limits import Limits
from worker.removal import remove_tree
from worker.runtime import Runtime
from worker.sandbox.seccomp import ARCHITECTURES
from worker.usage import (
    DiskUse,
    HiddenFilesError,
    deleted_bytes,
    disk_use,
    family,
    memory_and_threads,
    standing_still,
)
from worker.users import child_users
from worker.workspace import Workspace

MIB = 1 << 20
wait_until = Bench.wait_until
PLENTY = {"max_bytes": 1 << 40, "max_files": 1 << 20}
LOOK_INTO_CLOSED = """
import os
from pathlib import Path
from worker.usage import HiddenFilesError, disk_use
os.mkdir("closed", 0o300)
Path("closed/file").write_bytes(bytes(1 << 20))
try:
    print(disk_use(Path.cwd(), max_bytes=1 << 40, max_files=9))
except HiddenFilesError as error:
    print(error)
"""


@contextmanager
def holding(script: str, directory: Path) -> Iterator[int]:
    """A process that has done something, said so, and waits."""
    command = [sys.executable, "-c", f"import mmap, os, sys\n{script}\nprint('done', flush=True)\ninput()"]
    with subprocess.Popen(
        command, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "done\n"
        yield process.pid
        process.communicate("\n")


def test_disk_is_measured_without_following_links(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(os.urandom(MIB))
    (tmp_path / "link").symlink_to("/usr")
    use = disk_use(tmp_path, **PLENTY)
    assert MIB <= use.bytes < 2 * MIB
    assert use.files == 3


def test_what_was_taken_from_the_child_counts_and_its_inputs_do_not(bench, tmp_path):
    with Workspace(tmp_path / "job" / "1", None) as workspace:
        (workspace.inputs / "dataset").write_bytes(bytes(4 * MIB))
        assert not limited(bench, workspace, max_disk_bytes=2 * MIB)
        (workspace.checkpoints / "retrain").write_bytes(bytes(4 * MIB))
        assert limited(bench, workspace, max_disk_bytes=2 * MIB)[0] is ErrorCode.DISK_LIMIT


def limited(bench, workspace: Workspace, **settings: object) -> tuple[ErrorCode, str] | None:
    """What a process exceeds that does nothing."""
    settings = bench.settings.model_copy(update=settings)
    with holding("pass", workspace.output) as pid:
        return Limits(settings, Runtime(None, 3600.0, 0.0), pid, workspace.root).exceeded()


def test_holes_take_no_disk(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert disk_use(tmp_path, **PLENTY).bytes < MIB


def test_counting_ends_soon_after_the_limit(tmp_path):
    for number in range(1_000):
        (tmp_path / str(number)).touch()
    assert disk_use(tmp_path, max_bytes=1 << 40, max_files=10).files == 11


def test_directories_deeper_than_a_path_can_name_are_found_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2_100):
        Path("d").mkdir()
        os.chdir("d")
    with pytest.raises(HiddenFilesError, match="File name too long"):
        disk_use(tmp_path, **PLENTY)
    monkeypatch.undo()
    remove_tree(tmp_path)  # pytest could not


def test_directories_that_nobody_may_list_are_found_out(bench):
    """Root may list them all, so this is an ordinary user's worker."""
    users = child_users(bench.settings)
    if users is None:
        pytest.skip("only root can change the user")
    with (
        users.borrow() as identity,
        Workspace(bench.settings.work_dir / "job" / "1", identity) as workspace,
        start_as(
            identity,
            (sys.executable, "-I", "-c", LOOK_INTO_CLOSED),
            workspace.root,
            cwd=workspace.output,
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        said, _ = process.communicate()
    assert said == b"Permission denied\n"


DELETED = "file = os.open('f', os.O_RDWR | os.O_CREAT); os.write(file, os.urandom(8 << 20)); os.unlink('f')"
UNSEEN = f"""
import ctypes, threading
{DELETED}
held = b"x" * (64 << 20)
def go_on():
    print("done", flush=True)
    input()
    os._exit(0)
threading.Thread(target=go_on).start()
ctypes.CDLL(None).syscall({ARCHITECTURES[os.uname().machine].numbers["exit"]}, 0)
"""
NAMELESS = "file = os.open('.', os.O_RDWR | os.O_TMPFILE); os.write(file, os.urandom(8 << 20))"
MAPPED = """
import ctypes
file = os.open('f', os.O_RDWR | os.O_CREAT); os.write(file, os.urandom(8 << 20))
ctypes.CDLL(None).mmap(None, 4096, mmap.PROT_READ, mmap.MAP_SHARED, file, ctypes.c_long(0))
os.close(file); os.unlink('f')
"""


FAMILY = """
import subprocess
held = b"x" * (64 << 20)
script = "held = b'x' * (64 << 20); print(1, flush=True); input()"
child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
"""
MAP_NORESERVE = 0x4000
PAGE_TABLES = f"""
flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | {MAP_NORESERVE}
pages = mmap.mmap(-1, 32 << 30, flags=flags, prot=mmap.PROT_READ)
pages.madvise(mmap.MADV_NOHUGEPAGE)
for place in range(0, 32 << 30, 2 << 20):
    pages[place]
"""


SHUFFLING = """
import threading
os.makedirs("a/1/2/3/4"); os.makedirs("b")
with open("a/1/2/3/4/file", "wb") as file:
    file.write(os.urandom(8 << 20))
def shuffle():
    while True:
        os.rename("a/1", "b/1"); os.rename("b/1/2/3", "a/3")
        os.rename("a/3", "b/1/2/3"); os.rename("b/1", "a/1")
threading.Thread(target=shuffle, daemon=True).start()
"""


def test_directories_that_move_are_found_while_their_process_stands_still(tmp_path):
    with holding(SHUFFLING, tmp_path) as pid:
        looks = [disk_use(tmp_path, **PLENTY) for _ in range(200)]
        assert not all(look.is_certain for look in looks)
        assert all(look.bytes > 8 * MIB for look in looks if look.is_certain)
        for _ in range(50):
            with standing_still(pid):
                assert disk_use(tmp_path, **PLENTY).bytes > 8 * MIB


def test_a_child_stands_still_for_a_small_part_of_its_time(bench, monkeypatch, tmp_path):
    """Also where no look is ever certain, as on a disk that another machine's clock dates."""
    now, stops = 1_000.0, []

    @contextmanager
    def standing_still_for_long(_: int) -> Iterator[None]:
        nonlocal now
        yield
        now += 0.2
        stops.append(now)

    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(limits, "standing_still", standing_still_for_long)
    monkeypatch.setattr(limits, "disk_use", lambda *_, **__: DiskUse(0, 0, is_certain=False))
    with holding("pass", tmp_path) as pid:
        watch = Limits(bench.settings, Runtime(None, 3600.0, 0.0), pid, tmp_path)
        for _ in range(600):
            now += 0.1
            assert not watch.exceeded()
    assert 10 <= len(stops) <= 16


def test_what_rests_is_certain_at_the_first_look(tmp_path):
    (tmp_path / "a").mkdir()
    wait_until(lambda: disk_use(tmp_path, **PLENTY).is_certain)


@pytest.mark.parametrize("script", [DELETED, NAMELESS])
def test_deleted_files_are_seen_for_as_long_as_they_are_open(tmp_path, script):
    with holding(script, tmp_path) as pid:
        assert disk_use(tmp_path, **PLENTY).bytes < MIB
        disk, memory = deleted_bytes(pid, tmp_path, largest=1 << 40)
        assert 8 * MIB <= disk < 9 * MIB
        assert memory == 0
    with holding(f"{script}; os.close(file)", tmp_path) as pid:
        assert deleted_bytes(pid, tmp_path, largest=1 << 40) == (0, 0)


def test_what_is_behind_a_first_thread_that_has_ended_is_seen(tmp_path):
    with holding(UNSEEN, tmp_path) as pid:
        wait_until(lambda: "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2])
        assert 8 * MIB <= deleted_bytes(pid, tmp_path, largest=1 << 40)[0] < 9 * MIB
        assert memory_and_threads(pid)[0] > 64 * MIB


def test_a_deleted_file_that_is_only_mapped_counts_as_the_largest_it_can_be(tmp_path):
    with holding(MAPPED, tmp_path) as pid:
        assert deleted_bytes(pid, tmp_path, largest=1 << 40) == (1 << 40, 0)


def test_files_in_memory_are_seen(tmp_path):
    with holding("file = os.memfd_create('m'); os.write(file, bytes(8 << 20))", tmp_path) as pid:
        disk, memory = deleted_bytes(pid, tmp_path, largest=1 << 40)
        assert (disk, memory) == (0, 8 * MIB)


def test_memory_is_that_of_a_process_and_all_it_started(tmp_path):
    with holding(FAMILY, tmp_path) as pid:
        assert len(list(family(pid))) == 2
        memory, threads = memory_and_threads(pid)
        assert 128 * MIB < memory < 200 * MIB
        assert threads == 2


def test_shared_pages_and_page_tables_are_memory(tmp_path):
    with holding("m = mmap.mmap(-1, 64 << 20); m.write(bytes(64 << 20))", tmp_path) as pid:
        assert memory_and_threads(pid)[0] > 64 * MIB
    with holding(PAGE_TABLES, tmp_path) as pid:
        assert memory_and_threads(pid)[0] > 64 * MIB


def test_what_is_gone_takes_nothing(tmp_path):
    with holding("pass", tmp_path) as pid:
        pass
    assert memory_and_threads(pid) == (0, 0)
    assert deleted_bytes(pid, tmp_path, largest=1) == (0, 0)
    assert disk_use(tmp_path / "gone", **PLENTY).bytes == 0
