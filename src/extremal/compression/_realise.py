"""From a cut in dense shapes to a network that is really smaller, compared with it.

The twin is the network in its dense shapes with the values of the cut. Whatever is made from it
must give the twin's outputs; a network that does not is thrown away, never handed out.
"""

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from extremal import training
from extremal.training import Slicer, TrainingError

from ._cut import Cut, Operator
from ._errors import CompressionError, MaskedInsteadWarning
from ._low_rank import LowRank
from ._measure import outputs_of
from ._start import Start

_EXAMPLES = 4


@dataclass(frozen=True)
class Realised:
    """A network made from a cut.

    Attributes:
        model: The network.
        status: "sliced", "factorised", "zeros" (masks were asked for), or "masked" (channels are
            zeroed because they could not be cut out).
        reason: Which layer could not be cut out, or "".
    """

    model: nn.Module
    status: str
    reason: str = ""


def twin_of(start: Start, cut: Cut) -> nn.Module:
    """A copy of the network with the values of a cut, in its dense shapes."""
    twin = copy.deepcopy(start.model).eval()
    tensors = twin.state_dict()
    with torch.no_grad():
        for name, value in cut.values.items():
            tensors[name].copy_(value)
    return twin


def realised(
    start: Start, operator: Operator, cut: Cut, twin: nn.Module, tolerance: float = 1e-5
) -> Realised:
    """Make the smaller network from the twin, and compare the two.

    Warns:
        MaskedInsteadWarning: Channels could not be cut out; the network keeps its dense shapes.

    Raises:
        CompressionError: Two thin layers do not give what the one gives.
    """
    if operator.kind == "unstructured":
        return Realised(twin, "zeros")
    inputs = probe(start)
    if isinstance(operator, LowRank):
        if start.reason:
            raise CompressionError(f"low rank changes the graph of layers: {start.reason}")
        made = training.traced(twin, start.shape)
        operator.factorised(made, cut.detail["ranks"])
        small = training.traced(made, start.shape)
        gap = _gap(small, twin, inputs)
        if gap > 100 * tolerance:  # two products instead of one: rounding, not a different result
            raise CompressionError(
                f"the thin layers' outputs differ from the truncated ones by {gap:.3g} of the "
                "largest output; the weights are too badly scaled for float32. Use another kind."
            )
        return Realised(small, "factorised")
    removed: Mapping[str, Sequence[int]] = cut.detail["removed"]
    failure = sliced_failure(twin, start.shape, removed, inputs, tolerance)
    if isinstance(failure, nn.Module):
        return Realised(failure, "sliced")
    guilty = [
        f"{name} ({reason})"
        for name, channels in removed.items()
        if channels
        and isinstance(
            reason := sliced_failure(
                _without_one(start, name, channels, operator),
                start.shape,
                {name: channels},
                inputs,
                tolerance,
            ),
            str,
        )
    ]
    reason = guilty[0] if guilty else failure
    warnings.warn(
        f"the channels of {reason} cannot be cut out, so they are only zeroed and the network "
        "keeps its size; leave such layers alone, or use kind lowrank.",
        MaskedInsteadWarning,
        stacklevel=2,
    )
    return Realised(twin, "masked", reason)


def sliced_failure(
    twin: nn.Module,
    shape: tuple[int, ...],
    removed: Mapping[str, Sequence[int]],
    inputs: Tensor,
    tolerance: float,
) -> nn.Module | str:
    """Return the sliced network, or why there is none."""
    try:
        made = Slicer(twin, shape).cut(removed)
        with torch.no_grad():
            made.forward(inputs)  # calling the module itself would print what fails
        gap = _gap(made, twin, inputs)
    except TrainingError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 -- a wrongly sliced forward pass fails in any way
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if not gap <= tolerance:
        return f"its outputs differ by {gap:.2g} of the largest"
    return made


def probe(start: Start) -> Tensor:
    """Inputs of every scale that a network meets, for comparisons."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(_EXAMPLES, *start.shape, generator=generator)


def _without_one(start: Start, name: str, channels: Sequence[int], operator: Operator) -> nn.Module:
    from ._filters import Filters

    assert isinstance(operator, Filters)
    return twin_of(start, operator.without({name: list(channels)}))


def _gap(one: nn.Module, two: nn.Module, inputs: Tensor) -> float:
    """The largest difference of outputs over the largest output (or 1)."""
    a, b = outputs_of(one, inputs).double(), outputs_of(two, inputs).double()
    if a.shape != b.shape:
        return float("inf")
    return float((a - b).abs().max() / b.abs().max().clamp_min(1.0))
