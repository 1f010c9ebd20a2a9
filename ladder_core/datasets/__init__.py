"""An uploaded archive becomes batches of images and labels."""

from ladder_core.datasets.base import Dataset, Split
from ladder_core.datasets.npz import load_npz

__all__ = ["Dataset", "Split", "load_npz"]
