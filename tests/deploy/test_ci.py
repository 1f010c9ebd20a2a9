"""What CI says when it has no data, and which it takes when it has."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "run"


def run_ci(root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of the script whose ``make`` says where MNIST is."""
    programs = root / "programs"
    programs.mkdir()
    make = programs / "make"
    make.write_text('#!/bin/sh\necho "$1 $LADDER_TEST_MNIST"\n')
    make.chmod(0o755)
    copy = root / "checkout" / ".ci" / "run"
    copy.parent.mkdir(parents=True)
    shutil.copy(SCRIPT, copy)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LADDER_TEST_")}
    return subprocess.run(
        [copy],
        check=False,
        capture_output=True,
        text=True,
        env={**inherited, "PATH": f"{programs}:{os.environ['PATH']}", **environment},
    )


@pytest.mark.parametrize("named", [None, "/nowhere/at/all/mnist.npz"])
def test_without_mnist_it_says_what_to_set(tmp_path: Path, named: str | None) -> None:
    answer = run_ci(tmp_path, **({"LADDER_TEST_MNIST": named} if named else {}))
    assert answer.returncode == 1
    assert "set LADDER_TEST_MNIST to the path of mnist.npz" in answer.stderr
    assert answer.stdout == ""


def test_the_shared_file_is_taken_unless_another_is_named(tmp_path: Path) -> None:
    shared = tmp_path / "shared" / "data" / "mnist.npz"
    shared.parent.mkdir(parents=True)
    shared.touch()
    shared.with_name("cifar10.zip").touch()
    answer = run_ci(tmp_path)
    assert answer.stdout.splitlines() == [f"lint {shared}", f"test {shared}"]
    assert answer.returncode == 0
