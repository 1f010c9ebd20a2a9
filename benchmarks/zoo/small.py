"""Small classifiers of every kind users upload."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own convention

from benchmarks.zoo.ways import Example
from ladder_core._torchvision import torchvision

CLASSES = 5


class LeNet(nn.Module):
    """Batch norm, channel dropout, ``view`` with the batch size, log-probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout2d(0.2)
        self.fc1 = nn.Linear(4 * 14 * 14, 16)
        self.fc2 = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(F.relu(self.norm(self.conv(x))))
        x = F.relu(self.fc1(x.view(x.size(0), -1)))
        return F.log_softmax(self.fc2(x), dim=1)


class Mlp(nn.Module):
    def __init__(self, outputs: int, tail: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Dropout(0.3))
        self.last = nn.Linear(16, outputs)
        self.tail = tail

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.last(self.body(x)))


class SqueezedSigmoid(nn.Module):
    """One probability per image, shape (N,)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU())
        self.last = nn.Linear(16, 1)
        self.tail = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.last(self.body(x))).squeeze(1)


class SqueezedLogit(SqueezedSigmoid):
    """One logit per image, shape (N,)."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x)).squeeze(1)


class ControlFlow(nn.Module):
    """A data-dependent branch and a loop in the body; a list filled in the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(256, 12)
        self.steps = nn.ModuleList([nn.Linear(12, 12) for _ in range(3)])
        self.norm = nn.BatchNorm1d(12)
        self.fc = nn.Linear(36, CLASSES)
        self.rounds = 2

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        if x.mean() > 0:  # noqa: SIM108 - a statement, as users write it
            x = torch.relu(x)
        else:
            x = torch.tanh(x) * 2
        for _ in range(self.rounds):
            x = self.norm(x) + 0.1 * x
        count = 0
        while count < 3 and x.shape[1] == 12:
            x = x * 1.01
            count += 1
        seen: list[Tensor] = []
        for step in self.steps:
            x = torch.relu(step(x))
            seen.append(x)
        return self.fc(torch.cat(seen, 1))


class HeadInBranch(nn.Module):
    """The same head, applied in both branches to different latents."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(256, 12)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.relu(self.first(x.flatten(1)))
        if self.training:
            return self.fc(self.drop(z))
        if z.mean() > 0.5:  # noqa: SIM108 - likewise
            out = self.fc(z)
        else:
            out = self.fc(z * 2)
        return torch.softmax(out, dim=-1)


class ExportedBranch(nn.Module):
    """A branch in the body, as ``torch.export`` knows it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fc = nn.Linear(256, 12), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        return self.fc(torch.cond(x.mean() > 0, torch.relu, lambda y: torch.tanh(y) * 2, (x,)))


class ExportedHeadInBranch(nn.Module):
    """The same head in both branches, as ``torch.export`` knows them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fc = nn.Linear(256, 12), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.relu(self.first(x.flatten(1)))
        return torch.cond(z.mean() > 0.5, self.fc, lambda y: self.fc(y * 2), (z,))


class BakedDevice(nn.Module):
    """A tensor made in forward, on the device the images then have."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fc = nn.Linear(256, 12), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.relu(self.first(x.flatten(1)))
        return self.fc(z + torch.arange(12, device=x.device) / 12)


class TupleOutput(nn.Module):
    """Logits and latents, with an early return in training."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(256, 12)
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.relu(self.first(x.flatten(1)))
        return self.fc(z), z


class DictOutput(TupleOutput):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        z = torch.relu(self.first(x.flatten(1)))
        return {"features": z, "logits": self.fc(z)}


class MatmulHead(nn.Module):
    """A head written as a product and a sum, with a transposed weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(256, 12)
        self.weight = nn.Parameter(torch.randn(12, CLASSES) / 4)
        self.bias = nn.Parameter(torch.randn(CLASSES) / 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.first(x.flatten(1))) @ self.weight + self.bias


class AddmmHead(MatmulHead):
    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, torch.relu(self.first(x.flatten(1))), self.weight)


class ConvHead(nn.Module):
    """A 1x1 convolution, a ReLU and pooling, as SqueezeNet ends."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, stride=2)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Conv2d(6, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.last(self.drop(torch.relu(self.conv(x)))))
        return torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)


