"""What a scorer sees of a polynomial: candidates, and which pairs of them make terms.

Nothing here depends on the names or the order of the variables, so neither does a score. A node is
a candidate monomial; an edge joins two whose product is a term, and carries the coefficient.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ._bases import Bases
from ._consistency import repair
from ._polynomial import Polynomial
from ._sumset import Rows, find, pairs, unique_rows

NODE_FEATURES = 9
EDGE_FEATURES = 5
MAX_CANDIDATES = 800


@dataclass(frozen=True)
class Graph:
    """A polynomial for a scorer.

    Attributes:
        rows: The candidates.
        nodes: Features of each.
        head: Of each directed edge, the candidate that it goes to.
        tail: The one it comes from.
        edges: Features of each.
    """

    rows: Rows
    nodes: Float[np.ndarray, "_ f"]
    head: Int[np.ndarray, " e"]
    tail: Int[np.ndarray, " e"]
    edges: Float[np.ndarray, "_ g"]


def candidates(p: Polynomial) -> Rows:
    """Return K(p) where that is small and quickly found, else even halves, their midpoints, repair.

    Cost: that of H(p) to dimension 8 and 600 monomials; else pairs of the even halves.
    """
    bases = Bases(p)
    if bases.full_size <= 600 and len(p.variables) <= 8:
        rows = bases.consistent
    else:
        first = repair(bases.even_support, p.support)[0]
        rows = first
        if 0 < len(first) <= 200:
            i, j = np.triu_indices(len(first), 1)
            total = first[i] + first[j]
            even = ~(total % 2).any(axis=1)
            rows = unique_rows(np.vstack([first, total[even] // 2]))
            known = find(rows, first) >= 0
            rows = np.vstack([rows[known], rows[~known]])
    return rows[:MAX_CANDIDATES]


def graph(p: Polynomial, rows: Rows, support_only: bool = False) -> Graph:
    """Return the features of candidates.

    Args:
        p: The polynomial, not zero.
        rows: Its candidates.
        support_only: Leave out every coefficient and sign; for ablations.
    """
    support = p.support
    c = p.floats / float(np.abs(p.floats).max())
    if support_only:
        c = np.ones_like(c)
    size = np.clip(np.log10(np.maximum(np.abs(c), 1e-12)) / 4, -2, 0)
    n = len(rows)
    index = pairs(rows, [n])
    term_of_sum = find(index.sums, support)
    ways = np.bincount(index.s, minlength=len(index.sums))
    term = term_of_sum[index.s]
    hit = term >= 0
    a, b, t = index.a[hit], index.b[hit], term[hit]
    scarce = 1.0 / ways[index.s[hit]]
    own = np.full(n, -1, dtype=np.int64)
    diagonal = a == b
    own[a[diagonal]] = t[diagonal]
    doubled = np.zeros(n)
    same = index.a == index.b
    doubled[index.a[same]] = ways[index.s[same]] - 1
    a, b, t, scarce = a[~diagonal], b[~diagonal], t[~diagonal], scarce[~diagonal]
    head, tail = np.concatenate([a, b]), np.concatenate([b, a])
    t, scarce = np.concatenate([t, t]), np.concatenate([scarce, scarce])
    even = np.asarray(~(support % 2).any(axis=1))
    degree = max(1, p.degree)
    has = own >= 0
    count = np.bincount(head, minlength=n)
    nodes = np.stack(
        [
            has.astype(float),
            np.where(has, np.sign(c[own]), 0.0),
            np.where(has, size[own], 0.0),
            np.log1p(doubled) / 4,
            np.log1p(count) / 4,
            2 * rows.sum(axis=1) / degree,
            (rows > 0).mean(axis=1),
            2 * rows.max(axis=1, initial=0) / degree,
            count / max(1, len(support)),
        ],
        axis=1,
    )
    edges = np.stack(
        [np.sign(c[t]), size[t], scarce, even[t].astype(float), np.ones(len(t))], axis=1
    )
    return Graph(rows, nodes, head, tail, edges.reshape(len(t), EDGE_FEATURES))
