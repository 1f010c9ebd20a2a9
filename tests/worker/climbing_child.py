"""A child behind the real walls that attacks the machine: `climbing_child.py ATTACK TARGET CONFINEMENT`.

It confines itself as the real one does, speaks the protocol, attacks, and tells what came of it: the job
fails with the outcome as its message, unless the attack itself ends it. They are listed in
`tests/hostile/attacks.py`.
"""

import ctypes
import fcntl
import json
import mmap
import os
import signal
import socket
import stat
import sys
import threading
from itertools import count
from pathlib import Path

from worker.sandbox import Confinement, confine
from worker.sandbox.kernel import syscall
from worker.sandbox.seccomp import ARCHITECTURES

ATTACK, TARGET = sys.argv[1], sys.argv[2]
MIB = 1 << 20
TIOCSTI = 0x5412
MAP_NORESERVE = 0x4000
CLONE_VM, CLONE_SIGHAND, CLONE_THREAD = 0x100, 0x800, 0x1_0000
NUMBERS = ARCHITECTURES[os.uname().machine].numbers
held: list[object] = []


def say(**message: object) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def read() -> None:
    Path(TARGET).read_bytes()


read_other = read


def list_cgroups() -> None:
    list(Path(TARGET).iterdir())


def read_environment() -> None:
    Path(f"/proc/{os.getppid()}/environ").read_bytes()


def write() -> None:
    Path(TARGET).write_bytes(b"mine")


def hard_link() -> None:
    Path("link").hardlink_to(TARGET)


def open_up() -> None:
    Path(TARGET).chmod(0o777)


def leave_setuid_file() -> None:
    Path("program").write_bytes(b"#!/bin/sh\n")
    Path("program").chmod(0o4755)


def leave_fifo() -> None:
    os.mkfifo("model.pt")


def connect() -> None:
    host, port = TARGET.split(":")
    socket.create_connection((host, int(port)))


def connect_abstract() -> None:
    socket.socket(socket.AF_UNIX).connect("\0/tmp/.X11-unix/X0")


def start_program() -> None:
    os.execv(TARGET, [TARGET])


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def signal_parent() -> None:
    os.kill(os.getppid(), signal.SIGKILL)


def signal_parent_by_pipe() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, os.getppid())
    fcntl.fcntl(reader, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC)
    os.write(writer, b"x")


def slow_parent() -> None:
    os.sched_setaffinity(os.getppid(), {0})


def type_into_terminal() -> None:
    fcntl.ioctl(0, TIOCSTI, b"\n")


def use_inherited() -> None:
    for number in range(1 << 10):
        try:
            kind = os.fstat(number).st_mode
        except OSError:
            continue
        if number > 2 or not stat.S_ISFIFO(kind):
            os.write(number, b"mine")
            return
    raise OSError("nothing but three pipes")


