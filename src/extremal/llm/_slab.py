"""The columns of one slab of SparseGPT, swept by one GPU kernel.

Within a slab a column waits for the one before it, but the rows are independent. Launched one by
one, the ten operations of each column of a model with 7 billion weights are eleven million
launches, about a minute; here a program holds 16 rows of the slab in registers and one launch does
its 128 columns. Between slabs the errors go to the right by a matrix product, as on a CPU.

Notation: as in `_sparsegpt`; the caller chooses the mask of an unstructured slab, the kernel that
of N:M groups, with the weights as they are when the group is reached.
"""

from typing import Any, no_type_check

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

_ROWS = 16


@triton.jit  # pyright: ignore[reportUntypedFunctionDecorator]
@no_type_check
def _sweep_slab(
    weight, keep, upper, errors, rows, start, w_stride, u_stride,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, BLOCK)
    inside = (r < rows)[:, None] & (c < WIDTH)[None, :]
    at = r.to(tl.int64)[:, None] * w_stride + (start + c)[None, :]
    w = tl.load(weight + at, mask=inside, other=0.0)
    kept = tl.load(keep + at, mask=inside, other=1).to(tl.int32)
    e = tl.zeros([ROWS, BLOCK], dtype=tl.float32)
    diagonal = tl.load(upper + (start + c) * (u_stride + 1), mask=c < WIDTH, other=1.0)
    for j in range(WIDTH):
        if M > 0:  # noqa: SIM102 - decided when the kernel is compiled
            if j % M == 0:
                score = w * w / (diagonal * diagonal)[None, :]
                rank = tl.zeros([ROWS, BLOCK], dtype=tl.int32)
                for a in tl.static_range(M):
                    one = tl.sum(tl.where((c == j + a)[None, :], score, 0.0), axis=1)[:, None]
                    before = (one < score) | ((one == score) & (c > j + a)[None, :])
                    rank += before.to(tl.int32)
                group = ((c >= j) & (c < j + M))[None, :]
                kept = tl.where(group, (rank >= M - N).to(tl.int32), kept)
        here = (c == j)[None, :]
        column = tl.sum(tl.where(here, w, 0.0), axis=1)
        stays = tl.sum(tl.where(here, kept, 0), axis=1) > 0
        u = tl.load(
            upper + (start + j) * u_stride + start + c, mask=(c >= j) & (c < WIDTH), other=0.0
        )
        d = tl.load(upper + (start + j) * (u_stride + 1))
        error = tl.where(stays, 0.0, column / d)
        w = w - error[:, None] * u[None, :]
        w = tl.where(here & (stays == 0)[:, None], 0.0, w)
        e = tl.where(here, error[:, None], e)
    tl.store(weight + at, w, mask=inside)
    tl.store(keep + at, kept.to(tl.int8), mask=inside)
    out = r.to(tl.int64)[:, None] * WIDTH + c[None, :]
    tl.store(errors + out, e, mask=inside)


def sweep_slab(
    weight: Tensor, keep: Tensor, upper: Tensor, start: int, end: int, n: int, m: int
) -> Tensor:
    """Sweep the columns [start, end) of a weight in place; return their errors (rows, columns).

    Args:
        weight: Float32, row by row in memory, on a GPU.
        keep: The mask, boolean, row by row; of an N:M pattern it is chosen here.
        upper: U, float32, row by row.
        start: First column.
        end: Past the last column.
        n: Kept of a group, or 0 where the mask is given.
        m: Size of a group, or 0; a divisor of `end - start`.
    """
    assert weight.stride(1) == keep.stride(1) == upper.stride(1) == 1
    rows, width = weight.shape[0], end - start
    errors = torch.empty(rows, width, dtype=torch.float32, device=weight.device)
    kernel: Any = _sweep_slab
    kernel[(triton.cdiv(rows, _ROWS),)](
        weight, keep.view(torch.int8), upper, errors, rows, start, weight.stride(0),
        upper.stride(0), WIDTH=width, ROWS=_ROWS, BLOCK=triton.next_power_of_2(width), N=n, M=m,
        num_warps=4,
    )  # fmt: skip
    return errors
