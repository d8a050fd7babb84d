"""VGG16 with batch normalisation and a single linear layer, as is usual on CIFAR.

Source: Simonyan, Zisserman, arXiv:1409.1556, configuration D.
Differs from it: batch normalisation after every convolution; one linear layer instead of three.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(nn.Module):
    """Five stages of convolutions, each ended by a 2x2 pooling: needs 32 pixels or more."""

    def __init__(self, in_channels: int, classes: int) -> None:
        """Take the channels of an image and the number of classes."""
        super().__init__()
        layers: list[nn.Module] = []
        before = in_channels
        for widths in _WIDTHS:
            for width in widths:
                layers += [
                    nn.Conv2d(before, width, 3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                before = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.linear = nn.Linear(before, classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Return one score per class."""
        return self.linear(adaptive_avg_pool2d(self.features(x), 1).flatten(1))
