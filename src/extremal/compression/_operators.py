"""Makes the operator of a kind, with everything that it computes once."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from extremal import training
from extremal.training import Data

from ._config import OperatorConfig, SweepConfig
from ._cut import Operator
from ._filters import Filters
from ._low_rank import LowRank
from ._start import Start
from ._unstructured import Unstructured

_TAYLOR_IMAGES = 512


def operator_of(kind: str, start: Start, config: OperatorConfig) -> Operator:
    """Prepare one kind of compression for all ratios.

    Raises:
        ValueError: An option does not fit the kind.
        CompressionError: The network has nothing of this kind to cut.
        TrainingError: Channels cannot be followed.
    """
    chosen: dict[str, Any] = {"include": config.include, "exclude": config.exclude}
    if kind == "unstructured":
        return Unstructured(start.model, start.macs, scope=config.scope or "global", **chosen)
    if kind == "lowrank":
        return LowRank(
            start.model, start.macs, rule=config.rule, balanced=config.balanced, **chosen
        )
    scope = config.scope or "layer"
    shared = isinstance(config, SweepConfig) and "unstructured" in config.kinds
    if shared and scope not in ("layer", "global"):
        scope = "layer"  # a selector, which speaks to the kind unstructured of the same sweep
    return Filters(
        start.model,
        start.macs,
        training.channel_groups(start.model, start.shape),
        criterion=config.criterion,
        scope=scope,
        multiple=config.multiple,
        seed=config.seed,
        losses=None if start.data is None else _Losses(start.data),
    )


class _Losses:
    """The loss on a fixed part of the training images."""

    def __init__(self, data: Data) -> None:
        part = data.subset(min(_TAYLOR_IMAGES, len(data.train)))
        normalise = training.Normaliser(part, torch.device("cpu"))
        self.inputs, self.labels = normalise(part.train.images), part.train.labels

    def __call__(self, model: nn.Module) -> Tensor:
        return cross_entropy(model(self.inputs), self.labels)
