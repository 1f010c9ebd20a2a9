"""Common corruptions of images: Hendrycks and Dietterich 2019, https://arxiv.org/abs/1903.12261.

Batched, on the images' device, each sample drawing from a stream of its own. Severities have the constants of
the authors' code (https://github.com/hendrycks/robustness): CIFAR-10-C's for small images, else ImageNet-C's.
Unlike theirs the corrupted images are not rounded to 8 bits, but for JPEG.
"""

from ladder_core.corruptions.table import CORRUPTIONS, SEVERITIES, SMALL_SIDE, corrupt, left_out, suitable

__all__ = ["CORRUPTIONS", "SEVERITIES", "SMALL_SIDE", "corrupt", "left_out", "suitable"]
