"""Children whose results are not what they should be."""

import json
import os
from pathlib import Path

from protocol import DONE, greet, say
from results import report, write_results


def leave_nothing() -> None:
    greet()
    say(DONE)


def leave_symlink() -> None:
    start = greet()
    write_results(start)
    model = Path(start["work_dir"], "model.pt")
    model.unlink()
    model.symlink_to("/etc/passwd")
    say(DONE)


def leave_other_report() -> None:
    start = greet()
    value = report(start)
    value["model"]["sha256"] = "0" * 64
    write_results(start, report=json.dumps(value).encode())
    say(DONE)


def leave_report_with_key(key: str) -> None:
    start = greet()
    value = report(start)
    value["config"] = {**value["config"], key: 1}
    write_results(start, report=json.dumps(value).encode())
    say(DONE)


def leave_report_with_nul_key() -> None:
    leave_report_with_key("q\0kkk")


def leave_report_with_huge_key() -> None:
    leave_report_with_key("k" * 3_000_000)


def leave_bad_weights() -> None:
    start = greet()
    header = json.dumps({"w": {"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}}).encode()
    write_results(start, weights=len(header).to_bytes(8, "little") + header + bytes(4))
    say(DONE)


def leave_weights_that_are_no_numbers() -> None:
    start = greet()
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    write_results(start, weights=len(header).to_bytes(8, "little") + header + b"\x00\x00\xc0\x7f")
    say(DONE)


def leave_fifo() -> None:
    """Whoever opens it to read waits for a writer."""
    start = greet()
    write_results(start)
    Path(start["work_dir"], "model.pt").unlink()
    os.mkfifo(Path(start["work_dir"], "model.pt"))
    say(DONE)


def leave_hard_link() -> None:
    start = greet()
    write_results(start)
    Path(start["work_dir"], "model.pt").rename(Path(start["work_dir"], "another"))
    Path(start["work_dir"], "model.pt").hardlink_to(Path(start["work_dir"], "another"))
    say(DONE)


def leave_directory() -> None:
    start = greet()
    write_results(start)
    Path(start["work_dir"], "model.pt").unlink()
    Path(start["work_dir"], "model.pt").mkdir()
    say(DONE)
