"""Which rows contain which features: bit sets, one for each code of each unit.

The rows that contain a feature are the intersection of k bit sets, so n features against N rows
cost n k N / 64 word operations. For binary rows of d units a matrix product counts agreements
instead; `matches_by_products` is kept as the independent second way.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

_CHUNK_BYTES = 32 << 20


class Index:
    """Rows, held as bit sets.

    Args:
        codes: Of the rows.
        labels: Their classes.
        classes: How many there are.
    """

    def __init__(
        self, codes: Int[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], classes: int
    ) -> None:
        """Build the sets: n times the number of all codes, in bits."""
        self.n, self.d = codes.shape
        sizes = codes.max(0).astype(np.int64) + 1 if self.n else np.zeros(self.d, np.int64)
        self.sizes = sizes
        self.first = np.concatenate([[0], np.cumsum(sizes)])
        total = int(self.first[-1])
        self.words = (self.n + 63) // 64 or 1
        # The last two sets are "no row" (a code that no row has) and "every row" (a hidden unit).
        self.none, self.every = total, total + 1
        self.sets = np.zeros((total + 2, self.words), np.uint64)
        for u in range(self.d):
            for c in range(int(sizes[u])):
                self.sets[self.first[u] + c] = pack(codes[:, u] == c, self.words)
        self.sets[self.every] = pack(np.ones(self.n, bool), self.words)
        self.by_class = np.stack([pack(labels == c, self.words) for c in range(classes)])

    def rows(
        self, masks: Bool[np.ndarray, "f d"], codes: Int[np.ndarray, "f d"]
    ) -> UInt64[np.ndarray, "f w"]:
        """Return for each feature the set of rows that contain it."""
        out = np.empty((len(masks), self.words), np.uint64)
        k = int(masks.sum(1).max()) if len(masks) else 0
        step = max(1, _CHUNK_BYTES // (8 * self.words * max(k, 1)))
        for start in range(0, len(masks), step):
            part = slice(start, start + step)
            out[part] = np.bitwise_and.reduce(
                self.sets[self._places(masks[part], codes[part], k)], 1
            )
        return out

    def counts(
        self, masks: Bool[np.ndarray, "f d"], codes: Int[np.ndarray, "f d"]
    ) -> Int[np.ndarray, "f classes"]:
        """Return for each feature how many rows of each class contain it.

        Example:
            >>> rows = np.array([[0, 1], [0, 0], [1, 1]])
            >>> Index(rows, np.array([0, 1, 1]), 2).counts(np.array([[True, False]]), rows[:1])
            array([[1, 1]])
        """
        out = np.empty((len(masks), len(self.by_class)), np.int64)
        step = max(1, _CHUNK_BYTES // (8 * self.words))
        for start in range(0, len(masks), step):
            found = self.rows(masks[start : start + step], codes[start : start + step])
            for c, members in enumerate(self.by_class):
                out[start : start + step, c] = popcount(found & members).sum(1)
        return out

    def _places(
        self, masks: Bool[np.ndarray, "f d"], codes: Int[np.ndarray, "f d"], k: int
    ) -> Int[np.ndarray, "f k"]:
        """The numbers of the sets whose intersection is wanted, padded with "every row"."""
        places = np.full((len(masks), max(k, 1)), self.every)
        feature, unit = np.nonzero(masks)
        # Position of each shown unit among those of its feature.
        begins = np.concatenate([[0], np.cumsum(masks.sum(1))])[:-1]
        position = np.arange(len(feature)) - begins[feature]
        code = codes[feature, unit].astype(np.int64)
        known = (code >= 0) & (code < self.sizes[unit])
        places[feature, position] = np.where(known, self.first[unit] + code, self.none)
        return places


def pack(bits: Bool[np.ndarray, " n"], words: int) -> UInt64[np.ndarray, " w"]:
    """Return a set of rows as 64-bit words."""
    out = np.zeros(words * 8, np.uint8)
    packed = np.packbits(bits, bitorder="little")
    out[: len(packed)] = packed
    return out.view(np.uint64)


def unpack(words: UInt64[np.ndarray, "*f w"], n: int) -> Bool[np.ndarray, "*f n"]:
    """Return sets of rows as truth values."""
    return np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")[..., :n].astype(bool)


_BITS = np.array([i.bit_count() for i in range(256)], np.uint8)


def popcount(words: UInt64[np.ndarray, "*f w"]) -> Int[np.ndarray, "*f w"]:
    """Return how many bits are set in each word."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.bitwise_count(words).astype(np.int64)
    return _BITS[words.view(np.uint8)].reshape(*words.shape, 8).sum(-1, dtype=np.int64)


