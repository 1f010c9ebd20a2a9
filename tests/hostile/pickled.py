"""Attacks in pickles, and in what ``torch.export`` makes of JSON."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ladder_schema.errors import ErrorCode
from tests.hostile.base import Hostile, Wall, harmless, harmless_export, rewrite


class _Runs:
    """A pickle that runs a command when it is read."""

    def __init__(self, outside: Path):
        self._command = f"touch {outside}/owned"

    def __reduce__(self):
        import os

        return os.system, (self._command,)


def _replaces(entry: str, protocol: int) -> Callable[[Path, Path], None]:
    def make(path: Path, outside: Path) -> None:
        attack = pickle.dumps(_Runs(outside), protocol=protocol)
        rewrite(harmless(), path, lambda name, data: attack if name.endswith(entry) else data)

    return make


def _class_of_nowhere(path: Path, outside: Path) -> None:
    """The root object is of a class of C++, not of the archive."""
    rewrite(
        harmless(),
        path,
        lambda name, data: (
            data.replace(b"c__torch__.tests.hostile.base\nTiny", b"c__torch__.torch.classes.x\nTiny")
            if name.endswith("/data.pkl")
            else data
        ),
    )


def _trailing(path: Path, outside: Path) -> None:
    rewrite(
        harmless(),
        path,
        lambda name, data: data + pickle.dumps(_Runs(outside)) if name.endswith("/data.pkl") else data,
    )


def _data(old: bytes, new: bytes) -> Callable[[Path, Path], None]:
    """Some bytes of data.pkl are replaced by others."""

    def make(path: Path, outside: Path) -> None:
        def change(name: str, data: bytes) -> bytes:
            if not name.endswith("/data.pkl"):
                return data
            assert old in data
            return data.replace(old, new)

        rewrite(harmless(), path, change)

    return make


def _call_by_number(path: Path, outside: Path) -> None:
    """PyTorch's reader keeps functions in a list, and calls the one whose place is on the stack."""
    rewrite(harmless(), path, lambda name, data: b"\x80\x02K\x00)R." if name.endswith("/data.pkl") else data)


def _built(path: Path, outside: Path) -> None:
    """PyTorch's reader calls on BUILD, too."""

    def change(name: str, data: bytes) -> bytes:
        if not name.endswith("/data.pkl"):
            return data
        too_far = data.replace(b"(K@K\x01", b"(M\xff\xffK\x01", 1)
        assert too_far.count(b")RtR") == 2
        return too_far.replace(b")RtR", b")Rtb", 1)

    rewrite(harmless(), path, change)


def _in_folder(root: str) -> Callable[[Path, Path], None]:
    """A ``.pt2`` file that runs a command, in a folder of this name."""

    def make(path: Path, outside: Path) -> None:
        honest = path.with_suffix(".honest")
        _rename("x", f"x={_COMMAND}")(honest, outside)
        with zipfile.ZipFile(honest) as source, zipfile.ZipFile(path, "w") as target:
            for name in source.namelist():
                target.writestr(f"{root}/{name.partition('/')[2]}", source.read(name))
        honest.unlink()

    return make


def _two_folders(path: Path, outside: Path) -> None:
    rewrite(harmless_export(), path, extra={"other/models/model.json": b"{}"})


def _export(edit: Callable[[dict[str, Any]], None]) -> Callable[[Path, Path], None]:
    """A ``.pt2`` file whose graph was edited."""

    def make(path: Path, outside: Path) -> None:
        def change(name: str, data: bytes) -> bytes:
            if not name.endswith("models/model.json"):
                return data
            document = json.loads(data)
            edit(document)
            return json.dumps(document).replace("{outside}", str(outside)).encode()

        rewrite(harmless_export(), path, change)

    return make


def _target(document: dict[str, Any]) -> None:
    document["graph_module"]["graph"]["nodes"][-1]["target"] = "torch.hub.load"


def _operator(document: dict[str, Any]) -> None:
    document["graph_module"]["graph"]["nodes"][-1]["target"] = "torch.ops.aten.from_file.default"


_COMMAND = "__import__('os').system('touch {outside}/owned')"


def _rename(old: str, new: str) -> Callable[[Path, Path], None]:
    """A name is another everywhere in a ``.pt2`` file."""

    def make(path: Path, outside: Path) -> None:
        def change(name: str, data: bytes) -> bytes:
            if not name.endswith(".json"):
                return data
            text = json.dumps(old)
            changed = json.dumps(new.replace("{outside}", str(outside)))
            return data.decode().replace(text, changed).encode()

        rewrite(harmless_export(), path, change)

    return make


