"""A TorchScript file: read it into a graph and tensors, and write trained tensors back into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ladder_core.classifier.archive import load_script
from ladder_core.classifier.frozen import adopt_constants, is_frozen, separate_constants
from ladder_core.classifier.graph import Graph, tensor_names, walk
from ladder_core.classifier.network import UploadedTensor
from ladder_core.classifier.parse import parse


@dataclass(frozen=True, slots=True)
class Upload:
    """A TorchScript file, read once.

    Attributes:
        script: The module as saved; ``tensors`` are its own, not copies.
        extra_files: What the user stored beside it.
        graph: Its forward method.
        tensors: Its tensors by public name: parameters, buffers, and constants of the program text.
        frozen: Whether its weights are in the program text.
    """

    script: torch.jit.ScriptModule
    extra_files: Mapping[str, bytes]
    graph: Graph
    tensors: Mapping[str, UploadedTensor]
    frozen: bool


@dataclass(frozen=True, slots=True)
class TorchScriptFile:
    """An uploaded file on disk; it must stay in place as long as the classifier that came from it."""

    path: Path

    def read(self) -> Upload:
        """Load and parse the file.

        Raises:
            ModelError: ``MODEL_UNREADABLE`` or ``MODEL_UNSUPPORTED``.
        """
        script, extra_files = load_script(self.path)
        frozen = is_frozen(script)
        if frozen:
            separate_constants(script)
        graph = parse(script)
        parameters = dict(script.named_parameters(remove_duplicate=False))
        state = script.state_dict(keep_vars=True)
        tensors = {
            name: UploadedTensor(tensor, trainable=name in parameters, persistent=name in state)
            for name, tensor in [*parameters.items(), *script.named_buffers()]
        }
        tensors.update(adopt_constants(graph, frozen=frozen))
        return Upload(script, extra_files, graph, tensors, frozen)

    def restore(self, state: Mapping[str, Tensor]) -> Upload:
        """A fresh copy of the upload, in eval mode, with the tensors of ``state`` in place of its own.

        Args:
            state: Tensors by public name; names that are missing keep the upload's values.
        """
        upload = self.read()
        with torch.no_grad():
            for name, uploaded in upload.tensors.items():
                if name in state:
                    uploaded.tensor.copy_(state[name])
        upload.script.eval()
        return upload

    def save(self, state: Mapping[str, Tensor], path: Path) -> None:
        """Write the upload with the tensors of ``state``: its own code, signature, names and extra files."""
        upload = self.restore(state)
        torch.jit.save(upload.script, str(path), _extra_files=dict(upload.extra_files))


def caveats(upload: Upload) -> Iterator[str]:
    """What the file cannot give back in training mode, in sentences for its owner."""
    operators = {node.name for node in walk(upload.graph.block)}
    if upload.frozen:
        yield (
            "frozen file: dropout is gone, batch norms were folded into convolutions where possible, and "
            "weights have no names of the user's"
        )
        fixed = sum(not tensor.persistent for tensor in upload.tensors.values())
        if fixed:
            yield f"frozen file: {fixed} constant tensors that no layer uses as weights stay as they are"
    elif upload.graph.baked.modes or "aten::_convolution" in operators:
        yield "traced file: what only training runs, such as stochastic depth or attention dropout, is gone"
    counters = {name for name in upload.tensors if name.rpartition(".")[2] == "num_batches_tracked"}
    if counters - tensor_names(upload.graph.block):
        yield "num_batches_tracked is not advanced: the program does not count batches"
    if any(tensor.tensor.dtype in (torch.float16, torch.bfloat16) for tensor in upload.tensors.values()):
        yield "half-precision weights train in float32 and are saved in their own type"
