"""Wide residual networks.

Source: Zagoruyko, Komodakis, arXiv:1605.07146, without dropout.
Differs from it: every convolution has a bias, as in the networks of "Sparse Model Soups"
(arXiv:2306.16788), so that counts and accuracies can be compared with that work.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, relu


class _Block(nn.Module):
    """Norm and activation come before each convolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, stride, padding=1)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1, stride)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        y = self.conv1(relu(self.bn1(x)))
        return self.conv2(relu(self.bn2(y))) + self.shortcut(x)


class WideResNet(nn.Module):
    """A wide residual network of depth 6n + 4 with 16k, 32k and 64k channels."""

    def __init__(self, in_channels: int, classes: int, depth: int, width: int) -> None:
        """Take the depth 6n + 4 and the factor k by which it is wider than a ResNet."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1)
        stages: list[nn.Module] = []
        before = 16
        for number, channels in enumerate((16 * width, 32 * width, 64 * width)):
            layers: list[nn.Module] = []
            for block in range((depth - 4) // 6):
                stride = 2 if number > 0 and block == 0 else 1
                layers.append(_Block(before, channels, stride))
                before = channels
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(before)
        self.linear = nn.Linear(before, classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Return one score per class."""
        x = relu(self.bn(self.stages(self.conv1(x))))
        return self.linear(adaptive_avg_pool2d(x, 1).flatten(1))
