"""A ``torch.export`` file (.pt2): read it into a graph and tensors, and write trained tensors into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind
from torch.export.passes import move_to_device_pass
from torch.utils import _pytree as pytree

from ladder_core.classifier.archive import as_module, load_export
from ladder_core.classifier.batch import BatchRange, batch_range
from ladder_core.classifier.checks import agree
from ladder_core.classifier.free_batch import CannotFree, free_batch
from ladder_core.classifier.graph import Graph
from ladder_core.classifier.network import UploadedTensor
from ladder_core.classifier.outputs import OutputSpec
from ladder_core.classifier.parse_export import image_input, parse_export
from ladder_core.classifier.upload import is_half, shared_caveats
from ladder_core.errors import ModelError
from ladder_schema.errors import ErrorCode

_FEW = 3


@dataclass(frozen=True, slots=True)
class ExportUpload:
    """A ``torch.export`` file, read once.

    Attributes:
        graph: Its forward method, for any number of images.
        tensors: Its parameters, buffers and constants by their names in the user's model.
        input_shape: (C, H, W) of the images, None if the file leaves any of them open.
        caveats: What the file cannot give back in training.
    """

    graph: Graph
    tensors: Mapping[str, UploadedTensor]
    input_shape: tuple[int, ...] | None
    caveats: tuple[str, ...]

    @property
    def format(self) -> str:
        """The file's format in a user's words."""
        return "torch.export"


@dataclass(frozen=True, slots=True)
class LoadedExport:
    """A ``torch.export`` file as it runs.

    Attributes:
        program: The program as saved; ``tensors`` are its own, not copies.
        extra_files: What the user stored beside it.
        tensors: Its parameters, buffers and constants by their names in the user's model.
        images: The node of its graph that stands for the images.
        batch: How many images it takes at once.
    """

    program: ExportedProgram
    extra_files: Mapping[str, str]
    tensors: Mapping[str, UploadedTensor]
    images: fx.Node
    batch: BatchRange

    @classmethod
    def load(cls, path: Path) -> LoadedExport:
        """Load a file.

        Raises:
            ModelError: ``MODEL_UNREADABLE`` or ``MODEL_UNSUPPORTED``.
        """
        program, extra_files = load_export(path)
        spec = image_input(program)
        images = next(node for node in program.graph.nodes if node.name == spec.arg.name)
        return cls(program, extra_files, _tensors(program), images, batch_range(program, images))

    @property
    def exported_shape(self) -> tuple[int | torch.SymInt, ...]:
        """The shape of one image; dimensions that may change are symbols."""
        return tuple(self.images.meta["val"].shape[1:])

    def scores(self, images: Tensor, output: OutputSpec) -> Tensor | None:
        """What the program makes of images, in batches it takes; see ``RestoredFile``."""
        if is_half(self.tensors):
            return None
        self._check_shape(tuple(images.shape[1:]))
        program = self.program
        if images.device != self.images.meta["val"].device:
            program = move_to_device_pass(program, images.device)
        module = as_module(program)
        return self.batch.run(lambda part: output.scores(self._call(module, part)), images)

    def _call(self, module: torch.nn.Module, images: Tensor) -> object:
        """Call the program as it was exported, by position or keyword, its other arguments as given then."""
        in_spec = self.program.call_spec.in_spec
        assert in_spec is not None  # noqa: S101 - every program that was exported has one
        inputs = [
            spec.arg.value if isinstance(spec.arg, ConstantArgument) else images
            for spec in self.program.graph_signature.input_specs
            if spec.kind is InputKind.USER_INPUT
        ]
        arguments, options = pytree.tree_unflatten(inputs, in_spec)
        return module(*arguments, **options)

    def _check_shape(self, given: tuple[int, ...]) -> None:
        expected = self.exported_shape
        fits = len(given) == len(expected) and all(
            not isinstance(length, int) or length == other
            for length, other in zip(expected, given, strict=True)
        )
        if not fits:
            raise ModelError(
                ErrorCode.MODEL_REJECTS_IMAGES,
                f"the model was exported for images of shape {expected} (channels, height, width) and does "
                f"not accept {given}; send such images, or set preprocessing.resize",
            )

    def freed_graph(self) -> fx.Graph:
        """The program's graph, its number of images left open.

        Raises:
            ModelError: ``MODEL_UNSUPPORTED`` if it takes exactly one number of images, for good.
        """
        try:
            freed = free_batch(self.program.graph, self.images, self.batch.low)
            if self._agrees(freed):
                return freed
        except CannotFree:
            pass
        raise ModelError(
            ErrorCode.MODEL_UNSUPPORTED,
            f"the model was exported for batches of exactly {self.batch.low} image(s) and its program cannot "
            "take others; export it with dynamic_shapes=({0: torch.export.Dim('batch')},)",
        )

    def _agrees(self, freed: fx.Graph) -> bool:
        """Whether a freed graph says of a few random images what the program says of them batch by batch."""
        shape = [length for length in self.exported_shape if isinstance(length, int)]
        if len(shape) != len(self.exported_shape):
            return False
        count = _FEW + (self.batch.low == _FEW)
        images = torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))
        images = images.to(self.images.meta["val"])
        tensors = {name: uploaded.tensor for name, uploaded in self.tensors.items()}
        specs = self.program.graph_signature.input_specs
        inputs = [tensors[spec.target] if spec.target is not None else images for spec in specs]
        with torch.no_grad():
            module = as_module(self.program)
            expected = self.batch.run(lambda part: _joined(self._call(module, part)), images)
            interpreter = fx.Interpreter(self.program.graph_module, graph=freed)
            freely = _joined(interpreter.run(*inputs))
        return agree(freely, expected)


def _joined(output: object) -> Tensor:
    """All numbers a program returns, one row for each image."""
    tensors = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
    return torch.cat([tensor.reshape(len(tensor), -1).float() for tensor in tensors], 1)


@dataclass(frozen=True, slots=True)
class ExportFile:
    """An uploaded ``torch.export`` file on disk; see ``ModelFile``."""

    path: Path

    def read(self) -> ExportUpload:
        """Load and parse the file.

        Raises:
            ModelError: ``MODEL_UNREADABLE`` or ``MODEL_UNSUPPORTED``.
        """
        loaded = LoadedExport.load(self.path)
        half = is_half(loaded.tensors)
        # Parsed as it is first: what cannot be run is not run in search of its batch size either.
        graph = parse_export(loaded.program, loaded.program.graph, is_half=half)
        if loaded.batch.is_fixed:
            graph = parse_export(loaded.program, loaded.freed_graph(), is_half=half)
        shape = tuple(length for length in loaded.exported_shape if isinstance(length, int))
        return ExportUpload(
            graph=graph,
            tensors=loaded.tensors,
            input_shape=shape if len(shape) == len(loaded.exported_shape) else None,
            caveats=tuple(_caveats(loaded, graph)),
        )

    def restore(self, state: Mapping[str, Tensor]) -> LoadedExport:
        """A fresh copy of the program with the tensors of ``state``; see ``ModelFile``."""
        loaded = LoadedExport.load(self.path)
        with torch.no_grad():
            for name, uploaded in loaded.tensors.items():
                if name in state:
                    uploaded.tensor.copy_(state[name])
        return loaded

    def save(self, state: Mapping[str, Tensor], path: Path) -> None:
        """Write the program with the tensors of ``state``; see ``ModelFile``."""
        loaded = self.restore(state)
        with path.open("wb") as file:
            torch.export.save(loaded.program, file, extra_files=dict(loaded.extra_files))


def _tensors(program: ExportedProgram) -> dict[str, UploadedTensor]:
    """The tensors of a program by their names in the user's model, in the order of the state_dict.

    Raises:
        ModelError: ``MODEL_UNSUPPORTED`` if there is anything else than tensors.
    """
    specs = {spec.target: spec for spec in program.graph_signature.input_specs if spec.target is not None}
    found: dict[str, UploadedTensor] = {}
    for name, tensor in [*program.state_dict.items(), *program.constants.items()]:
        if not isinstance(tensor, Tensor) or type(tensor) not in (Tensor, torch.nn.Parameter):
            raise ModelError(
                ErrorCode.MODEL_UNSUPPORTED,
                f"the program holds an object that is no plain tensor ({name}); keep to tensors and to "
                "PyTorch's own layers",
            )
        trainable = name in specs and specs[name].kind is InputKind.PARAMETER
        found[name] = UploadedTensor(tensor, trainable=trainable, persistent=name in program.state_dict)
    return found


def _caveats(loaded: LoadedExport, graph: Graph) -> Iterator[str]:
    """What the file cannot give back in training mode, in sentences for its owner."""
    yield "exported file: what only training runs, such as stochastic depth or attention dropout, is gone"
    if loaded.program.dialect == "ATEN":
        yield "decomposed program: dropout is gone"
    if loaded.batch.is_fixed:
        yield (
            f"exported for batches of exactly {loaded.batch.low} image(s): it trains on any number, and the "
            "saved file still takes that number alone"
        )
    elif loaded.batch.high is not None:
        yield f"exported for batches of at most {loaded.batch.high} images, which the saved file still is"
    yield from shared_caveats(loaded.tensors, graph)
