"""The architectures users bring, at their full width and depth, on images small enough for a CPU."""

from collections.abc import Callable

from torch import nn

from benchmarks.zoo.ways import Example
from ladder_core._torchvision import torchvision  # before timm, which needs it imported

import timm  # isort: skip

CLASSES = 10
SIZE = 64


def _torchvision(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: torchvision.models.get_model(name, num_classes=CLASSES, **options)


def _timm(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=CLASSES, **options)


def _large(build: Callable[[], nn.Module]) -> Example:
    return Example(build, (3, SIZE, SIZE))


FULL = {
    "vgg11_bn": _large(_torchvision("vgg11_bn")),
    "resnet18": _large(_torchvision("resnet18")),
    "densenet121": _large(_torchvision("densenet121")),
    "mobilenet_v3_large": _large(_torchvision("mobilenet_v3_large")),
    "efficientnet_b0": _large(_torchvision("efficientnet_b0")),
    "convnext_tiny": _large(_torchvision("convnext_tiny")),
    "squeezenet1_1": _large(_torchvision("squeezenet1_1")),
    "vit_b_16": _large(_torchvision("vit_b_16", image_size=SIZE)),
    "timm deit_tiny": _large(_timm("deit_tiny_patch16_224", img_size=SIZE)),
    "timm resnetv2_50": _large(_timm("resnetv2_50")),
    "timm repvgg_a0": _large(_timm("repvgg_a0")),
}
