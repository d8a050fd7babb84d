"""Networks by name, for images of any number of channels and classes.

The weights of a new network come from torch's global generator: seed it for the same network.
"""

import inspect
import re
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from extremal.lab import imported

from ._resnet import cifar_resnet, resnet18
from ._vgg import VGG16
from ._wide_resnet import WideResNet

_NAMES = "mlp, cnn, resnet20, resnet56, resnet18, vgg16-bn, wrn-DEPTH-WIDTH (such as wrn-28-10)"
# The smallest image that still has a pixel left where a network has halved it.
_SMALLEST = {"mlp": 1, "cnn": 4, "resnet20": 4, "resnet56": 4, "resnet18": 8, "vgg16-bn": 32}
_WIDE = re.compile(r"wrn-(\d+)-(\d+)")


def network(
    name: str, *, in_channels: int, classes: int, image_size: int | tuple[int, int]
) -> nn.Module:
    """Make a new, untrained network.

    Args:
        name: mlp, cnn, resnet20, resnet56, resnet18, vgg16-bn, wrn-DEPTH-WIDTH, or
            `module:function` for a function that returns a module and takes any of the keywords
            `in_channels`, `classes`, `image_size`, or none.
        in_channels: Channels of an image.
        classes: Number of scores.
        image_size: Height and width in pixels; one number for square images.

    Returns:
        A module from images (n, in_channels, height, width) to scores (n, classes).

    Raises:
        ValueError: There is no such network, or the image is too small for it.

    Example:
        >>> model = network("resnet20", in_channels=3, classes=10, image_size=32)
        >>> sum(p.numel() for p in model.parameters())
        269722
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if ":" in name:
        return _own(name, in_channels=in_channels, classes=classes, image_size=image_size)
    wide = _WIDE.fullmatch(name)
    if wide is None and name not in _SMALLEST:
        raise ValueError(
            f"network: there is no network {name!r}; there are {_NAMES}, and module:function "
            "for your own."
        )
    smallest = _SMALLEST.get(name, 4)
    if min(height, width) < smallest:
        others = ", ".join(n for n, size in _SMALLEST.items() if size <= min(height, width))
        raise ValueError(
            f"network: {name} needs images of {smallest}x{smallest} pixels or more and these are "
            f"{height}x{width}; images are never enlarged, so choose another ({others})."
        )
    if wide is not None:
        depth, factor = int(wide[1]), int(wide[2])
        if depth < 10 or (depth - 4) % 6 or factor < 1:
            raise ValueError(
                f"network: {name} has depth {depth} and width {factor}; the depth must be "
                "10, 16, 22, 28, ... (6n + 4) and the width 1 or more."
            )
        return WideResNet(in_channels, classes, depth, factor)
    if name == "mlp":
        return _MLP(in_channels * height * width, classes)
    if name == "cnn":
        return _CNN(in_channels, classes)
    if name == "resnet18":
        return resnet18(in_channels, classes)
    if name == "vgg16-bn":
        return VGG16(in_channels, classes)
    return cifar_resnet(int(name.removeprefix("resnet")), in_channels, classes)


class _MLP(nn.Sequential):
    """Two hidden layers."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(inputs, 256),
            nn.ReLU(),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Linear(128, classes),
        )


class _CNN(nn.Module):
    """Three convolutions with batch normalisation."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = in_channels
        for width, pool in ((32, True), (64, True), (128, False)):
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if pool else []
            before = width
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.linear = nn.Linear(before, classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        return self.linear(self.features(x))


def _own(name: str, **known: Any) -> nn.Module:
    function = imported(name, "network")
    parameters = inspect.signature(function).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    model = function(**{k: v for k, v in known.items() if takes_all or k in parameters})
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"network: {name} returned {type(model).__name__}; expected a torch.nn.Module."
        )
    return model
