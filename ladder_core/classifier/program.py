"""An uploaded program, compiled: the two halves that run, and what is known about the whole."""

from __future__ import annotations

from dataclasses import dataclass

from ladder_core.classifier.emit import Function, compile_block
from ladder_core.classifier.graph import Graph, writes_images
from ladder_core.classifier.head import Head, find_head
from ladder_core.classifier.outputs import OutputForm, OutputSpec, find_tails
from ladder_core.classifier.slicing import affine_block, features_block, head_block, latents_of
from ladder_core.errors import ModelError
from ladder_schema.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled classifier without its tensors.

    Attributes:
        features: ``features.call(w, x, training)`` returns the latents, one tensor for each input of the
        head.
        head: ``head.call(w, *latents, training)`` returns ``(logits,)``.
        affine: ``affine.call(w, training)`` returns the head's ``(weight, bias)``, or ``(weight,)``; None if
            the head is no affine map.
        transposed: Whether that weight is (D, K) rather than (K, D).
        head_kind: The head in a user's words.
        output: How the file returns its scores.
        writes_images: Whether forward may change the images it is given.
    """

    features: Function
    head: Function
    affine: Function | None
    transposed: bool
    head_kind: str
    output: OutputSpec
    writes_images: bool


def compile_graph(graph: Graph) -> Program:
    """Compile a forward method.

    Raises:
        ModelError: ``MODEL_NOT_CLASSIFIER`` or ``MODEL_UNSUPPORTED``, with the reason.
    """
    key, tails = find_tails(graph)
    forms = {tail.form for tail in tails if not tail.in_training_only} or {tail.form for tail in tails}
    if len(forms) > 1:
        raise ModelError(
            ErrorCode.MODEL_UNSUPPORTED,
            f"branches of the program return different scales of scores ({', '.join(sorted(forms))}); "
            "return one",
        )
    head = find_head(graph, list(dict.fromkeys(tail.logits for tail in tails)))
    return Program(
        features=compile_block("features", features_block(graph, head), [graph.images]),
        head=compile_block("head", head_block(graph, head), latents_of(head)),
        affine=_compile_affine(graph, head),
        transposed=head.sites[0].class_axis == 1,
        head_kind=head.kind,
        output=OutputSpec(forms.pop() if forms else OutputForm.LOGITS, key),
        writes_images=writes_images(graph),
    )


def _compile_affine(graph: Graph, head: Head) -> Function | None:
    return compile_block("affine", affine_block(graph, head), []) if head.is_affine else None
