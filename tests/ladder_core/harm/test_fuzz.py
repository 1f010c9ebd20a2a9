"""Mutated model files: every one ends in success or a named error, within seconds, and in nothing else.

What passes the walls is loaded in a process of its own, as a worker would; there it may also be killed, which
the worker then names.
"""

import os
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from ladder_core.errors import ModelError
from ladder_core.harm import check_model
from ladder_core.harm.pickles import TORCHSCRIPT_GLOBALS, check_pickle
from ladder_core.harm.symbols import check_guard, check_symbolic
from ladder_core.harm.torchscript_code import check_program
from tests.hostile.base import harmless, harmless_export, rewrite
from tests.ladder_core.classifier.zoo import saved
from tests.ladder_core.harm.mutations import change, is_changed

# Hundreds by default; LADDER_FUZZ_EXAMPLES=5000 for thousands.
EXAMPLES = int(os.environ.get("LADDER_FUZZ_EXAMPLES", "100"))
SECONDS = 20.0
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SEEDS = {"torchscript": harmless, "pt2": harmless_export}
# Models of several kinds, of the zoo: numbers and branches, tails, convolutions, folded and exported graphs.
ZOO = [
    ("control_flow", "scripted"),
    ("head_in_branch", "scripted"),
    ("mlp_softmax", "traced"),
    ("mlp_sigmoid", "frozen"),
    ("lenet_log_softmax", "scripted"),
    ("lenet_log_softmax", "pt2"),
    ("exported_branch", "pt2"),
]
ZOO_SHAPE = (1, 16, 16)
FRAGMENTS = st.sampled_from(
    [
        b"torch.save", b"ops.aten.from_file", b"__setstate__", b"__torch__.torch.classes.a.B", b"getattr",
        b"\n    ", b"(((((", b"[[[[", b"-" * 500, b".x" * 500, b"\x00", b"\xff\xfe", b"cos\nsystem\n",
        b"\x80\x04", b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x07", b"{",
        b'"target": "torch.hub.load"', b"9" * 5_000,
    ]
)  # fmt: skip
NUMBERS = st.sampled_from([0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])


def mutate(data: st.DataObject, content: bytes) -> bytes:
    """Change a file in a few places: bytes, fields, fragments put in, pieces cut out or doubled."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4), "changes")):
        at = data.draw(st.integers(0, max(0, len(changed) - 1)), "at")
        length = data.draw(st.sampled_from([1, 4, 30, 500]), "length")
        match data.draw(st.sampled_from(["byte", "field", "insert", "cut", "double", "truncate"]), "kind"):
            case "byte":
                changed[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
            case "field":
                changed[at : at + 4] = struct.pack("<L", data.draw(NUMBERS))
            case "insert":
                changed[at:at] = data.draw(FRAGMENTS)
            case "cut":
                del changed[at : at + length]
            case "double":
                changed[at:at] = changed[at : at + length]
            case "truncate":
                del changed[at:]
    return bytes(changed)


def survives(check: Callable[[], object]) -> None:
    """Run a check: a named error or none, before long."""
    started = time.monotonic()
    try:
        check()
    except ModelError as error:
        message = error.message
    else:
        message = "passed"
    assert message
    assert message.isprintable()
    assert time.monotonic() - started < SECONDS


@pytest.fixture(scope="module")
def upload(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "upload"


@pytest.mark.parametrize("kind", SEEDS)
@FUZZ
@given(data=st.data())
def test_mutated_files(kind, upload, data):
    upload.write_bytes(mutate(data, SEEDS[kind]()))
    survives(lambda: check_model(upload))


@pytest.mark.parametrize("kind", SEEDS)
@FUZZ
@given(data=st.data())
def test_mutated_entries(kind, upload, data):
    """The container is whole, and its walls let the mutated entry through to those behind."""
    archive = SEEDS[kind]()
    rewrite(archive, upload)
    with zipfile.ZipFile(upload) as whole:
        telling = [name for name in whole.namelist() if name.endswith((".py", "pkl", ".json", ".pt"))]
    victim = data.draw(st.sampled_from(telling), "entry")
    rewrite(archive, upload, lambda name, content: mutate(data, content) if name == victim else content)
    survives(lambda: check_model(upload))


@pytest.fixture(scope="module")
def load() -> Iterator[Callable[..., str]]:
    """How loading a file ends, and running it on images of a shape, in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.ladder_core.harm.loading_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:

        def ask(path: Path, shape: tuple[int, ...] = (1, 8, 8)) -> str:
            server.stdin.write(f"{' '.join(map(str, shape))} {path}\n")
            server.stdin.flush()
            return server.stdout.readline().rstrip("\n")

        yield ask
        server.stdin.close()


@pytest.mark.parametrize("kind", SEEDS)
def test_the_seeds_are_loaded(kind, upload, load):
    upload.write_bytes(SEEDS[kind]())
    assert load(upload) == "classifier"


@pytest.mark.parametrize("kind", SEEDS)
@FUZZ
@given(data=st.data())
def test_what_passes_the_walls_is_loaded_or_named(kind, upload, load, data):
    """Small changes within entries, most of which the walls let through."""
    archive = SEEDS[kind]()
    rewrite(archive, upload)
    with zipfile.ZipFile(upload) as whole:
        names = whole.namelist()
    victim = data.draw(st.sampled_from(names), "entry")
    rewrite(archive, upload, lambda name, content: mutate(data, content) if name == victim else content)
    try:
        check_model(upload)
    except ModelError:
        return
    ending = load(upload)
    event(ending)
    assert ending
    assert not ending.startswith(("unnamed", "exited")), ending


@pytest.fixture(scope="module", params=ZOO, ids=" ".join)
def of_the_zoo(request, tmp_path_factory) -> bytes:
    return saved(*request.param, tmp_path_factory.mktemp("zoo") / "seed").read_bytes()


def test_the_zoo_is_loaded(of_the_zoo, upload, load):
    upload.write_bytes(of_the_zoo)
    assert load(upload, ZOO_SHAPE) == "classifier"


@FUZZ
@given(data=st.data())
def test_what_keeps_its_form_is_loaded_or_named(of_the_zoo, upload, load, data):
    """Other integers, names and lines; what passes the walls is given images, too."""
    upload.write_bytes(of_the_zoo)
    with zipfile.ZipFile(upload) as whole:
        names = [name for name in whole.namelist() if is_changed(name)]
    for _ in range(data.draw(st.integers(1, 2), "changes")):
        victim = data.draw(st.sampled_from(names), "entry")
        rewrite(
            upload.read_bytes(),
            upload,
            lambda name, content, victim=victim: (
                change(data.draw, name, content) if name == victim else content
            ),
        )
    try:
        check_model(upload)
    except ModelError:
        return
    ending = load(upload, ZOO_SHAPE)
    event(ending)
    assert ending
    assert not ending.startswith(("unnamed", "exited")), ending


@FUZZ
@given(st.text(st.characters(codec="ascii"), max_size=300) | st.binary(max_size=300).map(repr))
def test_any_text_as_program_and_expression(text):
    survives(lambda: check_program({"__torch__.py": text.encode()}))
    assert check_symbolic(text) in (True, False)
    assert check_guard(text) in (True, False)


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes_as_pickle(data):
    survives(lambda: check_pickle(data, "data.pkl", allowed=TORCHSCRIPT_GLOBALS))


@FUZZ
@given(st.binary(max_size=2_000), st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08"]))
def test_any_bytes_as_upload(upload, data, magic):
    upload.write_bytes(magic + data)
    survives(lambda: check_model(upload))
