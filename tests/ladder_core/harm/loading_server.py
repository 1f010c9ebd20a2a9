"""Loads the files named on standard input, each in a process of its own, and says how that ended.

A line is an image's channels, height and width, and the file. What can be loaded is given images, too.

An answer is one line: ``classifier``, the code of a named error, ``killed by`` a signal (which a worker names
for its user), or ``unnamed`` and what was raised.
"""

import os
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from ladder_core.classifier import load_classifier
from ladder_core.errors import HardeningError
from tests.hostile.base import harmless, harmless_export

_SECONDS, _MAX_BYTES = 20, 3 << 30


def outcome(path: Path, shape: Sequence[int]) -> str:
    try:
        load_classifier(path).probe(torch.rand(4, *shape))
    except HardeningError as error:
        printable = bool(error.message) and error.message.isprintable()
        return str(error.code) if printable else f"unnamed: a message nobody can read, {error.message!r}"
    except MemoryError:
        return "out of memory"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"unnamed: {type(error).__name__} {str(error)[:200]!r} at {where.filename}:{where.lineno}"
    return "classifier"


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # Half of PyTorch is imported by the first load of a kind: once here, not in each process.
    with tempfile.TemporaryDirectory() as name:
        for seed in (harmless(), harmless_export()):
            path = Path(name, "seed")
            path.write_bytes(seed)
            load_classifier(path)
    for line in sys.stdin:
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            signal.alarm(_SECONDS)
            resource.setrlimit(resource.RLIMIT_DATA, (_MAX_BYTES, _MAX_BYTES))
            *shape, path = line.rstrip("\n").split(" ", 3)
            os.write(writing, outcome(Path(path), [int(size) for size in shape]).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read().decode()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            answer = f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
        print(" ".join(answer.split()) or f"exited with {os.WEXITSTATUS(status)}", flush=True)


if __name__ == "__main__":
    main()
