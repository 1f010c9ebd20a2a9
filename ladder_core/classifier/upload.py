"""What a file format must provide; everything else works on these and knows no format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor

from ladder_core.classifier.graph import Graph, tensor_names
from ladder_core.classifier.network import UploadedTensor
from ladder_core.classifier.outputs import OutputSpec


class Upload(Protocol):
    """A file that was read: its program, its tensors, and what its owner should know."""

    @property
    def format(self) -> str:
        """The file's format in a user's words."""
        ...

    @property
    def graph(self) -> Graph:
        """The forward method; its tensors go by the names of ``tensors``."""
        ...

    @property
    def tensors(self) -> Mapping[str, UploadedTensor]:
        """The tensors of the program and of the state_dict, by public name; the file's own, not copies."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """(C, H, W) of the program's input, if the file fixes it."""
        ...

    @property
    def caveats(self) -> tuple[str, ...]:
        """What the file cannot give back in training, each a sentence."""
        ...


class RestoredFile(Protocol):
    """The file itself, uncompiled and in eval mode, with tensors of ours in place of its own."""

    @property
    def tensors(self) -> Mapping[str, UploadedTensor]:
        """Its tensors by public name."""
        ...

    def scores(self, images: Tensor, output: OutputSpec) -> Tensor | None:
        """What the file makes of images; None where it cannot say the same as its compiled form.

        That is so if it computes in half precision, or only runs on a device that it names.

        Raises:
            ModelError: ``MODEL_REJECTS_IMAGES`` if the file does not take images of this shape.
        """
        ...


class ModelFile(Protocol):
    """An uploaded file on disk; it must stay in place as long as the classifier that came from it."""

    def read(self) -> Upload:
        """Load and parse the file.

        Raises:
            ModelError: ``MODEL_UNREADABLE`` or ``MODEL_UNSUPPORTED``.
        """
        ...

    def restore(self, state: Mapping[str, Tensor]) -> RestoredFile:
        """A fresh copy of the file with the tensors of ``state`` in place of its own.

        Args:
            state: Tensors by public name; names that are missing keep the upload's values.
        """
        ...

    def save(self, state: Mapping[str, Tensor], path: Path) -> None:
        """Write the file with the tensors of ``state``: its own code, signature, names and extra files."""
        ...


def is_half(tensors: Mapping[str, UploadedTensor]) -> bool:
    """Whether any of the tensors has half precision, which the classifier computes in float32."""
    return any(
        item.tensor.is_floating_point() and item.tensor.element_size() == 2 for item in tensors.values()
    )


def shared_caveats(tensors: Mapping[str, UploadedTensor], graph: Graph) -> Iterator[str]:
    """What no format can give back in training mode, in sentences for the file's owner."""
    counters = {name for name in tensors if name.rpartition(".")[2] == "num_batches_tracked"}
    if counters - tensor_names(graph.block):
        yield "num_batches_tracked is not advanced: the program does not count batches"
    if is_half(tensors):
        yield "half-precision weights train in float32 and are saved in their own type"
