"""The tensors of an upload as an ordinary ``nn.Module``, under the upload's own names."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from ladder_core.errors import ModelError
from ladder_schema.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class UploadedTensor:
    """One tensor of an upload.

    Attributes:
        tensor: The tensor as loaded.
        trainable: Whether it becomes a parameter; a buffer otherwise.
        persistent: Whether it belongs to the upload's state_dict.
    """

    tensor: Tensor
    trainable: bool
    persistent: bool


class Scope(nn.Module):
    """A level of the upload's names: ``layer1`` in ``layer1.0.conv1.weight``."""

    def location(self, name: str) -> tuple[dict[str, Tensor], str]:
        """The dictionary that holds a tensor of this level, and its key there.

        Reading through it is several times faster than ``getattr``, which matters as every call of the model
        gathers all of its tensors; and it sees parameters swapped by ``torch.func.functional_call``.
        """
        tensors = self._parameters if name in self._parameters else self._buffers
        return cast("dict[str, Tensor]", tensors), name


class Network(Scope):
    """All tensors of an upload.

    The upload's tensors are taken over, not copied, except that half precision becomes single. Tensors that
    share memory under two names stay shared.
    """

    def __init__(self, tensors: Mapping[str, UploadedTensor]) -> None:
        super().__init__()
        parameters: dict[Hashable, nn.Parameter] = {}
        for name, uploaded in tensors.items():
            *path, leaf = name.split(".")
            scope = self._scope(path)
            try:
                if uploaded.trainable:
                    key = _memory(uploaded.tensor)
                    parameter = parameters.setdefault(key, nn.Parameter(_single_precision(uploaded.tensor)))
                    scope.register_parameter(leaf, parameter)
                else:
                    buffer = _single_precision(uploaded.tensor)
                    scope.register_buffer(leaf, buffer, persistent=uploaded.persistent)
            except KeyError as error:
                raise _bad_name(name) from error

    def _scope(self, path: Iterable[str]) -> Scope:
        scope: Scope = self
        for part in path:
            inner = dict(scope.named_children()).get(part)
            if inner is None:
                inner = Scope()
                try:
                    scope.add_module(part, inner)
                except KeyError as error:
                    raise _bad_name(part) from error
            assert isinstance(inner, Scope)  # noqa: S101 - nothing else is ever added
            scope = inner
        return scope

    def locations(self, names: Iterable[str]) -> list[tuple[dict[str, Tensor], str]]:
        """Where each named tensor is held; valid as long as the network, whatever replaces the tensors."""
        found = []
        for name in names:
            path, _, leaf = name.rpartition(".")
            scope = self.get_submodule(path)
            assert isinstance(scope, Scope)  # noqa: S101 - nothing else is ever added
            found.append(scope.location(leaf))
        return found


def _memory(tensor: Tensor) -> Hashable:
    """Equal for tensors that are the same view of the same memory; distinct for empty ones."""
    address = tensor.data_ptr()
    return (address, tensor.shape, tensor.stride()) if address else id(tensor)


def _single_precision(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _bad_name(name: str) -> ModelError:
    return ModelError(
        ErrorCode.MODEL_UNSUPPORTED,
        f"the model has a parameter or layer named {name!r}, a name torch.nn.Module reserves",
    )
