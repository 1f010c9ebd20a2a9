"""The generator from latents to images: paper 3.1.3 and Eq. 4."""

from ladder_core.generators.architectures import ConvGenerator, MlpGenerator, build_generator
from ladder_core.generators.training import begin_generator_training, train_generator

__all__ = ["ConvGenerator", "MlpGenerator", "begin_generator_training", "build_generator", "train_generator"]
