"""Residual networks for small images.

Source: He, Zhang, Ren, Sun, arXiv:1512.03385. Section 4.2 gives the CIFAR networks of depth
6n + 2, whose shortcuts have no weights (option A): they take every second pixel and pad the new
channels with zeros. ResNet-18 is the ImageNet network with a 3x3 first convolution and no pooling
before the blocks, as is usual on CIFAR.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, pad, relu


class ZeroPadShortcut(nn.Module):
    """Every `stride`-th pixel, new channels zero, half of them before the old and half after."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Take the channels before and after, and the step between the pixels kept."""
        super().__init__()
        self.stride = stride
        extra = out_channels - in_channels
        self.before, self.after = extra // 2, extra - extra // 2

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """Return the identity in the shape of the block's output."""
        x = x[:, :, :: self.stride, :: self.stride]
        return pad(x, (0, 0, 0, 0, self.before, self.after))


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
    )


class _Block(nn.Module):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        shortcut: Callable[[int, int, int], nn.Module],
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else shortcut(in_channels, out_channels, stride)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        y = relu(self.bn1(self.conv1(x)))
        return relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """A residual network of basic blocks; each stage but the first halves height and width."""

    def __init__(
        self,
        in_channels: int,
        classes: int,
        widths: tuple[int, ...],
        blocks: int,
        shortcut: Callable[[int, int, int], nn.Module],
    ) -> None:
        """Take the channels and the number of blocks of each stage, and what a shortcut is."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        stages: list[nn.Module] = []
        before = widths[0]
        for number, width in enumerate(widths):
            layers: list[nn.Module] = []
            for block in range(blocks):
                stride = 2 if number > 0 and block == 0 else 1
                layers.append(_Block(before, width, stride, shortcut))
                before = width
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.linear = nn.Linear(before, classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Return one score per class."""
        x = self.stages(relu(self.bn1(self.conv1(x))))
        return self.linear(adaptive_avg_pool2d(x, 1).flatten(1))


def cifar_resnet(depth: int, in_channels: int, classes: int) -> ResNet:
    """The network of depth 6n + 2 with 16, 32 and 64 channels."""
    return ResNet(in_channels, classes, (16, 32, 64), (depth - 2) // 6, ZeroPadShortcut)


def resnet18(in_channels: int, classes: int) -> ResNet:
    """ResNet-18 in its CIFAR form."""
    return ResNet(in_channels, classes, (64, 128, 256, 512), 2, _projection)
