"""Linear layers whose zeros cost nothing, kept only where they are faster.

`SparseLinear` computes what `nn.Linear` computes, from compressed rows. Whether that is faster
depends on sparsity, width, batch and machine, so `with_sparse_kernels` times each layer beside
torch's dense one, compiled where that is wanted, and keeps the winner.
"""

import copy
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from extremal.lab import require

from ._errors import CompressionError

_SPARSE_ENOUGH = 0.5  # below, compressed rows hold more bytes than the dense weight
_SMALL = 4096  # fewer weights than this are over before a sparse kernel has begun


class SparseLinear(nn.Module):
    """A linear layer as compressed rows, for float32 on a CPU; it does not train.

    The rows are read-only copies: changing the layer it was made from changes nothing here.
    """

    def __init__(self, linear: nn.Linear) -> None:
        """Take the weights that are not zero.

        Raises:
            ValueError: The weight is not float32.
            MissingExtra: numba is not installed.
        """
        super().__init__()
        require("numba", "compression")
        weight = linear.weight.detach().cpu()
        if weight.dtype != torch.float32:
            raise ValueError(f"SparseLinear computes in float32 and the weight is {weight.dtype}.")
        dense = weight.numpy()
        rows, columns = np.nonzero(dense)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._columns = columns.astype(np.uint32)
        self._values = np.ascontiguousarray(dense[rows, columns])
        counts = np.bincount(rows, minlength=self.out_features)
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        own = linear._parameters["bias"]  # None without a bias, which the attribute's stub denies
        bias = None if own is None else own.detach().cpu().clone()
        self.register_buffer("bias", bias)
        zeros = np.zeros(self.out_features, np.float32)
        self._bias = zeros if bias is None else bias.numpy()
        # Another thread pays from some 20,000 weights on.
        self._parts = max(1, len(self._values) // 20_000)

    @property
    def nonzero(self) -> int:
        """How many weights it holds."""
        return len(self._values)

    def forward(self, x: Float[Tensor, "*batch i"]) -> Float[Tensor, "*batch o"]:
        """Return x W^T + bias."""
        from ._kernels import LANES, multiply, multiply_one, turned

        rows = x.numel() // self.in_features
        flat = x.detach().reshape(rows, self.in_features).contiguous().numpy()
        out = np.empty((rows, self.out_features), np.float32)
        if rows == 1:
            self._run(multiply_one, flat[0], out[0])
        else:
            inputs = np.empty((self.in_features, -(-rows // LANES) * LANES), np.float32)
            turned(flat, inputs)
            self._run(multiply, inputs, out)
        return torch.from_numpy(out).reshape(*x.shape[:-1], self.out_features)

    def _run(self, kernel: Callable[..., None], inputs: np.ndarray, out: np.ndarray) -> None:
        arguments = (self._starts, self._columns, self._values, self._bias, inputs, out)
        parts = 1 if self._parts == 1 else min(torch.get_num_threads(), self._parts)
        if parts == 1:
            kernel(*arguments, 0, self.out_features)
            return
        # Rows are cut where the weights are halved, not the rows.
        cuts = np.searchsorted(self._starts, np.linspace(0, self.nonzero, parts + 1))
        cuts[0], cuts[-1] = 0, self.out_features
        jobs = [_pool(parts).submit(kernel, *arguments, int(a), int(b)) for a, b in pairwise(cuts)]
        for job in jobs:
            job.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="sparse-linear")


@dataclass(frozen=True)
class Kernel:
    """What was measured of one linear layer.

    Attributes:
        layer: Its name.
        sparsity: Share of its weights that are zero.
        dense: Median seconds of the dense layer, by batch.
        sparse: The same of compressed rows.
        kept: Whether the sparse one was kept: faster at every batch.
    """

    layer: str
    sparsity: float
    dense: dict[int, float]
    sparse: dict[int, float]
    kept: bool


def with_sparse_kernels(
    model: nn.Module,
    shape: tuple[int, ...],
    batches: Sequence[int],
    repeats: int,
    dense: str = "eager",
) -> tuple[nn.Module, list[Kernel]]:
    """Replace linear layers by sparse ones where these are faster on this machine, in place.

    Args:
        model: In eval mode, on the CPU.
        shape: Of one input.
        batches: Inputs per forward pass; a sparse kernel must win at each of them.
        repeats: Timed repetitions.
        dense: What it must beat: "eager" layers or "compiled" ones (torch.compile).

    Returns:
        The model, and what was measured of each candidate.
    """
    found: list[Kernel] = []
    for name, module in list(model.named_modules()):
        if type(module) is not nn.Linear or module.weight.numel() < _SMALL:
            continue
        sparsity = float((module.weight == 0).float().mean())
        if sparsity < _SPARSE_ENOUGH or module.weight.dtype != torch.float32:
            continue
        sparse = SparseLinear(module)
        peer: Any = compiled(module) if dense == "compiled" else module
        rows = _rows_seen(model, module, shape)
        times = {
            batch: _paired(peer, sparse, module.in_features, batch * rows, repeats)
            for batch in batches
        }
        one, two = ({b: t[i] for b, t in times.items()} for i in (0, 1))
        kept = all(two[b] < one[b] for b in batches)
        found.append(Kernel(name, sparsity, one, two, kept))
        if kept:
            model.set_submodule(name, sparse)
    return model, found


def compiled(layer: nn.Module) -> Any:
    """The layer compiled by torch.

    Raises:
        CompressionError: torch.compile does not work here; the text says what to do instead.
    """
    twin = copy.deepcopy(layer).requires_grad_(False)
    # torch counts recompilations over all linear layers together and gives up after eight.
    torch.compiler.reset()
    made: Any = torch.compile(twin, dynamic=False)
    weight: Any = twin.weight
    try:
        with torch.inference_mode():
            made(torch.zeros(1, weight.shape[1]))
    except Exception as error:
        raise CompressionError(
            f"torch.compile does not work here ({type(error).__name__}), so there is no compiled "
            "layer to compare with. Install a C++ compiler, or compare with dense=eager."
        ) from error
    return made


def _rows_seen(model: nn.Module, layer: nn.Module, shape: tuple[int, ...]) -> int:
    """How many vectors the layer sees for one input."""
    seen: list[int] = []
    handle = layer.register_forward_hook(
        lambda m, x, y: seen.append(x[0].numel() // x[0].shape[-1])
    )
    with torch.inference_mode():
        model(torch.zeros(1, *shape))
    handle.remove()
    return max(seen, default=1)


def _paired(
    dense: Any, sparse: nn.Module, features: int, rows: int, repeats: int
) -> tuple[float, float]:
    """Median seconds of both, run in turn."""
    inputs = torch.randn(rows, features, generator=torch.Generator().manual_seed(0))
    samples: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        for number in range(repeats + 2):
            for layer, times in zip((dense, sparse), samples, strict=True):
                begun = time.perf_counter()
                layer(inputs)
                if number >= 2:
                    times.append(time.perf_counter() - begun)
    return median(samples[0]), median(samples[1])