class PooledConvHead(nn.Module):
    """A 1x1 convolution after pooling: a linear layer in disguise."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, stride=2)
        self.last = nn.Conv2d(6, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.adaptive_avg_pool2d(torch.relu(self.conv(x)), 1)).flatten(1)


class AveragedHeads(nn.Module):
    """Two heads on different latents, averaged, as distilled transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(256, 12)
        self.second = nn.Linear(256, 8)
        self.head = nn.Linear(12, CLASSES)
        self.head_dist = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return (self.head(torch.relu(self.first(x))) + self.head_dist(torch.relu(self.second(x)))) / 2


class TiedWeights(nn.Module):
    """One weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(256, 12)
        self.second = nn.Linear(12, 12)
        self.third = nn.Linear(12, 12)
        self.third.weight = self.second.weight
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.third(torch.relu(self.second(self.first(x.flatten(1)))))))


class Recurrent(nn.Module):
    """A recurrent layer over the rows of an image; scripted, it keeps its weights in a list as well."""

    def __init__(self, layer: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn = layer(16, 12, num_layers=2, batch_first=True, dropout=0.2)
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.rnn(x.squeeze(1))
        return self.fc(states[:, -1])


# Architectures of torchvision, thinned so that a run takes moments.


def _resnet() -> nn.Module:
    model = torchvision.models.resnet18(num_classes=CLASSES)
    model.layer3, model.layer4, model.fc = nn.Identity(), nn.Identity(), nn.Linear(128, CLASSES)
    return model


def _vgg() -> nn.Module:
    layers = torchvision.models.vgg.make_layers([8, "M", 16, "M", 16, 16, "M"], batch_norm=True)
    model = torchvision.models.VGG(layers, num_classes=CLASSES, init_weights=False)
    model.avgpool = nn.AdaptiveAvgPool2d(2)
    model.classifier = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, CLASSES))
    return model


def _mobilenet() -> nn.Module:
    return torchvision.models.mobilenet_v3_small(num_classes=CLASSES, width_mult=0.25)


def _densenet() -> nn.Module:
    return torchvision.models.DenseNet(8, (2, 2, 2, 2), 16, num_classes=CLASSES, drop_rate=0.1)


def _vit() -> nn.Module:
    return torchvision.models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=CLASSES, dropout=0.1)


SMALL = {
    "lenet_log_softmax": Example(LeNet),
    "mlp_softmax": Example(lambda: Mlp(CLASSES, nn.Softmax(dim=1))),
    "mlp_sigmoid": Example(lambda: Mlp(1, nn.Sigmoid())),
    "mlp_sigmoid_squeezed": Example(SqueezedSigmoid),
    "mlp_one_logit": Example(lambda: Mlp(1, nn.Identity())),
    "mlp_one_logit_squeezed": Example(SqueezedLogit),
    "control_flow": Example(ControlFlow, ways=("scripted", "frozen")),
    # Freezing keeps the branch of evaluation, which is not the one that eager trains; tracing keeps one, too.
    "head_in_branch": Example(HeadInBranch, ways=("scripted",)),
    "exported_branch": Example(ExportedBranch, ways=("pt2",)),
    "exported_head_in_branch": Example(ExportedHeadInBranch, ways=("pt2",)),
    "baked_device": Example(BakedDevice, ways=("traced", "frozen", "pt2")),
    "tuple_output": Example(TupleOutput),
    "dict_output": Example(DictOutput),
    "matmul_head": Example(MatmulHead),
    "addmm_head": Example(AddmmHead),
    "conv_head": Example(ConvHead),
    "pooled_conv_head": Example(PooledConvHead),
    "averaged_heads": Example(AveragedHeads),
    "tied_weights": Example(TiedWeights),
    "lstm": Example(lambda: Recurrent(nn.LSTM)),
    "gru": Example(lambda: Recurrent(nn.GRU)),
    "resnet": Example(_resnet, (3, 32, 32)),
    "vgg_bn": Example(_vgg, (3, 32, 32)),
    "mobilenet_v3": Example(_mobilenet, (3, 32, 32)),
    "densenet": Example(_densenet, (3, 32, 32)),
    "vit": Example(_vit, (3, 32, 32)),
}
