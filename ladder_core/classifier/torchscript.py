"""A TorchScript file: read it into a graph and tensors, and write trained tensors back into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ladder_core.classifier.archive import load_script
from ladder_core.classifier.checks import images_rejected
from ladder_core.classifier.frozen import adopt_constants, is_frozen, separate_constants
from ladder_core.classifier.graph import Graph, walk
from ladder_core.classifier.network import UploadedTensor
from ladder_core.classifier.outputs import OutputSpec
from ladder_core.classifier.parse import parse
from ladder_core.classifier.precision import widen_casts
from ladder_core.classifier.upload import is_half, shared_caveats


@dataclass(frozen=True, slots=True)
class ScriptUpload:
    """A TorchScript file, read once; both the program to compile and the file as it runs.

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

    @property
    def format(self) -> str:
        """The file's format in a user's words."""
        return "frozen torchscript" if self.frozen else "torchscript"

    @property
    def input_shape(self) -> None:
        """TorchScript says nothing about the shape of the images."""
        return

    @property
    def caveats(self) -> tuple[str, ...]:
        """What the file cannot give back in training, each a sentence."""
        return tuple(_caveats(self))

    def scores(self, images: Tensor, output: OutputSpec) -> Tensor | None:
        """What the module makes of images; see ``RestoredFile``."""
        if is_half(self.tensors):
            return None
        # What a module keeps in a list, PyTorch moves to no other device.
        device = torch.device("cpu") if self.graph.baked.lists else images.device
        try:
            returned = self.script.to(device)(images.to(device))
        except RuntimeError as error:
            if self.graph.baked.devices - {device.type}:
                return None
            raise images_rejected(images, error) from error
        return output.scores(returned).to(images.device)


@dataclass(frozen=True, slots=True)
class TorchScriptFile:
    """An uploaded TorchScript file on disk; see ``ModelFile``."""

    path: Path

    def read(self) -> ScriptUpload:
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
        if is_half(tensors):
            widen_casts(graph)
        return ScriptUpload(script, extra_files, graph, tensors, frozen)

    def restore(self, state: Mapping[str, Tensor]) -> ScriptUpload:
        """A fresh copy of the module, in eval mode, with the tensors of ``state``; see ``ModelFile``."""
        upload = self.read()
        with torch.no_grad():
            for name, uploaded in upload.tensors.items():
                if name in state:
                    uploaded.tensor.copy_(state[name])
        upload.script.eval()
        return upload

    def save(self, state: Mapping[str, Tensor], path: Path) -> None:
        """Write the module with the tensors of ``state``; see ``ModelFile``."""
        upload = self.restore(state)
        torch.jit.save(upload.script, str(path), _extra_files=dict(upload.extra_files))


def _caveats(upload: ScriptUpload) -> Iterator[str]:
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
    yield from shared_caveats(upload.tensors, upload.graph)
