"""Augmentation of a whole batch by tensor operations, on the device that trains.

What happens to an image is a function of (seed, epoch, index of the image) and of nothing else:
its place in the batch, the batch size and the number of processes do not matter.
"""

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from ._hash import random_bits

AUGMENTATIONS = ("none", "crop", "crop-flip")
_PAD = 4  # pixels on each side, the usual choice for 32x32 images


def augmented(
    kind: str,
    images: Shaped[Tensor, "n c h w"],
    index: Int64[Tensor, " n"],
    seed: int,
    epoch: int,
) -> Shaped[Tensor, "n c h w"]:
    """Return the images changed at random, in their dtype.

    Args:
        kind: "none"; "crop" pads 4 black pixels on each side and cuts a random window of the old
            size; "crop-flip" also mirrors left and right with probability one half.
        images: A batch before normalisation, so that the padding is black.
        index: The number of each image in its data set.
        seed: Decides the changes, together with `epoch` and `index`.
        epoch: The pass over the data, counted from 0.
    """
    if kind == "none":
        return images
    n, c, h, w = images.shape
    bits = random_bits(index, seed, epoch)
    # Disjoint 16-bit pieces of one hash; 65536 mod 9 = 7 favours some offsets by 1 in 7281.
    down = (bits & 0xFFFF) % (2 * _PAD + 1)
    right = (bits >> 16 & 0xFFFF) % (2 * _PAD + 1)
    rows = down[:, None] + torch.arange(h, device=images.device)
    columns = torch.arange(w, device=images.device).expand(n, w)
    if kind == "crop-flip":
        mirrored = (bits >> 32 & 1).bool()[:, None]
        columns = torch.where(mirrored, w - 1 - columns, columns)
    columns = right[:, None] + columns
    padded = torch.nn.functional.pad(images, (_PAD, _PAD, _PAD, _PAD))
    which = torch.arange(n, device=images.device)[:, None, None, None]
    channel = torch.arange(c, device=images.device)[None, :, None, None]
    return padded[which, channel, rows[:, None, :, None], columns[:, None, None, :]]
