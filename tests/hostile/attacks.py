"""What a program that holds the child may try, once the walls around it stand, and which of them stops it.

Each attack is run by `tests/worker/climbing_child.py` as one job of a real worker, against real servers.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ladder_schema.errors import ErrorCode


class Wall(StrEnum):
    """What stops a program, in the order in which a child raises it; the last two are its parent's."""

    EXEC = "fresh program"
    LIMITS = "limits"
    LANDLOCK = "landlock"
    SECCOMP = "seccomp"
    WATCH = "parent's watch"
    PROTOCOL = "protocol"


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        tries: What it tries, for the table.
        wall: What must stop it.
        words: Must be in the job's error message: where a wall answers the child, the kernel's own words.
        code: Of the job's error. An attack that is answered says so as `model_unsupported`, and ends.
        target: What it is pointed at; a name in braces stands for something the test provides.
        settings: Of the worker, where the usual ones do not fit.
    """

    tries: str
    wall: Wall
    words: str
    code: ErrorCode = ErrorCode.MODEL_UNSUPPORTED
    target: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)


_DENIED, _REFUSED = "Permission denied", "Operation not permitted"
_DISK, _MEMORY = "MiB of disk allowed", "MiB of memory it may have"

_ROOMY = {"max_memory_bytes": 1 << 30}
# Of an ordinary user's worker, children are the same user, whose threads the kernel counts together.
_THREADS = (
    Attack("start threads without end", Wall.LIMITS, "can't start new thread", settings=_ROOMY)
    if os.geteuid() == 0
    else Attack(
        "start threads without end", Wall.WATCH, "threads", ErrorCode.PROTOCOL_VIOLATION, settings=_ROOMY
    )
)

_READS = {
    "read": Attack("open /etc/shadow", Wall.LANDLOCK, _DENIED, target="/etc/shadow"),
    "read_other": Attack("read another job's inputs", Wall.LANDLOCK, _DENIED, target="{other}"),
    "read_environment": Attack("read the worker's environment", Wall.LANDLOCK, _DENIED),
    "write": Attack("overwrite another job's inputs", Wall.LANDLOCK, _DENIED, target="{other}"),
    "list_cgroups": Attack("look at the control groups", Wall.LANDLOCK, _DENIED, target="/sys/fs/cgroup"),
    "hard_link": Attack("hard link to another job's inputs", Wall.SECCOMP, _REFUSED, target="{other}"),
    "open_up": Attack("chmod another job's inputs", Wall.SECCOMP, _REFUSED, target="{other}"),
    "leave_setuid_file": Attack("leave a setuid program behind", Wall.SECCOMP, _REFUSED),
    "leave_fifo": Attack("leave a fifo where a result is expected", Wall.SECCOMP, _REFUSED),
}
_REACHES_OUT = {
    "connect": Attack("connect to Postgres on loopback", Wall.SECCOMP, _REFUSED, target="{database}"),
    "connect_abstract": Attack("connect to an abstract socket", Wall.SECCOMP, _REFUSED),
    "start_program": Attack("exec a shell", Wall.SECCOMP, _REFUSED, target="/bin/sh"),
    "fork": Attack("fork", Wall.SECCOMP, _REFUSED),
    "signal_parent": Attack("kill the worker", Wall.SECCOMP, _REFUSED),
    "signal_parent_by_pipe": Attack("have a pipe's owner signalled", Wall.SECCOMP, _REFUSED),
    "slow_parent": Attack("pin the worker to one core", Wall.SECCOMP, _REFUSED),
    "type_into_terminal": Attack("type into a terminal (TIOCSTI)", Wall.SECCOMP, _REFUSED),
    "use_inherited": Attack("use an inherited descriptor", Wall.EXEC, "nothing but three pipes"),
}
_DISKS = {
    "fill_one_file": Attack("write one file without end", Wall.LIMITS, "File too large"),
    "fill_the_disk": Attack("write files without end", Wall.WATCH, _DISK, ErrorCode.DISK_LIMIT),
    "fill_deleted_files": Attack("write deleted files without end", Wall.WATCH, _DISK, ErrorCode.DISK_LIMIT),
    "fill_mapped_files": Attack(
        "write deleted files, kept by one mapped page each", Wall.WATCH, _DISK, ErrorCode.DISK_LIMIT
    ),
    "fill_closed_directory": Attack(
        "write files into a directory that nobody may list", Wall.WATCH, "The job", ErrorCode.DISK_LIMIT
    ),
    "nest_directories": Attack(
        "nest directories deeper than paths go", Wall.WATCH, "cannot be measured", ErrorCode.DISK_LIMIT
    ),
    "map_many": Attack(
        "map a file so often that nobody can look through it",
        Wall.WATCH,
        "too many mappings",
        ErrorCode.DISK_LIMIT,
    ),
    "reserve_disk": Attack("take disk without writing", Wall.SECCOMP, "Operation not supported"),
    "shuffle_directories": Attack(
        "move the directory that fills out of sight, all the time", Wall.WATCH, _DISK, ErrorCode.DISK_LIMIT
    ),
    "grow_checkpoints": Attack(
        "go on writing to checkpoints that the worker has taken", Wall.WATCH, _DISK, ErrorCode.DISK_LIMIT
    ),
    "make_files": Attack("make empty files without end", Wall.WATCH, "files", ErrorCode.DISK_LIMIT),
}
_MEMORIES = {
    "hoard": Attack("allocate without end", Wall.WATCH, _MEMORY, ErrorCode.OUT_OF_MEMORY),
    "hoard_page_tables": Attack(
        "have nothing but page tables, without end", Wall.WATCH, _MEMORY, ErrorCode.OUT_OF_MEMORY
    ),
    "end_first_thread": Attack(
        "allocate behind a first thread that has ended", Wall.WATCH, _MEMORY, ErrorCode.OUT_OF_MEMORY
    ),
    "hide_descriptors": Attack(
        "start a thread with open files of its own, which nobody sees", Wall.SECCOMP, _REFUSED
    ),
    "share_memory": Attack("put memory where no process shows it", Wall.SECCOMP, _REFUSED),
    "make_memory_file": Attack("make a file in memory", Wall.SECCOMP, _REFUSED),
    "fill_shared_memory": Attack("fill /dev/shm", Wall.LANDLOCK, _DENIED),
    "start_threads": _THREADS,
    "lock_bytes": Attack("take file locks without end, in the kernel's memory", Wall.SECCOMP, _REFUSED),
    "lock_whole": Attack("take the lock by which a worker shows that it lives", Wall.SECCOMP, _REFUSED),
}
_TIMES = {
    "spin": Attack(
        "spin for ever, deaf to SIGTERM", Wall.WATCH, "ran longer", ErrorCode.TIME_LIMIT,
        settings={"job_max_seconds": 2.0},
    ),
    "fall_silent": Attack(
        "say nothing more", Wall.WATCH, "made no progress", ErrorCode.IDLE_LIMIT,
        settings={"job_idle_seconds": 1.0},
    ),
    "flood_the_log": Attack(
        "write 10 GB to the log", Wall.WATCH, "ran longer", ErrorCode.TIME_LIMIT,
        settings={"job_max_seconds": 4.0, "max_log_bytes": 1 << 20},
    ),
}  # fmt: skip
_PROTOCOL = {
    "flood_the_pipe": Attack(
        "write 10 GB to the pipe", Wall.PROTOCOL, "a line of more than", ErrorCode.PROTOCOL_VIOLATION
    ),
    "flood_with_messages": Attack(
        "write 10 GB of messages", Wall.PROTOCOL, "too many messages", ErrorCode.PROTOCOL_VIOLATION
    ),
    "nest_deeply": Attack(
        "nest JSON 60,000 deep", Wall.PROTOCOL, "a line that is no message", ErrorCode.PROTOCOL_VIOLATION
    ),
    "say_nan": Attack(
        "report a progress of NaN", Wall.PROTOCOL, "a line that is no message", ErrorCode.PROTOCOL_VIOLATION
    ),
    "say_binary": Attack(
        "write bytes that are no text",
        Wall.PROTOCOL,
        "a line that is no message",
        ErrorCode.PROTOCOL_VIOLATION,
    ),
    "leave_directory_as_checkpoint": Attack(
        "say that a directory is a checkpoint", Wall.PROTOCOL, "no plain file", ErrorCode.PROTOCOL_VIOLATION
    ),
    "claim_success": Attack(
        "say it is done and leave nothing", Wall.PROTOCOL, "model.pt is missing", ErrorCode.PROTOCOL_VIOLATION
    ),
}

ATTACKS = {**_READS, **_REACHES_OUT, **_DISKS, **_MEMORIES, **_TIMES, **_PROTOCOL}
SETTINGS: Mapping[str, object] = {
    "max_result_bytes": 64 << 20,
    "max_disk_bytes": 200 << 20,
    "max_memory_bytes": 256 << 20,
    "job_max_seconds": 60.0,
}
