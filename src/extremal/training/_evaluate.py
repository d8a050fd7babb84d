"""Measuring a classifier: accuracy, loss and calibration, from every example's answer.

Calibration: the top probability is cut into 15 equal bins; the gap of a bin is the distance
between its mean probability and its rate of correct answers. ECE is the mean gap weighted by the
examples of a bin, MCE the largest gap.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ._data import Data, Normaliser, Split
from ._modes import device_of, modes_kept

BINS = 15
_AT_ONCE = 1 << 28  # bytes of images that a GPU takes whole


@dataclass(frozen=True)
class Evaluation:
    """What a classifier answered on `n` examples."""

    correct: Bool[np.ndarray, " n"]
    """Whether the most probable class was the true one, in the order of the examples."""
    labels: Int64[np.ndarray, " n"]
    predicted: Int64[np.ndarray, " n"]
    loss: float
    """Mean cross-entropy, in nats."""
    top1: float
    """Share of correct answers, 0..1."""
    ece: float
    mce: float
    per_class: tuple[float, ...]
    """Share of correct answers among the examples of each class; NaN for a class without any."""
    n: int


def evaluate(
    model: nn.Module,
    examples: Data | Split | Iterable[Any],
    *,
    data: Data | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
) -> Evaluation:
    """Measure a model in eval mode; every module's mode is put back afterwards.

    Args:
        model: From images to one score per class.
        examples: A `Data` (its test split is measured), a `Split`, or an iterable of
            (inputs, labels) that are ready for the model.
        data: For a `Split`, the `Data` whose mean and std the model was trained with.
        batch_size: Images per forward pass; changes the result by rounding only. By default 100
            on a CPU and 1000 on a GPU.
        device: Where to compute; by default where the model is. The model is moved there.

    Raises:
        ValueError: A `Split` comes without `data`, there is no example, or a label is not
            among the model's classes.
    """
    return measured(*scores(model, examples, data=data, batch_size=batch_size, device=device))


def scores(
    model: nn.Module,
    examples: Data | Split | Iterable[Any],
    *,
    data: Data | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
) -> tuple[Float[Tensor, "n k"], Int64[Tensor, " n"]]:
    """Return a model's float32 scores, one row an example, and the labels; as `evaluate`."""
    place = device_of(model) if device is None else torch.device(device)
    found: list[Tensor] = []
    truths: list[Tensor] = []
    model.to(place)
    # Not inference_mode: a module that keeps a tensor of its forward pass could not train again.
    with modes_kept(model), torch.no_grad():
        model.eval()
        # On a CPU the buffers of large batches go back to the system after each layer and are
        # faulted in again: ResNet-20 on 2,000 images took 3.9 s by 100s and 7.5 s by 1000s.
        size = batch_size or (100 if place.type == "cpu" else 1000)
        for inputs, labels in _inputs(examples, data, size, place):
            found.append(model(inputs.to(place)).float())
            truths.append(labels.cpu())
    if not truths:
        raise ValueError("evaluate: there is no example to measure; give at least one batch.")
    return torch.cat(found).cpu(), torch.cat(truths).long()


def measured(scores: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Evaluation:
    """Measure scores that are already computed.

    Args:
        scores: One row of logits per example.
        labels: The true classes.

    Raises:
        ValueError: A label is not among the classes, or a score is not finite.
    """
    n, classes = scores.shape
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"evaluate: labels reach from {low} to {high} and the model has {classes} classes; "
            "use the data set that it was made for."
        )
    if not bool(scores.isfinite().all()):
        raise ValueError(
            "evaluate: the model gives NaN or infinite scores, which rank no class; its weights "
            "diverged or were damaged."
        )
    confidence, predicted = scores.double().softmax(1).max(1)
    correct = predicted == labels
    ece, mce = calibration_error(confidence.numpy(), correct.numpy())
    sizes = torch.bincount(labels, minlength=classes)
    hits = torch.bincount(labels[correct], minlength=classes)
    return Evaluation(
        correct=correct.numpy(),
        labels=labels.numpy(),
        predicted=predicted.numpy(),
        loss=float(cross_entropy(scores.double(), labels)),
        top1=int(correct.sum()) / n,
        ece=ece,
        mce=mce,
        per_class=tuple((hits.double() / sizes.double()).tolist()),
        n=n,
    )


def calibration_error(
    confidence: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"]
) -> tuple[float, float]:
    """Return expected and maximal calibration error over 15 equal bins.

    Args:
        confidence: The top probability of each example, 0..1.
        correct: Whether the class with that probability was the true one.

    Example:
        >>> ece, mce = calibration_error(
        ...     np.array([0.95, 0.95, 0.55, 0.65]), np.array([True, False, True, False])
        ... )
        >>> round(ece, 12), round(mce, 12)
        (0.5, 0.65)
    """
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    sizes = np.bincount(bins, minlength=BINS)
    surplus = np.bincount(bins, weights=confidence - correct, minlength=BINS)
    gaps = np.abs(surplus[sizes > 0]) / sizes[sizes > 0]
    return float(gaps @ sizes[sizes > 0] / len(bins)), float(gaps.max())


def _inputs(
    examples: Data | Split | Iterable[Any],
    data: Data | None,
    batch_size: int,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    if not isinstance(examples, Data | Split):
        yield from examples
        return
    source = examples if isinstance(examples, Data) else data
    if source is None:
        raise ValueError(
            "evaluate: a Split does not say how its images are normalised; pass "
            "data= with the Data that the model was trained on."
        )
    split = examples.test if isinstance(examples, Data) else examples
    normalise = Normaliser(source, device)
    images = split.images
    if images.nbytes <= _AT_ONCE:
        images = images.to(device)  # a copy a batch would wait for the GPU each time
    for start in range(0, len(split), batch_size):
        rows = slice(start, start + batch_size)
        yield normalise(images[rows].to(device)), split.labels[rows]
