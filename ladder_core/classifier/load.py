"""From an uploaded file to a ``Classifier``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from ladder_core.classifier.archive import ArchiveKind, archive_kind
from ladder_core.classifier.description import Description
from ladder_core.classifier.exported import ExportFile
from ladder_core.classifier.graph import walk
from ladder_core.classifier.network import Network
from ladder_core.classifier.preprocessing import Preprocess
from ladder_core.classifier.program import compile_graph
from ladder_core.classifier.torchscript import TorchScriptFile
from ladder_core.classifier.upload import ModelFile
from ladder_core.classifier.wrapper import Classifier
from ladder_core.errors import ModelError
from ladder_core.harm.tensors import check_tensors
from ladder_schema.config import Preprocessing
from ladder_schema.errors import ErrorCode


def load_classifier(
    path: Path, *, device: torch.device | str = "cpu", preprocessing: Preprocessing | None = None
) -> Classifier:
    """Load an uploaded classifier: TorchScript, traced, scripted or frozen, or a ``torch.export`` program.

    The file runs its own code while it is loaded: call this only where that can do no harm.

    Args:
        path: The uploaded file. It must stay in place as long as the classifier, which reads it again to
        save.
        device: Where the classifier lives; a device that tracing had fixed does not matter.
        preprocessing: What the model expects of its input; folded in front of it, so that images are always
            pixels in [0, 1]. The saved file is without it.

    Returns:
        The classifier, in eval mode, every parameter trainable.

    Raises:
        ModelError: ``MODEL_UNREADABLE``, ``MODEL_UNSUPPORTED``, ``MODEL_NOT_CLASSIFIER`` or ``MODEL_UNSAFE``;
            the message says what is wrong and how to mend it.
    """
    is_export = archive_kind(path) is ArchiveKind.EXPORT
    file: ModelFile = ExportFile(path) if is_export else TorchScriptFile(path)
    try:
        upload = file.read()
        check_tensors({name: uploaded.tensor for name, uploaded in upload.tensors.items()})
        program = compile_graph(upload.graph)
    except (RecursionError, SyntaxError) as error:  # of ours, or of the source that PyTorch writes
        raise ModelError(
            ErrorCode.MODEL_UNSUPPORTED,
            "the program is nested too deeply, or uses names that are no Python names: write it with fewer "
            "levels of loops, branches and expressions within each other, and rename what is named oddly",
        ) from error
    network = Network(upload.tensors)
    description = Description(
        format=upload.format,
        input_shape=upload.input_shape if preprocessing is None or preprocessing.resize is None else None,
        num_classes=None,
        latent_dim=None,
        head=program.head_kind,
        head_is_affine=program.affine is not None,
        output_form=program.output.form,
        output_key=program.output.key,
        parameter_count=sum(parameter.numel() for parameter in network.parameters()),
        operators=tuple(sorted({node.name for node in walk(upload.graph.block)})),
        caveats=(*upload.caveats, *_choice(program.output.key)),
    )
    preprocess = Preprocess(preprocessing) if preprocessing is not None else None
    return Classifier(program, network, file, description, preprocess).to(device).eval()


def _choice(key: int | str | None) -> Iterator[str]:
    """What was decided where forward returns several things."""
    if key is not None:
        yield f"forward returns several things: {key!r} was taken for the class scores"
