"""The tensors of a loaded file lie within their storages, each item in a place of its own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ladder_core.errors import ModelError
from ladder_core.harm.limits import MODEL
from ladder_core.text import quoted


def check_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Check the memory of tensors by what PyTorch holds, however it came to hold it.

    Args:
        tensors: By name, for errors.

    Raises:
        ModelError: ``MODEL_UNSAFE`` if a tensor reaches beyond its storage; ``MODEL_UNSUPPORTED`` if it is
            expanded, so that several of its items share memory and none can be trained by itself.
    """
    for name, tensor in tensors.items():
        extent = zip(tensor.shape, tensor.stride(), strict=True)
        steps = [(size - 1, stride) for size, stride in extent if size != 1]
        items = tensor.storage_offset() + sum(count * stride for count, stride in steps) + 1
        end, held = items * tensor.element_size(), tensor.untyped_storage().nbytes()
        if tensor.numel() and end > held:
            MODEL.unsafe(f"its tensor {quoted(name)} reaches to byte {end} of a storage of {held}")
        if tensor.numel() and any(stride == 0 for _, stride in steps):
            raise ModelError.unsupported(
                f"the tensor {quoted(name)} of shape {list(tensor.shape)} is expanded, and its items share "
                "memory: replace it by its clone() before saving"
            )
