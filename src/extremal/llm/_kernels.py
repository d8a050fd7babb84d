"""2:4 kernels of torch, where they are measured to be faster than the dense ones.

A sparse product halves the arithmetic at best and is slower for small batches, so that every layer
is timed with the number of tokens it will see, and keeps the dense weight where that wins. Needs a
CUDA GPU; the shapes must be multiples of 64 in half precision.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ._errors import LLMError

_MULTIPLE = 64


@dataclass(frozen=True)
class Timed:
    """One layer's measurement.

    Attributes:
        name: Of the module.
        shape: (outputs, inputs).
        dense: Seconds of a product with the dense weight.
        sparse: With the 2:4 weight.
        used: Whether the layer is sparse now.
    """

    name: str
    shape: tuple[int, int]
    dense: float
    sparse: float
    used: bool


def use_2_4(
    model: nn.Module,
    tokens: int,
    *,
    convert: Callable[[Tensor], Tensor] | None = None,
    repeats: int = 20,
    graphs: bool = False,
) -> list[Timed]:
    """Replace weights that are 2:4 by torch's semi-structured ones, where that is faster.

    Args:
        model: On a CUDA device, in half precision; changed in place, for inference only.
        tokens: How many tokens a layer sees at once.
        convert: Of a dense weight to a sparse one; by default
            `torch.sparse.to_sparse_semi_structured`, with the fastest algorithm of cuSPARSELt for
            so many tokens.
        repeats: Products that are timed; the median counts.
        graphs: Time products inside a CUDA graph, for a model that will be captured in one; else
            single calls, in which a sparse product of torch spends most of a millisecond before
            it reaches the GPU.

    Returns:
        Every 2:4 layer with its times.

    Raises:
        LLMError: The model is not on a GPU, or no layer is 2:4.
    """
    device = next(model.parameters()).device
    if device.type != "cuda" and convert is None:
        raise LLMError(
            f"the model is on {device}, and torch has 2:4 kernels for CUDA only; use "
            "model.to('cuda')."
        )
    made: Any = torch.sparse.to_sparse_semi_structured if convert is None else convert
    timed = _median_in_graphs if graphs else _median
    found: list[Timed] = []
    with torch.no_grad():
        for name, module in model.named_modules():
            if not isinstance(module, nn.Linear) or not _fits(module.weight):
                continue
            weight = module.weight
            o, d = weight.shape
            x = torch.randn(tokens, d, device=device, dtype=weight.dtype)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="The PyTorch API of SparseSemiStruct")
                sparse = made(weight.detach())
            _search(sparse, x)
            slow = timed(x, weight, module.bias, repeats)
            fast = timed(x, sparse, module.bias, repeats)
            if fast < slow:
                module.weight = nn.Parameter(sparse, requires_grad=False)
            found.append(Timed(name, (o, d), slow, fast, fast < slow))
    if not found:
        raise LLMError(
            f"no linear layer of {type(model).__name__} is 2:4 with sizes that are multiples of "
            f"{_MULTIPLE}; prune it with --pattern 2:4."
        )
    return found


def _fits(weight: Tensor) -> bool:
    o, d = weight.shape
    if o % _MULTIPLE or d % _MULTIPLE:
        return False
    kept = (weight != 0).reshape(-1, 4).sum(1)
    return int(kept.max()) <= 2


def _search(sparse: Any, x: Tensor) -> None:
    """Let cuSPARSELt try its algorithms on this product; the usual one lost a quarter and more."""
    if isinstance(sparse, torch.sparse.SparseSemiStructuredTensorCUSPARSELT):
        padded = x.new_zeros(-(-len(x) // 16) * 16, x.shape[1])
        packed: Any = sparse.packed
        best: Any = torch.ops.aten._cslt_sparse_mm_search(packed, padded.T)
        sparse.alg_id_cusparselt = int(best)


def _median(x: Tensor, weight: Tensor, bias: Tensor | None, repeats: int) -> float:
    def once() -> float:
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        begun = time.perf_counter()
        functional.linear(x, weight, bias)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        return time.perf_counter() - begun

    once()
    times = sorted(once() for _ in range(repeats))
    return times[len(times) // 2]


def _median_in_graphs(x: Tensor, weight: Tensor, bias: Tensor | None, repeats: int) -> float:
    """As `_median`, of a graph of ten products."""
    side = torch.cuda.Stream(x.device)
    side.wait_stream(torch.cuda.current_stream(x.device))
    with torch.cuda.stream(side):  # what is prepared at the first call must not be captured
        functional.linear(x, weight, bias)
    torch.cuda.current_stream(x.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(10):
            functional.linear(x, weight, bias)
    times: list[float] = []
    for _ in range(repeats + 1):
        one, two = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        one.record()
        graph.replay()
        two.record()
        torch.cuda.synchronize(x.device)
        times.append(one.elapsed_time(two) / 1e4)
    return sorted(times[1:])[repeats // 2]
