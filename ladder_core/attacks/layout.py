"""How the device computes an attack fastest: in which memory layout, and how many images at once."""

import torch
from torch import Tensor, nn

from ladder_core.attacks.base import Oracle
from ladder_core.attacks.losses import cross_entropy

_CPU_BATCH = 64  # a thread's; its activations stay in the cache
_CPU_ELEMENTS = 1 << 18
_GPU_BATCH = 4096
_LEAST_BATCH = 8
_SHARE_OF_MEMORY = 0.5


class _ChannelsLast(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self._model(images.contiguous().to(memory_format=torch.channels_last))
        return logits


@torch.no_grad()
def in_fast_layout(model: nn.Module, images: Tensor) -> nn.Module:
    """Return the model as it is computed fastest: on a CPU its images are laid out channels last.

    Convolutions then need not reorder them, and pooling is vectorised: a LeNet's gradients take 0.6 of the
    time, a small ResNet's 0.7. A model that cannot (one that takes a ``view`` of its features) is returned
    as it is, and so is any on a GPU, whose float32 convolutions gain nothing.

    Args:
        model: Images in [0, 1] to logits.
        images: (B, C, H, W), two of which are tried.
    """
    if images.device.type != "cpu" or len(images) == 0:
        return model
    fast = _ChannelsLast(model)
    try:
        fast(images[:2])
    except RuntimeError:
        return model
    return fast


def batch_size(model: nn.Module, images: Tensor) -> int:
    """Return how many images to attack at once: what caches hold, or what half of the free GPU memory does.

    Args:
        model: Images in [0, 1] to logits.
        images: (B, C, H, W), some of which are tried on a GPU.
    """
    if images.device.type != "cuda" or len(images) == 0:
        fitting = _CPU_ELEMENTS // max(1, images[0].numel() if len(images) else 1)
        return max(_LEAST_BATCH, min(_CPU_BATCH, fitting)) * torch.get_num_threads()
    some = images[:_LEAST_BATCH]
    torch.cuda.reset_peak_memory_stats(images.device)
    before = torch.cuda.memory_allocated(images.device)
    rows = torch.arange(len(some), device=images.device)
    Oracle(model, some).gradient(some, lambda logits: cross_entropy(logits, logits.argmax(dim=1)), rows)
    each = max(1, (torch.cuda.max_memory_allocated(images.device) - before) // len(some))
    free, _ = torch.cuda.mem_get_info(images.device)
    return max(_LEAST_BATCH, min(_GPU_BATCH, int(_SHARE_OF_MEMORY * free / each)))
