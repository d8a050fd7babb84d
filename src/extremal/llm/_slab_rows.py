"""The columns of one slab of SparseGPT on a CPU, row by row.

Within a slab a column waits for the one before it, but the rows are independent: a row of 128
numbers stays in the first cache from its first column to its last, where operations on whole
columns read all rows anew for each of them, and allocate as often.

Notation: as in `_sparsegpt`.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, no_type_check

import torch
from numba import njit
from torch import Tensor

_ROWS = 256  # fewer rows are not worth a thread


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _sweep_rows(weight, keep, upper, errors, first, last, n, m):
    """Sweep rows [first, last); `upper` is the slab's own square of U; M > 0 chooses N of M."""
    width = weight.shape[1]
    for r in range(first, last):
        w, kept, e = weight[r], keep[r], errors[r]
        for j in range(width):
            if m > 0 and j % m == 0:
                _choose(w, kept, upper, j, n, m)
            if kept[j]:
                e[j] = 0
                continue
            error = w[j] / upper[j, j]
            after, row = w[j + 1 :], upper[j, j + 1 :]
            for c in range(len(after)):  # from 0: no index can be negative, so these are vectors
                after[c] -= error * row[c]
            w[j] = 0
            e[j] = error


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _choose(w, kept, upper, start, n, m):
    """Keep the n largest of a group; of equal scores the lower index goes first."""
    for a in range(start, start + m):
        score = w[a] * w[a] / (upper[a, a] * upper[a, a])
        before = 0
        for b in range(start, start + m):
            other = w[b] * w[b] / (upper[b, b] * upper[b, b])
            if other < score or (other == score and b < a):
                before += 1
        kept[a] = before >= m - n


def sweep_slab(
    weight: Tensor, keep: Tensor, upper: Tensor, start: int, end: int, n: int, m: int
) -> Tensor:
    """Sweep the columns [start, end) of a weight in place; return their errors (rows, columns).

    Args:
        weight: Float, on a CPU.
        keep: The mask, boolean; of an N:M pattern it is chosen here.
        upper: U.
        start: First column.
        end: Past the last column.
        n: Kept of a group, or 0 where the mask is given.
        m: Size of a group, or 0; a divisor of `end - start`.

    Cost: a thread for each of torch's; the result does not depend on their number.
    """
    # Copies whose rows are known to be dense: only for those is the inner loop made of vectors.
    slab, kept = weight[:, start:end].contiguous(), keep[:, start:end].contiguous()
    square, errors = upper[start:end, start:end].contiguous(), torch.empty_like(slab)
    sweep_rows: Any = _sweep_rows
    given = (slab.numpy(), kept.numpy(), square.numpy(), errors.numpy())
    rows, threads = len(weight), torch.get_num_threads()
    step = max(_ROWS, -(-rows // threads))
    if step >= rows:
        sweep_rows(*given, 0, rows, n, m)
    else:
        with ThreadPoolExecutor(threads) as pool:
            parts = [
                pool.submit(sweep_rows, *given, first, min(first + step, rows), n, m)
                for first in range(0, rows, step)
            ]
            for part in parts:
                part.result()
    weight[:, start:end] = slab
    if m:
        keep[:, start:end] = kept
    return errors
