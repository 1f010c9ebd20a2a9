"""What is known about an uploaded classifier."""

from __future__ import annotations

from dataclasses import dataclass

from ladder_core.classifier.outputs import OutputForm

ONE_LOGIT = (
    "one unbounded score per image: it was read as the logit of class 1 of two, as BCEWithLogitsLoss trains "
    "it, so a score above 0 means class 1; with another threshold, end the model in a sigmoid or two logits"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Facts about an uploaded classifier; those a file does not tell are None until a batch was probed.

    Attributes:
        format: The file's format: ``torchscript``, ``frozen torchscript`` or ``torch.export``.
        input_shape: (C, H, W) of the images, before preprocessing.
        num_classes: K.
        latent_dim: D, the length of one image's latents.
        head: The operation that makes scores of latents: ``linear``, ``matmul+add`` ...
        head_is_affine: Whether the logits are one affine map of the latents.
        output_form: The scale of the scores the file returns.
        output_key: Where in a returned tuple or dictionary the scores are; None for a plain tensor.
        parameter_count: The number of numbers that train.
        operators: The operators the program uses, sorted.
        caveats: What the file cannot give back in training, each a sentence.
    """

    format: str
    input_shape: tuple[int, ...] | None
    num_classes: int | None
    latent_dim: int | None
    head: str
    head_is_affine: bool
    output_form: OutputForm
    output_key: int | str | None
    parameter_count: int
    operators: tuple[str, ...]
    caveats: tuple[str, ...]