def _argument(document: dict[str, Any]) -> None:
    document["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = [f"x={_COMMAND}"]


def _guard(document: dict[str, Any]) -> None:
    document["guards_code"] = ["__import__('os').system('touch {outside}/owned')"]


def _guard_in_name(document: dict[str, Any]) -> None:
    """Closes the string that the guard's text is pasted into."""
    document["guards_code"] = ['L[\'x"+__import__("os").getcwd()+"\'].size()[0] == 3']


def _first_size(document: dict[str, Any]) -> dict[str, Any]:
    tensors = document["graph_module"]["graph"]["tensor_values"].values()
    return next(size["as_expr"] for tensor in tensors for size in tensor["sizes"] if "as_expr" in size)


def _size(document: dict[str, Any]) -> None:
    _first_size(document)["expr_str"] = "__import__('os').system('touch {outside}/owned')"


def _huge_size(document: dict[str, Any]) -> None:
    _first_size(document)["expr_str"] = "9**9**9**9"


def _tree(document: dict[str, Any]) -> None:
    signature = document["graph_module"]["module_call_graph"][0]["signature"]
    context = json.dumps({"__enum__": True, "fqn": "antigravity:fly", "name": "x"})
    signature["in_spec"] = json.dumps(
        [1, {"type": "builtins.tuple", "context": context, "children_spec": []}]
    )


def _pickled_weight(attack: Callable[[Path], bytes]) -> Callable[[Path, Path], None]:
    """A ``.pt2`` file that says its first weight is pickled."""

    def make(path: Path, outside: Path) -> None:
        def change(name: str, data: bytes) -> bytes:
            if name.endswith("model_weights_config.json"):
                document = json.loads(data)
                for payload in document["config"].values():
                    payload["use_pickle"] = payload["path_name"] == "weight_0"
                return json.dumps(document).encode()
            return attack(outside) if name.endswith("weights/weight_0") else data

        rewrite(harmless_export(), path, change)

    return make


def _saved(outside: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(_Runs(outside), buffer)
    return buffer.getvalue()


def _longer_than_its_record(outside: Path) -> bytes:
    """A pickled tensor of 192 items that says its storage has 65535."""
    buffer, longer = io.BytesIO(), io.BytesIO()
    torch.save(torch.zeros(3, 64), buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(longer, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("data.pkl"):
                assert b"K\xc0t" in data
                data = data.replace(b"K\xc0t", b"M\xff\xfft")
            target.writestr(name, data)
    return longer.getvalue()


def _bare_pickle(outside: Path) -> bytes:
    return pickle.dumps(_Runs(outside))


def _program(outside: Path) -> bytes:
    """``torch.load`` takes an archive with constants.pkl for TorchScript, and runs its loader."""
    return harmless()


def _custom_object(path: Path, outside: Path) -> None:
    rewrite(
        harmless_export(), path, extra={"{root}/data/constants/opaque_obj_0": pickle.dumps(_Runs(outside))}
    )


def _kernel(path: Path, outside: Path) -> None:
    rewrite(harmless_export(), path, extra={"{root}/data/aotinductor/model/model.so": b"\x7fELF"})


def _hides_in_sample(path: Path, outside: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        if not name.endswith("sample_inputs/model.pt"):
            return data
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(_Runs(outside), protocol=2))
        return buffer.getvalue()

    rewrite(harmless_export(), path, change)


PICKLES = {
    "os.system in data.pkl": Hostile(
        "runs a command", _replaces("/data.pkl", 2), Wall.PICKLE, "'posix.system'"
    ),
    "os.system in constants.pkl": Hostile(
        "runs a command", _replaces("/constants.pkl", 2), Wall.PICKLE, "'posix.system'"
    ),
    "os.system in debug_pkl": Hostile(
        "runs a command", _replaces("base.py.debug_pkl", 2), Wall.PICKLE, "'posix.system'"
    ),
    "computed global": Hostile("names os.system by parts", _replaces("/data.pkl", 4), Wall.PICKLE, "uses "),
    "class of C++": Hostile("makes an object of C++", _class_of_nowhere, Wall.PICKLE, "torch.classes"),
    "second pickle": Hostile("hides behind the first", _trailing, Wall.PICKLE, "after its end"),
    "storage too long": Hostile(
        "reads memory behind a record", _data(b"K\xc0t", b"M\xff\xfft"), Wall.PICKLE, "which holds 768 bytes"
    ),
    "view too far": Hostile(
        "writes memory behind a storage",
        _data(b"(K@K\x01", b"(M\xff\xffK\x01"),
        Wall.PICKLE,
        "of a storage of 192",
    ),
    "view too far, built": Hostile("calls where Python does not", _built, Wall.PICKLE, "of a storage of 192"),
    "call by a kind's number": Hostile(
        "calls what stands for float32", _data(b"h\x06((h\x07", b"h\x08((h\x07"), Wall.PICKLE, "does not name"
    ),
    "items that share memory": Hostile(
        "makes a tensor that nothing can be written to",
        _data(b"(K@K\x01", b"(K\x00K\x01"),
        Wall.PICKLE,
        "share memory",
        ErrorCode.MODEL_UNSUPPORTED,
    ),
    "mark as value": Hostile(
        "has PyTorch take another value", _data(b"\x88ccoll", b"\x88(0ccoll"), Wall.PICKLE, "takes a mark"
    ),
    "call by number": Hostile("calls what it does not name", _call_by_number, Wall.PICKLE, "does not name"),
    "pt2: pickled weight": Hostile("runs a command", _pickled_weight(_saved), Wall.PICKLE, "'posix.system'"),
    "pt2: pickled weight too long": Hostile(
        "reads memory behind a record",
        _pickled_weight(_longer_than_its_record),
        Wall.PICKLE,
        "which holds 768 bytes",
    ),
    "pt2: sample input": Hostile("runs a command", _hides_in_sample, Wall.PICKLE, "'posix.system'"),
}

EXPORTS = {
    "pt2: bare pickle": Hostile(
        "runs a command", _pickled_weight(_bare_pickle), Wall.EXPORT, "outside of an archive"
    ),
    "pt2: program as weight": Hostile(
        "loads TorchScript unseen", _pickled_weight(_program), Wall.EXPORT, "does not write"
    ),
    "pt2: target": Hostile("calls torch.hub.load", _export(_target), Wall.EXPORT, "'torch.hub.load'"),
    "pt2: operator": Hostile("reads a file", _export(_operator), Wall.EXPORT, "aten.from_file"),
    "pt2: input's name": Hostile(
        "is run as a default value", _rename("x", f"x={_COMMAND}"), Wall.EXPORT, "could become code"
    ),
    "pt2: input called torch": Hostile(
        "takes PyTorch's place in the function", _rename("x", "torch"), Wall.EXPORT, "could become code"
    ),
    "pt2: input called self": Hostile(
        "is an argument twice", _rename("x", "self"), Wall.EXPORT, "could become code"
    ),
    "pt2: value's name": Hostile(
        "is assigned to an attribute",
        _rename("flatten", "torch.Tensor.add"),
        Wall.EXPORT,
        "could become code",
    ),
    "pt2: parameter's name": Hostile(
        "breaks out of a string",
        _rename("fc.weight", f'w"+str({_COMMAND})+"'),
        Wall.EXPORT,
        "could become code",
    ),
    "pt2: folder called extra": Hostile(
        "passes for texts that nobody reads", _in_folder("extra"), Wall.EXPORT, "could become code"
    ),
    "pt2: folder called extra_files": Hostile(
        "passes for texts that nobody reads", _in_folder("extra_files"), Wall.EXPORT, "could become code"
    ),
    "pt2: two folders": Hostile(
        "has readers differ on what is in it", _two_folders, Wall.EXPORT, "lie in 2 folders"
    ),
    "pt2: argument's name": Hostile(
        "is run as a default value", _export(_argument), Wall.EXPORT, "could become code"
    ),
    "pt2: guard": Hostile("runs Python in exec", _export(_guard), Wall.EXPORT, "no comparison of sizes"),
    "pt2: guard's name": Hostile(
        "breaks out of a string", _export(_guard_in_name), Wall.EXPORT, "no comparison"
    ),
    "pt2: symbolic size": Hostile("runs Python in sympify", _export(_size), Wall.EXPORT, "no arithmetic"),
    "pt2: huge size": Hostile("computes for ever", _export(_huge_size), Wall.EXPORT, "no arithmetic"),
    "pt2: tree": Hostile("imports a module", _export(_tree), Wall.EXPORT, "packs"),
    "pt2: custom object": Hostile("unpickles an object", _custom_object, Wall.EXPORT, "opaque_obj_0"),
    "pt2: kernel": Hostile("loads a shared library", _kernel, Wall.EXPORT, "model.so"),
}
