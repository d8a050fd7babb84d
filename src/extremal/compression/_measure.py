"""Accuracy before and after recalibration, latency, differences of outputs."""

import time
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from extremal import training
from extremal.training import Data, Evaluation


@dataclass(frozen=True)
class Accuracy:
    """What a network answers on the test split.

    Attributes:
        raw: As it is.
        recalibrated: After measuring batch statistics anew; None where there are none, or none
            were wanted.
        top3: Share of examples whose class is among the three highest scores, of the last one.
        seconds: In forward passes, recalibration included.
    """

    raw: Evaluation
    recalibrated: Evaluation | None
    top3: float
    seconds: float

    @property
    def best(self) -> Evaluation:
        """The recalibrated one where there is one."""
        return self.raw if self.recalibrated is None else self.recalibrated


def accuracy_of(model: nn.Module, data: Data, recalibrate: float) -> Accuracy:
    """Measure a network; its batch statistics are measured anew in place, where wanted."""
    begun = time.perf_counter()
    scores, labels = training.scores(model, data)
    seconds = time.perf_counter() - begun
    raw = training.measured(scores, labels)
    later = None
    if recalibrate and normalised(model):
        begun = time.perf_counter()
        training.recalibrate(model, data, fraction=recalibrate)
        scores, labels = training.scores(model, data)
        seconds += time.perf_counter() - begun
        later = training.measured(scores, labels)
    top = scores.topk(min(3, scores.shape[1]), dim=1).indices
    return Accuracy(raw, later, float((top == labels[:, None]).any(1).float().mean()), seconds)


def normalised(model: nn.Module) -> bool:
    """Whether a network has batch statistics to measure."""
    return any(
        isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None
        for m in model.modules()
    )


def outputs_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return float32 outputs, in eval mode."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(part).float() for part in inputs.split(100)])


def difference(one: Tensor, two: Tensor) -> float:
    """The largest difference of two outputs, in float64 as the checker counts it."""
    return float((one.double() - two.double()).abs().max())


def latencies(
    models: dict[str, nn.Module], shape: tuple[int, ...], batch: int, repeats: int
) -> dict[str, list[float]]:
    """Time forward passes of several models, in turn, so that other work meets all alike.

    Returns:
        Seconds of each repetition by model; two repetitions warm up and are left out.
    """
    inputs = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))
    samples: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for number in range(repeats + 2):
            for name, model in models.items():
                begun = time.perf_counter()
                model(inputs)
                if number >= 2:
                    samples[name].append(time.perf_counter() - begun)
    return samples


def latency(model: nn.Module, shape: tuple[int, ...], batch: int, repeats: int = 7) -> float:
    """Median seconds of a forward pass."""
    return median(latencies({"model": model}, shape, batch, repeats)["model"])
