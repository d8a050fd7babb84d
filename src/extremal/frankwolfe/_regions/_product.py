"""A product of regions: an element is the concatenation of one element of each."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from extremal.frankwolfe._arrays import Array, namespace
from extremal.frankwolfe._region import Region, Shape, from_plain


class Product(Region):
    """Vectors whose consecutive blocks, of given shapes, lie in given regions.

    Gaps and squared diameters add up; the gauge is the largest.

    Example:
        >>> import numpy as np
        >>> from extremal.frankwolfe import L1Ball, LinfBall
        >>> both = Product([L1Ball(1.0), LinfBall(2.0)], shapes=[(2,), (1,)])
        >>> both.lmo(np.array([1.0, -3.0, 1.0]))
        array([ 0.,  1., -2.])
    """

    _names = ("regions", "shapes")
    _regions: tuple[Region, ...]
    _shapes: tuple[tuple[int, ...], ...]

    def __init__(
        self, regions: Sequence[Region | dict[str, Any]], shapes: Sequence[Sequence[int]]
    ) -> None:
        """Make the product; one shape for each region."""
        if not regions or len(regions) != len(shapes):
            raise ValueError(
                f"Product needs as many shapes as regions, got {len(regions)} and {len(shapes)}."
            )
        made = [from_plain(r) if isinstance(r, dict) else r for r in regions]
        forms = tuple(tuple(int(n) for n in shape) for shape in shapes)
        self._set(
            _regions=tuple(r.sized(s) for r, s in zip(made, forms, strict=True)), _shapes=forms
        )

    def _blocks(self, x: Array) -> list[tuple[Region, Array]]:
        start, out = 0, list[tuple[Region, Array]]()
        for region, shape in zip(self._regions, self._shapes, strict=True):
            n = math.prod(shape)
            out.append((region, x[:, start : start + n].reshape((x.shape[0], *shape))))
            start += n
        return out

    def _joined(self, blocks: list[Array], like_: Array) -> Array:
        flat = [b.reshape((like_.shape[0], -1)) for b in blocks]
        return namespace(like_).concatenate(flat, axis=-1)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        n = sum(math.prod(s) for s in self._shapes)
        if math.prod(shape) != n:
            raise ValueError(f"Product of {n} entries cannot hold elements of shape {shape}.")

    def sized(self, shape: Shape, init_norm: float | None = None) -> "Product":
        """See `Region.sized`."""
        self._check_shape(tuple(shape))
        return self

    def _lmo(self, g: Array) -> Array:
        return self._joined([r.lmo(b, batch=1) for r, b in self._blocks(g)], g)

    def following(self) -> Callable[[Array], Array]:
        """See `Region.following`."""
        oracles = [r.following() for r in self._regions]

        def lmo(g: Array) -> Array:
            rows, _ = self._open(g, 0, "lmo")
            blocks = [
                oracle(b[0])[None]
                for oracle, (_, b) in zip(oracles, self._blocks(rows), strict=True)
            ]
            return self._joined(blocks, rows).reshape(g.shape)

        return lmo

    def _gauge(self, x: Array) -> Array:
        xp = namespace(x)
        return xp.amax(xp.stack([r.gauge(b, batch=1) for r, b in self._blocks(x)]), axis=0)

    def _violation(self, x: Array) -> Array:
        xp = namespace(x)
        parts: list[Array] = []
        for region, block in self._blocks(x):
            rows, sized = region._open(block, 1, "contains")
            parts.append(sized._violation(rows / sized._scale(block, 1, None, rows)))
        return xp.amax(xp.stack(parts), axis=0)

    def _project(self, y: Array) -> Array:
        return self._joined([r.project(b, batch=1) for r, b in self._blocks(y)], y)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        pairs = zip(self._regions, self._shapes, strict=True)
        return math.sqrt(sum(r.diameter(s) ** 2 for r, s in pairs))
