"""The architectures of `full`, of the same blocks, with fewer channels and layers: checked in seconds."""

from functools import partial

from torch import nn

from benchmarks.zoo.ways import Example
from ladder_core._torchvision import torchvision  # before timm, which needs it imported

import timm  # isort: skip

CLASSES = 10
SIZE = 32
models = torchvision.models


def _vgg11_bn() -> nn.Module:
    layers = [8, "M", 16, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M"]
    model = models.VGG(models.vgg.make_layers(layers, batch_norm=True), CLASSES, init_weights=False)
    # Its classifier's width is fixed, at a hundred million parameters.
    model.classifier = nn.Sequential(
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(True),
        nn.Dropout(),
        nn.Linear(64, 64),
        nn.ReLU(True),
        nn.Dropout(),
        nn.Linear(64, CLASSES),
    )
    return model


def _densenet() -> nn.Module:
    return models.DenseNet(
        growth_rate=8, block_config=(2, 2, 2, 2), num_init_features=16, num_classes=CLASSES
    )


def _mobilenet_v3() -> nn.Module:
    layer = partial(models.mobilenetv3.InvertedResidualConfig, dilation=1, width_mult=1.0)
    settings = [
        layer(8, 3, 8, 8, False, "RE", 1),
        layer(8, 3, 24, 16, True, "RE", 2),
        layer(16, 5, 32, 16, True, "HS", 2),
    ]
    return models.MobileNetV3(settings, last_channel=32, num_classes=CLASSES)


def _efficientnet() -> nn.Module:
    layer = partial(models.efficientnet.MBConvConfig, width_mult=1.0, depth_mult=1.0)
    settings = [layer(1, 3, 1, 8, 8, 1), layer(6, 3, 2, 8, 16, 2), layer(6, 5, 2, 16, 24, 1)]
    return models.EfficientNet(settings, dropout=0.2, last_channel=64, num_classes=CLASSES)


def _convnext() -> nn.Module:
    block = models.convnext.CNBlockConfig
    settings = [block(16, 32, 1), block(32, 48, 2), block(48, None, 1)]
    return models.ConvNeXt(settings, stochastic_depth_prob=0.1, num_classes=CLASSES)


def _vit() -> nn.Module:
    return models.VisionTransformer(
        image_size=SIZE,
        patch_size=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=32,
        mlp_dim=64,
        num_classes=CLASSES,
    )


def _repvgg() -> nn.Module:
    block = partial(timm.models.ByoBlockCfg, type="rep", s=2, gs=0)
    blocks = (block(d=2, c=16), block(d=1, c=24), block(d=2, c=32))
    return timm.create_model("repvgg_a0", num_classes=CLASSES, stem_chs=8, blocks=blocks)


def _example(build) -> Example:  # noqa: ANN001
    return Example(build, (3, SIZE, SIZE))


REDUCED = {
    "vgg11_bn": _example(_vgg11_bn),
    "resnet18": _example(partial(models.resnet18, num_classes=CLASSES)),
    "densenet121": _example(_densenet),
    "mobilenet_v3_large": _example(_mobilenet_v3),
    "efficientnet_b0": _example(_efficientnet),
    "convnext_tiny": _example(_convnext),
    "squeezenet1_1": _example(partial(models.squeezenet1_1, num_classes=CLASSES)),
    "vit_b_16": _example(_vit),
    "timm deit_tiny": _example(
        partial(
            timm.create_model, "deit_tiny_patch16_224", num_classes=CLASSES, img_size=SIZE, patch_size=8,
            embed_dim=48, depth=2,
        )
    ),
    "timm resnetv2_50": _example(
        partial(
            timm.create_model, "resnetv2_50", num_classes=CLASSES, layers=(1, 2, 1, 1),
            channels=(32, 48, 64, 96), stem_chs=16,
        )
    ),
    "timm repvgg_a0": _example(_repvgg),
}  # fmt: skip