def distinct(
    masks: Bool[np.ndarray, "n d"], codes: Int[np.ndarray, "n d"]
) -> tuple[Int[np.ndarray, " f"], Int[np.ndarray, " n"]]:
    """Return the first row of each different feature, and which feature each row has."""
    hidden = np.where(masks, codes.astype(np.int16), np.int16(-1))
    keys = np.ascontiguousarray(hidden).view(np.dtype((np.void, hidden.itemsize * hidden.shape[1])))
    _, first, which = np.unique(keys.reshape(-1), return_index=True, return_inverse=True)
    return first, which.reshape(-1)


def matches_by_products(
    masks: Bool[np.ndarray, "f d"],
    codes: Int[np.ndarray, "f d"],
    rows: Int[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    classes: int,
) -> Int[np.ndarray, "f classes"]:
    """Return the counts of `Index.counts` for binary codes, by a matrix product.

    With a = m (2x - 1) and b = 2y - 1, <a, b> counts the agreements on the shown units less the
    disagreements, so a row contains a feature exactly where <a, b> is the number of shown units.
    One product does the work of the two that count mismatches; float32 is exact up to 2^24 units.

    Raises:
        ValueError: A code is not 0 or 1.

    Cost: f n d multiplications, a piece of the features at a time, never f n d numbers at once.
    """
    for name, values in (("features", codes[masks]), ("rows", rows)):
        if values.size and not 0 <= values.min() <= values.max() <= 1:
            raise ValueError(f"the {name} are not binary; use Index.")
    y = np.ascontiguousarray((2 * rows - 1).T, np.float32)
    member = (labels[:, None] == np.arange(classes)).astype(np.float32)
    out = np.empty((len(masks), classes), np.int64)
    step = max(1, _CHUNK_BYTES // (4 * max(1, len(rows))))
    for start in range(0, len(masks), step):
        m = masks[start : start + step]
        a = np.where(m, 2 * codes[start : start + step] - 1, 0).astype(np.float32)
        same = (a @ y) == m.sum(1, dtype=np.float32)[:, None]
        out[start : start + step] = np.rint(same.astype(np.float32) @ member)
    return out


def ball_counts(
    masks: Bool[np.ndarray, "f d"],
    values: Float[np.ndarray, "f d"],
    rows: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    classes: int,
    tolerance: float,
) -> Int[np.ndarray, "f classes"]:
    """Return how many rows of each class lie within `tolerance` of a feature in every shown unit.

    For quantities that were not binned.

    Raises:
        ValueError: The tolerance is not positive, or a value is NaN.
    """
    if not tolerance > 0:
        raise ValueError(
            f"tolerance={tolerance}: without a positive tolerance every feature of continuous "
            "values is unique; give one, or bin the values."
        )
    if not (np.isfinite(values).all() and np.isfinite(rows).all()):
        raise ValueError("the values hold NaN or infinity; clean them first.")
    out = np.empty((len(masks), classes), np.int64)
    for i, mask in enumerate(masks):
        inside = (np.abs(rows[:, mask] - values[i, mask]) <= tolerance).all(1)
        out[i] = np.bincount(labels[inside], minlength=classes)
    return out
