"""The classifier that the hardening methods see."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from ladder_core.classifier.checks import (
    check_classes,
    check_same_as_file,
    check_scores,
    images_rejected,
    one_position_needed,
)
from ladder_core.classifier.description import ONE_LOGIT, Description
from ladder_core.classifier.network import Network
from ladder_core.classifier.preprocessing import Preprocess
from ladder_core.classifier.program import Program
from ladder_core.classifier.upload import ModelFile


class Classifier(nn.Module):
    """An uploaded classifier, split at its head and trainable.

    ``forward(x)`` is ``head(features(x))``, bit for bit. Images are pixels in [0, 1], (N, C, H, W), float32;
    preprocessing happens inside. Logits are (N, K) float32 whatever the file returns: a file that returns one
    probability, or its logit, gets the logits ``(0, l)``, whose softmax is ``(1 - p, p)``.

    ``train()`` and ``eval()`` switch batch norm and dropout even where the file had fixed them. Parameters,
    buffers and the state_dict carry the upload's own names. Build one with ``load_classifier``.
    """

    def __init__(
        self,
        program: Program,
        network: Network,
        file: ModelFile,
        description: Description,
        preprocess: Preprocess | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.preprocess = preprocess
        self._program = program
        self._file = file
        self._description = description
        self._latent_shapes: tuple[torch.Size, ...] | None = None
        self._feature_tensors = network.locations(program.features.tensors)
        self._head_tensors = network.locations(program.head.tensors)
        self._affine_tensors = network.locations(program.affine.tensors) if program.affine else []
        if self.head_is_affine:
            self._settle_output(len(self.head_weight))
            classes, latents = self.head_weight.shape
            check_classes(classes, self._program.output.form)
            self._description = replace(self._description, num_classes=classes, latent_dim=latents)

    # Running

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of pixels (N, C, H, W) in [0, 1]."""
        return self.head(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Latents (N, D): what enters the head, flattened.

        The shape of one image's latents is remembered for ``head``; heads other than a linear layer need it.
        """
        if self.preprocess is not None:
            x = self.preprocess(x)
        if self._program.writes_images:
            x = x.clone()  # The batch is the caller's.
        weights = [tensors[name] for tensors, name in self._feature_tensors]
        latents = self._program.features.call(weights, x, self.training)
        self._latent_shapes = tuple(latent.shape[1:] for latent in latents)
        flat = [latent.flatten(1) for latent in latents]
        return flat[0] if len(flat) == 1 else torch.cat(flat, 1)

    def head(self, z: Tensor) -> Tensor:
        """Logits (N, K) of latents (N, D).

        Raises:
            RuntimeError: If the head is no linear layer and no image was seen yet (see ``probe``).
        """
        weights = [tensors[name] for tensors, name in self._head_tensors]
        (logits,) = self._program.head.call(weights, *self._unflatten(z), self.training)
        if logits.dim() == 1:
            logits = logits.unsqueeze(1)
        elif logits.dim() > 2:
            logits = logits.flatten(1)
        self._settle_output(logits.shape[1])
        if self._program.output.form.is_binary:
            logits = torch.cat([torch.zeros_like(logits), logits], 1)
        return logits

    def _unflatten(self, z: Tensor) -> list[Tensor]:
        shapes = self._latent_shapes
        if shapes is None:
            return [z]
        if len(shapes) == 1 and len(shapes[0]) == 1:
            return [z]
        parts = torch.split(z, [math.prod(shape) for shape in shapes], 1)
        return [part.reshape(len(z), *shape) for part, shape in zip(parts, shapes, strict=True)]

    # The affine head in closed form

    @property
    def head_is_affine(self) -> bool:
        """Whether ``head(z) == z @ head_weight.T + head_bias``."""
        return self._program.affine is not None

    @property
    def head_weight(self) -> Tensor:
        """The head's weight (K, D), a live view of the parameter, or computed from it; gradients flow.

        Raises:
            RuntimeError: If the head is not affine.
        """
        weight = self._affine()[0]
        weight = weight.t() if self._program.transposed else weight.flatten(1)
        if self._program.output.form.is_binary:
            weight = torch.cat([torch.zeros_like(weight), weight])
        return weight

    @property
    def head_bias(self) -> Tensor:
        """The head's bias (K), likewise; zeros where the head has none.

        Raises:
            RuntimeError: If the head is not affine.
        """
        parts = self._affine()
        if len(parts) == 1:
            weight = self.head_weight
            return weight.new_zeros(len(weight))
        bias = parts[1].flatten()
        if self._program.output.form.is_binary:
            bias = torch.cat([torch.zeros_like(bias), bias])
        return bias

    def _affine(self) -> tuple[Tensor, ...]:
        if self._program.affine is None:
            raise RuntimeError("the head is not affine; compute margins with head(z)")
        weights = [tensors[name] for tensors, name in self._affine_tensors]
        return self._program.affine.call(weights, self.training)

    # Sizes and description

    @property
    def num_classes(self) -> int:
        """K. Known from the start for an affine head, else after ``probe``."""
        return self._known(self._description.num_classes)

    @property
    def latent_dim(self) -> int:
        """D. Known from the start for an affine head, else after ``probe``."""
        return self._known(self._description.latent_dim)

    def describe(self) -> Description:
        """What is known about the upload; ``probe`` a batch first to know all of it."""
        return self._description

    def probe(self, x: Tensor) -> Description:
        """Run a batch of images through the classifier and through the file itself, and compare.

        Args:
            x: Pixels (N, C, H, W) in [0, 1], on the classifier's device; a few images are enough.

        Returns:
            The description, now complete.

        Raises:
            ModelError: ``MODEL_REJECTS_IMAGES`` if the model raises on the batch, ``MODEL_NOT_CLASSIFIER`` if
                the output is not one score per class, ``MODEL_UNSUPPORTED`` if the two disagree.
        """
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                latents, logits = self._run(x)
                check_scores(logits, x)
                check_classes(logits.shape[1], self._program.output.form)
                if self.head_is_affine and latents.shape[1] != self.latent_dim:
                    raise one_position_needed(latents.shape[1] // self.latent_dim)
                images = x.clone() if self.preprocess is None else self.preprocess(x)
                check_same_as_file(
                    logits, images, self._program.output, self._file.restore(self._detached_state())
                )
        finally:
            self.train(was_training)
        self._description = replace(
            self._description,
            num_classes=logits.shape[1],
            latent_dim=latents.shape[1],
            input_shape=tuple(x.shape[1:]),
        )
        return self._description

    def _settle_output(self, scores: int) -> None:
        """Take one unbounded score per image for a binary logit, and say so."""
        output = self._program.output.of(scores)
        if output is self._program.output:
            return
        self._program = replace(self._program, output=output)
        caveats = (*self._description.caveats, ONE_LOGIT)
        self._description = replace(self._description, output_form=output.form, caveats=caveats)

    def _run(self, x: Tensor) -> tuple[Tensor, Tensor]:
        try:
            latents = self.features(x)
            return latents, self.head(latents)
        except (RuntimeError, ArithmeticError, IndexError, TypeError, ValueError) as error:
            raise images_rejected(x, error) from error

    @staticmethod
    def _known(size: int | None) -> int:
        if size is None:
            raise RuntimeError("this head's sizes are known after probe(images)")
        return size

    # Copies and files

    def clone(self) -> Self:
        """An independent classifier with the same weights, buffers and mode, and no gradients."""
        twin = copy.deepcopy(self)
        twin.zero_grad(set_to_none=True)
        return twin

    def save(self, path: Path) -> None:
        """Write the uploaded file with the present weights, in eval mode, without preprocessing.

        The file has the upload's own code, signature, output, names, precision and extra files, and loads
        with torch alone. Its tensors are on the CPU.

        Raises:
            ModelError: ``MODEL_UNREADABLE`` if the uploaded file, which is read again, is gone.
        """
        self._file.save(self._detached_state(), path)

    def upload_state_dict(self) -> dict[str, Tensor]:
        """The tensors under exactly the upload's names, detached, on the CPU and in the upload's precision.

        A frozen file has no names of its own: its weights are called ``<operator>_<number>.<argument>``.
        """
        restored = self._file.restore(self._detached_state())
        return {name: item.tensor.detach() for name, item in restored.tensors.items() if item.persistent}

    def _detached_state(self) -> dict[str, Tensor]:
        members = [*self.network.named_parameters(remove_duplicate=False), *self.network.named_buffers()]
        return {name: tensor.detach() for name, tensor in members}

    # The upload's names: the wrapper adds no prefix of its own

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """The upload's parameters under the upload's names."""
        return self.network.named_parameters(prefix, recurse, remove_duplicate)

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The upload's buffers under the upload's names."""
        return self.network.named_buffers(prefix, recurse, remove_duplicate)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """The upload's state, live, under the upload's names; ``upload_state_dict`` is for files."""
        return self.network.state_dict(*args, **kwargs)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:  # noqa: ANN401
        """Load what ``state_dict`` returned."""
        return self.network.load_state_dict(state_dict, strict, assign)
