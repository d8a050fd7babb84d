"""Corrupted images, made here: nine of the kinds of CIFAR-10-C at five severities.

Source: Hendrycks and Dietterich, arXiv:1903.12261. Images are taken in [0, 1], changed, clipped
and rounded to bytes; randomness is a function of (seed, kind, severity) alone.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from extremal.lab import generator, require

SEVERITIES = (1, 2, 3, 4, 5)
_PARAMETERS: dict[str, tuple[float, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # deviation
    "shot_noise": (500.0, 250.0, 100.0, 75.0, 50.0),  # photons of white
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),  # share of values
    "speckle_noise": (0.06, 0.10, 0.12, 0.16, 0.20),  # deviation relative to the value
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),  # pixels
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # factor about each channel's mean
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # added to the value of HSV
    "jpeg_compression": (80.0, 65.0, 58.0, 50.0, 40.0),  # quality
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),  # factor on the side
}
CORRUPTIONS = tuple(_PARAMETERS)

Array = Float[np.ndarray, "n c h w"]


def corrupt(
    images: UInt8[Tensor, "n c h w"] | Float[Tensor, "n c h w"],
    kind: str,
    severity: int,
    seed: int = 0,
) -> UInt8[Tensor, "n c h w"]:
    """Return corrupted images as bytes.

    Args:
        images: Bytes, or floats in [0, 1].
        kind: One of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: Of the noise.

    Raises:
        ValueError: Kind or severity is unknown.
        MissingExtra: JPEG and pixelate need pillow.
    """
    if kind not in _PARAMETERS or severity not in SEVERITIES:
        raise ValueError(
            f"There is no corruption {kind!r} of severity {severity}; kinds are "
            f"{', '.join(CORRUPTIONS)}, severities 1 to 5."
        )
    x = images.double().numpy() / (255.0 if images.dtype == torch.uint8 else 1.0)
    strength = _PARAMETERS[kind][severity - 1]
    changed = _HOW[kind](x, strength, generator(seed, kind, severity))
    return torch.from_numpy(_bytes(changed))


def _bytes(x: Array) -> UInt8[np.ndarray, "n c h w"]:
    return np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)


def _gaussian_noise(x: Array, c: float, rng: np.random.Generator) -> Array:
    return x + rng.normal(0, c, x.shape)


def _shot_noise(x: Array, c: float, rng: np.random.Generator) -> Array:
    return rng.poisson(x * c) / c


def _impulse_noise(x: Array, c: float, rng: np.random.Generator) -> Array:
    hit = rng.random(x.shape) < c
    return np.where(hit, rng.integers(0, 2, x.shape).astype(np.float64), x)


def _speckle_noise(x: Array, c: float, rng: np.random.Generator) -> Array:
    return x + x * rng.normal(0, c, x.shape)


def _gaussian_blur(x: Array, c: float, rng: np.random.Generator) -> Array:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(x, sigma=(0, 0, c, c), mode="nearest", truncate=4.0)


def _contrast(x: Array, c: float, rng: np.random.Generator) -> Array:
    mean = x.mean((2, 3), keepdims=True)
    return (x - mean) * c + mean


def _brightness(x: Array, c: float, rng: np.random.Generator) -> Array:
    # Raising V of HSV at fixed hue and saturation scales a pixel's channels together.
    value = x.max(1, keepdims=True)
    raised = np.minimum(value + c, 1.0)
    return np.where(value > 0, x * (raised / np.where(value > 0, value, 1.0)), raised)


def _jpeg_compression(x: Array, c: float, rng: np.random.Generator) -> Array:
    image = require("PIL.Image", "pruning")

    def through(pixels: UInt8[np.ndarray, "h w *c"]) -> np.ndarray:
        file = io.BytesIO()
        image.fromarray(pixels).save(file, "JPEG", quality=int(c))
        return np.asarray(image.open(file))

    return _each(x, through)


def _pixelate(x: Array, c: float, rng: np.random.Generator) -> Array:
    image = require("PIL.Image", "pruning")
    height, width = x.shape[2:]
    small = (max(1, int(width * c)), max(1, int(height * c)))

    def through(pixels: UInt8[np.ndarray, "h w *c"]) -> np.ndarray:
        box = image.Resampling.BOX
        whole = image.fromarray(pixels)
        return np.asarray(whole.resize(small, box).resize((width, height), box))

    return _each(x, through)


def _each(x: Array, through: Callable[[np.ndarray], np.ndarray]) -> Array:
    """Pictures one by one; channels in ones or threes."""
    channels = x.shape[1]
    if channels not in (1, 3):
        raise ValueError(f"Images of {channels} channels are no pictures; give 1 or 3.")
    made: list[np.ndarray] = []
    for picture in _bytes(x):
        pixels = np.ascontiguousarray(picture.transpose(1, 2, 0))
        back = through(pixels[:, :, 0] if channels == 1 else pixels)
        made.append(back[None] if channels == 1 else back.transpose(2, 0, 1))
    return np.stack(made) / 255.0


_HOW: dict[str, Callable[[Array, float, np.random.Generator], Array]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "speckle_noise": _speckle_noise,
    "gaussian_blur": _gaussian_blur,
    "contrast": _contrast,
    "brightness": _brightness,
    "jpeg_compression": _jpeg_compression,
    "pixelate": _pixelate,
}
