"""The embedded data set: 1,797 handwritten digits of 8x8 pixels, from scikit-learn.

Its origin is the test part of the UCI "Optical recognition of handwritten digits". Pixels count
0..16 and are scaled to [0, 1]; images stay 1x8x8 and are never enlarged.
"""

import numpy as np
import torch

from extremal.lab import require

from ._data import Data, Split, channel_statistics, stratified

_TEST_IMAGES = 360  # a fifth


def digits() -> Data:
    """Return the digits: 1,437 training and 360 test images, the same ones on every machine."""
    bunch = require("sklearn.datasets", "training").load_digits()
    pixels = np.asarray(bunch.images, dtype=np.float32)[:, None] / np.float32(16)
    labels = torch.from_numpy(np.asarray(bunch.target, dtype=np.int64))
    whole = Split(torch.from_numpy(pixels), labels)
    test, train = stratified(labels, _TEST_IMAGES, seed=0)
    mean, std = channel_statistics(whole.images[train])
    return Data(
        name="digits",
        train=whole.take(train),
        test=whole.take(test),
        validation=None,
        classes=10,
        class_names=tuple("0123456789"),
        mean=mean,
        std=std,
    )
