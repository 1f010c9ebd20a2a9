"""How many images fit into memory at once: measured on the model, not guessed from its size."""

import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

_Result = TypeVar("_Result")

LARGEST = 512
"""Beyond, a larger batch is no faster."""
# Of a job that may have 4 GiB: what operators use within themselves comes on top, up to half as much again
# (oneDNN's copies of a convolution's input or output in a layout of its own).
_CPU_BUDGET = 1 << 30
_CUDA_SHARE = 0.5
# Two sizes tell what an image costs from what a call costs at any size.
_PROBES = (2, 4)


def batch_size_for(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    device: torch.device,
    *,
    backward: bool,
    largest: int = LARGEST,
) -> int:
    """Return how many images the model takes at once, at least 1.

    On a GPU they fill half of the memory that is free. On a CPU the budget is 1 GiB whatever is free, so that
    a job has the same batches, and the same result, on a machine that happens to be busier.

    Args:
        model: Images (B, C, H, W) in [0, 1] to logits; probed in evaluation mode, and left in its own.
        image_shape: Channels, height, width.
        device: Where the model is.
        backward: Whether gradients by the images are computed too, as attacks do.
        largest: Never more than this.

    Raises:
        torch.OutOfMemoryError: Not even a few images fit.
    """
    few, more = (_peak_bytes(model, (count, *image_shape), device, backward=backward) for count in _PROBES)
    each = max((more - few) / (_PROBES[1] - _PROBES[0]), 1.0)
    fixed = max(few - _PROBES[0] * each, 0.0)
    return max(1, min(largest, int((_budget(device) - fixed) / each)))


def _budget(device: torch.device) -> float:
    if device.type != "cuda":
        return _CPU_BUDGET
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return _CUDA_SHARE * (free + unused)


def _peak_bytes(model: nn.Module, shape: tuple[int, ...], device: torch.device, *, backward: bool) -> int:
    """Return the most memory that a pass takes beside what is there before and what it leaves behind."""
    was_training = model.training
    model.eval()  # A probe must not move the statistics of norm layers.
    try:
        with torch.set_grad_enabled(backward):
            if device.type == "cuda":
                return _cuda_peak(model, shape, device, backward=backward)
            with LiveBytes() as live:
                _pass(model, shape, device, backward=backward)
            peak: int = live.peak
            return peak
    finally:
        model.train(was_training)


def _cuda_peak(model: nn.Module, shape: tuple[int, ...], device: torch.device, *, backward: bool) -> int:
    # The first pass also sets up libraries, which keep their workspaces.
    _pass(model, shape, device, backward=backward)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    _pass(model, shape, device, backward=backward)
    peak: int = torch.cuda.max_memory_allocated(device)
    return peak - before


def _pass(model: nn.Module, shape: tuple[int, ...], device: torch.device, *, backward: bool) -> None:
    images = torch.zeros(shape, device=device, requires_grad=backward)
    logits = model(images)
    if backward:
        torch.autograd.grad(logits.sum(), images, allow_unused=True)


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the memory of the tensors that operators make, while they live.

    Exact for tensors, backward passes included, and the same on every run; blind to what an operator uses
    within itself.

    Attributes:
        live: Bytes of the tensors made inside that are still there.
        peak: The most there were at a time.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run an operator, and count what it returns that it was not given."""
        result = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                self._note(leaf.untyped_storage(), 0)
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                self._note(storage, storage.nbytes())
        return result

    def _note(self, storage: torch.UntypedStorage, size: int) -> None:
        address = storage.data_ptr()
        if address == 0 or address in self._known:
            return
        self._known.add(address)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._freed, address, size)

    def _freed(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.live -= size


def halving(work: Callable[..., _Result], *batch: Tensor) -> list[_Result]:
    """Run work on a batch, and on halves of it, and of those, wherever a GPU's memory does not suffice.

    Args:
        work: From the batch's tensors to a result. It is run again on part of what it failed on: it must not
            count, or draw from a stream that moves on, before it has what needs memory.
        batch: Tensors (B, ...) of the same B.

    Returns:
        The results of the parts, in the batch's order.

    Raises:
        torch.OutOfMemoryError: A single sample does not fit.
    """
    results: list[_Result] = []
    waiting = [batch]
    while waiting:
        part = waiting.pop()
        try:
            results.append(work(*part))
        except torch.OutOfMemoryError:
            if len(part[0]) <= 1:
                raise
        else:
            continue
        # Only here: as long as the error is handled, its traceback keeps the tensors of what failed.
        torch.cuda.empty_cache()
        half = len(part[0]) // 2
        waiting += [tuple(tensor[half:] for tensor in part), tuple(tensor[:half] for tensor in part)]
    return results
