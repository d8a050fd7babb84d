"""Sums of monomials: which pairs of rows add up to which monomial, without loops.

A row is a monomial in a block; only pairs inside one block are formed. Keys are mixed-radix 64-bit
integers where they fit, else sums of random 64-bit words modulo 2^64, which respect addition; a
collision of such keys is looked for exactly and answered with other words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt64

from ._errors import MemoryLimitError

Rows = Int[np.ndarray, "_ n"]  # a monomial a row, an exponent a variable


def keys(rows: Rows, limit: Int[np.ndarray, " n"], attempt: int) -> UInt64[np.ndarray, " _"]:
    """Return a key a row; keys of sums are sums of keys modulo 2^64.

    Args:
        rows: Exponents.
        limit: The largest exponent of each variable that a sum can have.
        attempt: 0 for mixed radix (if it fits), else which random words.
    """
    n = rows.shape[1]
    radix = [int(v) + 1 for v in limit]
    size = 1
    words: list[int] = []
    for r in radix:
        words.append(size)
        size *= r
    if size < 1 << 63 and attempt == 0:
        w = np.array(words, dtype=np.uint64)
    else:
        w = np.random.default_rng(attempt).integers(1, 1 << 63, n, dtype=np.uint64) * np.uint64(2)
        w += np.uint64(1)
    return rows.astype(np.uint64) @ w


@dataclass(frozen=True, slots=True)
class Pairs:
    """All pairs a <= b inside blocks, grouped by their sum.

    Attributes:
        a: Row numbers.
        b: Row numbers, at least `a`.
        s: Which sum, a number into `sums`; ascending.
        sums: The distinct sums.
    """

    a: Int[np.ndarray, " pairs"]
    b: Int[np.ndarray, " pairs"]
    s: Int[np.ndarray, " pairs"]
    sums: Rows


def pairs(rows: Rows, sizes: Sequence[int], memory: int = 2 << 30) -> Pairs:
    """Return the pairs of rows in blocks of these sizes.

    Raises:
        MemoryLimitError: The index would need more than `memory` bytes; nothing was allocated.

    Cost: one sort of all pairs; 500,000 pairs (1,000 rows) take about 0.1 s.
    """
    count = sum(k * (k + 1) // 2 for k in sizes)
    need = count * (48 + 8 * rows.shape[1])
    if need > memory:
        raise MemoryLimitError(
            f"the {count:,} pairs of {len(rows):,} monomials need about {need >> 20:,} MiB, over "
            f"the limit of {memory >> 20:,} MiB; raise memory_mib or use a smaller basis."
        )
    firsts: list[np.ndarray] = []
    seconds: list[np.ndarray] = []
    start = 0
    for k in sizes:
        i, j = np.triu_indices(k)
        firsts.append(i + start)
        seconds.append(j + start)
        start += k
    a = np.concatenate(firsts) if firsts else np.zeros(0, np.int64)
    b = np.concatenate(seconds) if seconds else np.zeros(0, np.int64)
    if not len(rows):
        return Pairs(a, b, a, rows)
    limit = 2 * rows.max(axis=0)
    for attempt in range(100):
        key = keys(rows, limit, attempt)
        total = key[a] + key[b]
        order = np.argsort(total, kind="stable")
        ordered = total[order]
        new = np.empty(len(ordered), dtype=bool)
        new[0] = True
        np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
        s = np.cumsum(new) - 1
        heads = order[new]
        sums = rows[a[heads]] + rows[b[heads]]
        a_sorted, b_sorted = a[order], b[order]
        if attempt == 0 and np.prod(limit + 1.0) < 2.0**62:
            return Pairs(a_sorted, b_sorted, s, sums)
        if _agree(rows, a_sorted, b_sorted, s, sums):
            return Pairs(a_sorted, b_sorted, s, sums)
    raise AssertionError("random keys of 64 bits collided a hundred times")


def _agree(rows: Rows, a: np.ndarray, b: np.ndarray, s: np.ndarray, sums: Rows) -> bool:
    """Whether every pair adds up to the sum of its group, looked at in pieces."""
    rows, sums = rows.astype(np.int16), sums.astype(np.int16)  # exponents are at most 10,000
    piece = max(1, (1 << 22) // max(1, rows.shape[1]))
    for at in range(0, len(a), piece):
        cut = slice(at, at + piece)
        if (rows[a[cut]] + rows[b[cut]] != sums[s[cut]]).any():
            return False
    return True


def find(needles: Rows, rows: Rows) -> Int[np.ndarray, " _"]:
    """Return for each needle the number of the equal row, or -1. Rows are distinct."""
    if not len(needles) or not len(rows):
        return np.full(len(needles), -1, dtype=np.int64)
    limit = np.maximum(needles.max(axis=0), rows.max(axis=0))
    key = keys(rows, limit, 1)
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    if (ordered[1:] == ordered[:-1]).any():  # two rows share a random key: compare them whole
        at = {r: i for i, r in enumerate(map(tuple, rows.tolist()))}
        return np.array([at.get(tuple(r), -1) for r in needles.tolist()], dtype=np.int64)
    wanted = keys(needles, limit, 1)
    place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    found = order[place]
    hit = np.flatnonzero(ordered[place] == wanted)
    true = (rows[found[hit]] == needles[hit]).all(axis=1)
    out = np.full(len(needles), -1, dtype=np.int64)
    out[hit[true]] = found[hit[true]]
    return out


def covered(support: Rows, basis: Rows) -> np.ndarray:
    """Return for each monomial whether it is a sum of two of the basis.

    Cost: a look-up for each monomial with each member.
    """
    out = np.zeros(len(support), dtype=bool)
    if not len(basis):
        return out
    limit = np.maximum(support.max(axis=0), 2 * basis.max(axis=0))
    key = np.sort(keys(basis, limit, 1))
    own = keys(basis, limit, 1)
    order = np.argsort(own, kind="stable")
    wanted = keys(support, limit, 1)
    for i, u in enumerate(wanted):
        rest = u - own  # modulo 2^64
        place = np.minimum(np.searchsorted(key, rest), len(key) - 1)
        for b in np.flatnonzero(key[place] == rest):
            other = basis[order[place[b]]]
            if (basis[b] + other == support[i]).all():
                out[i] = True
                break
    return out


def unique_rows(rows: Rows) -> Rows:
    """Return distinct rows in graded lexicographic order."""
    if not len(rows):
        return rows
    distinct = np.unique(rows, axis=0)
    return distinct[np.argsort(distinct.sum(axis=1), kind="stable")]
