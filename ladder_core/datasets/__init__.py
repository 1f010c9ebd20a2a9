"""An uploaded archive becomes batches of images and labels."""

from ladder_core.datasets.base import BadImages, Dataset, Split
from ladder_core.datasets.load import load_dataset
from ladder_core.datasets.npz import load_npz

__all__ = ["BadImages", "Dataset", "Split", "load_dataset", "load_npz"]
