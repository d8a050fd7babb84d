"""A zoo of small networks: every way in which channels hang together."""
# ruff: noqa: D107

import torch
from torch import nn
from torch.nn import functional as F

from extremal import training


class Concat(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, padding=1)
        self.b = nn.Conv2d(3, 10, 1)
        self.norm = nn.BatchNorm2d(16)
        self.c = nn.Conv2d(16, 8, 3, padding=1)
        self.linear = nn.Linear(8, 5)

    def forward(self, x):
        y = torch.cat([self.a(x), self.b(x)], dim=1)
        y = F.relu(self.c(F.relu(self.norm(y))))
        return self.linear(y.mean((2, 3)))


class Separable(nn.Module):
    """A depthwise and a grouped convolution."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(12)
        self.depth = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.point = nn.Conv2d(12, 16, 1)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.linear = nn.Linear(16, 5)

    def forward(self, x):
        x = F.relu6(self.norm(self.stem(x)))
        x = F.relu(self.point(F.relu(self.depth(x))))
        x = F.relu(self.grouped(x))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Flattened(nn.Module):
    """A linear layer sees every pixel of a channel; sigmoid(0) is not 0."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 7, 3, stride=2, padding=1)
        self.one = nn.Linear(7 * 16, 12)
        self.two = nn.Linear(12, 5)

    def forward(self, x):
        y = torch.sigmoid(self.conv(x))
        return self.two(torch.sigmoid(self.one(y.view(y.size(0), -1))))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.one = nn.Conv2d(8, 8, 3, padding=1, dilation=1)
        self.norm = nn.BatchNorm2d(8)
        self.linear = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = x + F.relu(self.norm(self.one(x)))
        x = F.max_pool2d(x, 2)
        return self.linear(torch.flatten(x.mean((2, 3)), 1))


class Constant(nn.Module):
    """The number of channels stands in forward: slicing breaks it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.linear = nn.Linear(6 * 64, 5)

    def forward(self, x):
        return self.linear(F.relu(self.conv(x)).reshape(-1, 6 * 64))


class Normed(nn.Module):
    """A layer normalisation over channels: removing one changes the others."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(6, 12)
        self.norm = nn.LayerNorm(12)
        self.two = nn.Linear(12, 5)

    def forward(self, x):
        return self.two(self.norm(self.one(x)))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.linear = nn.Linear(6, 5)

    def forward(self, x):
        y = self.conv(x)
        if y.sum() > 0:
            y = y * 2
        return self.linear(y.mean((2, 3)))


SHAPE = (3, 8, 8)
ZOO = {"concat": Concat, "separable": Separable, "flattened": Flattened, "residual": Residual}
NAMED = {
    "resnet20": (3, 16, 16),
    "resnet56": (3, 16, 16),
    "cnn": (1, 8, 8),
    "mlp": (1, 8, 8),
    "wrn-10-1": (3, 16, 16),
}


def make(name, seed=0):
    """A network with statistics that are not the initial ones, and the shape of its input."""
    torch.manual_seed(seed)
    if name in ZOO:
        model, shape = ZOO[name](), SHAPE
    else:
        shape = NAMED[name]
        model = training.network(name, in_channels=shape[0], classes=10, image_size=shape[1])
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2.0)
    return model.eval(), shape