def fill(file: int, size: int) -> None:
    for _ in range(size // MIB):
        os.write(file, os.urandom(MIB))


def fill_one_file() -> None:
    fill(os.open("large", os.O_WRONLY | os.O_CREAT), 1 << 40)


def fill_the_disk() -> None:
    for number in count():
        Path(f"file-{number}").write_bytes(os.urandom(MIB))


def fill_deleted_files() -> None:
    for _ in count():
        file = os.open("file", os.O_WRONLY | os.O_CREAT)
        Path("file").unlink()
        fill(file, 50 * MIB)


def fill_mapped_files() -> None:
    for _ in count():
        file = os.open("file", os.O_RDWR | os.O_CREAT)
        fill(file, 30 * MIB)
        # Not Python's own: that would keep a descriptor, by which the file can be seen.
        ctypes.CDLL(None).mmap(None, mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_SHARED, file, ctypes.c_long(0))
        Path("file").unlink()
        os.close(file)


def fill_closed_directory() -> None:
    Path("closed").mkdir(mode=0o300)
    for number in count():
        Path(f"closed/file-{number}").write_bytes(os.urandom(MIB))


def nest_directories() -> None:
    while True:
        try:
            Path("d").mkdir()
            os.chdir("d")
        except OSError:
            spin()


def reserve_disk() -> None:
    file = os.open("file", os.O_WRONLY | os.O_CREAT)
    if ctypes.CDLL(None, use_errno=True).fallocate(file, 0, ctypes.c_long(0), ctypes.c_long(50 * MIB)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def shuffle_directories() -> None:
    """Never leave the directory that fills where it was when somebody listed its parent."""
    for name in ("a", "b", "a/full"):
        Path(name).mkdir()
    full = os.open("a/full", os.O_RDONLY | os.O_DIRECTORY)
    threading.Thread(target=shuffle, daemon=True).start()
    for number in count():
        file = os.open(str(number), os.O_WRONLY | os.O_CREAT, dir_fd=full)
        fill(file, 10 * MIB)
        os.close(file)


def shuffle() -> None:
    here, there = Path("a/full"), Path("b/full")
    while True:
        here.rename(there)
        there.rename(here)


def grow_checkpoints() -> None:
    """They are told of while they are small, and kept open."""
    Path("checkpoints").mkdir()
    for name in ("latents", "boundary", "generator", "examples", "retrain", "evaluate"):
        file = os.open(f"checkpoints/{name}", os.O_WRONLY | os.O_CREAT)
        os.write(file, b"x")
        say(type="checkpoint", name=name)
        fill(file, 50 * MIB)
    spin()


def leave_directory_as_checkpoint() -> None:
    Path("checkpoints/retrain").mkdir(parents=True)
    say(type="checkpoint", name="retrain")
    spin()


def make_files() -> None:
    for number in count():
        os.close(os.open(f"file-{number}", os.O_WRONLY | os.O_CREAT))


def hoard() -> None:
    while True:
        held.append(b"\x01" * (8 * MIB))


def hoard_page_tables() -> None:
    """One page of them for every 2 MiB that are read, and all of those are the kernel's one page of zeros."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    pages = mmap.mmap(-1, 1 << 40, flags=flags, prot=mmap.PROT_READ)
    pages.madvise(mmap.MADV_NOHUGEPAGE)
    for place in range(0, 1 << 40, 2 * MIB):
        pages[place]
    spin()


def share_memory() -> None:
    """Pages of such a mapping stay when they are dropped from it, but then count for nobody."""
    pages = mmap.mmap(-1, 1 << 40)
    for place in range(0, 1 << 40, MIB):
        pages[place : place + MIB] = bytes(MIB)
        pages.madvise(mmap.MADV_DONTNEED, place, MIB)


def end_first_thread() -> None:
    """Of a process whose first thread has ended, /proc shows no memory under the process' own number."""
    threading.Thread(target=hoard).start()
    syscall("exit", NUMBERS["exit"], 0)


def hide_descriptors() -> None:
    """A thread with a table of open files of its own, which /proc shows under the thread's number alone."""
    syscall("clone", NUMBERS["clone"], CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, 0, 0, 0, 0)


def make_memory_file() -> None:
    fill(os.memfd_create("memory"), 1 << 40)


def fill_shared_memory() -> None:
    fill(os.open("/dev/shm/ladder", os.O_WRONLY | os.O_CREAT), 1 << 40)


def start_threads() -> None:
    while True:
        threading.Thread(target=threading.Event().wait, daemon=True).start()


def lock_bytes() -> None:
    file = os.open("file", os.O_RDWR | os.O_CREAT)
    for place in count(0, 2):
        fcntl.lockf(file, fcntl.LOCK_EX, 1, place)


def lock_whole() -> None:
    """Any directory that a child may read; a worker locks those of its attempts, and of their groups."""
    fcntl.flock(os.open(".", os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_EX | fcntl.LOCK_NB)


def map_many() -> None:
    """So often, under so long a name, that telling of it takes long."""
    name = "n" * 250
    file = os.open(name, os.O_RDWR | os.O_CREAT)
    for _ in range(60_000):
        ctypes.CDLL(None).mmap(None, mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_SHARED, file, ctypes.c_long(0))
    spin()


def spin() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        pass


def fall_silent() -> None:
    signal.pause()


def flood_the_log() -> None:
    fill_pipe(2)


def flood_the_pipe() -> None:
    fill_pipe(1)


def fill_pipe(pipe: int) -> None:
    for _ in range(10_000_000_000 >> 16):
        os.write(pipe, b"x" * (1 << 16))
    spin()


def flood_with_messages() -> None:
    line = json.dumps({"type": "progress", "stage": "validate", "progress": 0.1}).encode() + b"\n"
    while True:
        os.write(1, line * 100)


def nest_deeply() -> None:
    os.write(1, b"[" * 60_000 + b"\n")
    spin()


def say_nan() -> None:
    say(type="progress", stage="validate", progress=float("nan"))
    spin()


def say_binary() -> None:
    os.write(1, b"\xff\xfe\x00\n")
    spin()


def claim_success() -> None:
    say(type="done")
    spin()


def main() -> None:
    confine(Confinement.from_argument(sys.argv[3]))
    say(type="hello", version=3)
    if json.loads(sys.stdin.readline())["type"] == "rehearse":
        say(type="done")
        return
    say(type="progress", stage="validate", progress=0.1)
    try:
        globals()[ATTACK]()
    except (OSError, RuntimeError) as error:
        outcome = str(error)
    else:
        outcome = "succeeded"
    say(type="failed", code="model_unsupported", message=outcome)


if __name__ == "__main__":
    main()
