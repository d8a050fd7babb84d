"""What every region is: a compact convex set over which linear functions are easy to minimise.

A region is a frozen value. It acts on NumPy arrays and torch tensors alike, on one element of any
shape or, with `batch=b`, on every element of b leading dimensions at once. Vector regions live in
the flattening of an element; matrix regions read it as (first dimension, all others).

To add a region, write its cores for unit size: `_lmo`, `_project`, `_unit_diameter`, and `_gauge`
or `_violation`. They receive rows (b, n), or matrices (b, rows, columns), in float32 or better.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar, cast

import numpy as np

from ._arrays import Array, is_real_float, is_tensor, like, namespace, upcast
from ._initial import expected_norm

Number = float | int
Shape = Sequence[int]
R = TypeVar("R", bound="Region")
B = TypeVar("B", bound="Ball")
K = TypeVar("K", bound="CountedBall")
KINDS: dict[str, type["Region"]] = {}


class Region:
    """A compact convex set with a linear minimisation oracle.

    Attributes:
        matrix: Whether elements are matrices.
    """

    matrix: ClassVar[bool] = False
    square: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Keep a list of kinds, so that `from_plain` finds them."""
        if not cls.__name__.startswith("_"):
            KINDS[cls.__name__] = cls

    _names: ClassVar[tuple[str, ...]] = ()  # what the constructor takes, in order

    def _set(self, **values: Any) -> None:
        """Fill the attributes, once."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse: regions are values."""
        raise AttributeError(f"a region cannot be changed; make another {type(self).__name__}.")

    def __eq__(self, other: object) -> bool:
        """Regions of one kind with equal sizes are equal."""
        return type(other) is type(self) and self.as_plain() == cast("Region", other).as_plain()

    def __hash__(self) -> int:
        """Hash of kind and sizes."""
        return hash(json.dumps(self.as_plain(), sort_keys=True))

    def __reduce__(self) -> Any:
        """Copies and worker processes make the region anew from its plain form."""
        return from_plain, (self.as_plain(),)

    # What users call.

    def lmo(self, g: Array, *, batch: int = 0, radius: Array | None = None) -> Array:
        """Return an extreme point v of the region that minimises <g, v>.

        Args:
            g: A direction, usually a gradient, of the element's shape; real floating point.
            batch: How many leading dimensions count elements.
            radius: One radius for each element, in place of the region's own; shape of the batch.

        Returns:
            The point, in the shape, type and device of `g`. Ties go to the lowest index, and a
            zero direction gives an extreme point too, never NaN.

        Raises:
            ValueError: `g` is empty, not finite, of integer or complex type, or does not fit.
        """
        rows, sized = self._open(g, batch, "lmo")
        return self._close(sized._lmo(rows), g, sized._scale(g, batch, radius, rows))

    def following(self) -> Callable[[Array], Array]:
        """Return an `lmo` for one sequence of directions, each close to the one before.

        Its points are as good as those of `lmo`. A region may remember what helps with the next
        direction (`Birkhoff` does); the region itself stays as it is.
        """
        return self.lmo

    def support(self, g: Array, *, batch: int = 0, radius: Array | None = None) -> Array:
        """Return max <g, v> over the region, one number for each element."""
        v = self.lmo(-g, batch=batch, radius=radius)
        return (g * v).reshape((*g.shape[:batch], -1)).sum(-1)

    def gap(self, g: Array, x: Array, *, batch: int = 0, radius: Array | None = None) -> Array:
        """Return max <g, x - v> over the region: at a gradient, the Frank-Wolfe gap of x."""
        v = self.lmo(g, batch=batch, radius=radius)
        return (g * (x - v)).reshape((*g.shape[:batch], -1)).sum(-1)

    def gauge(self, x: Array, *, batch: int = 0, radius: Array | None = None) -> Array:
        """Return the least t >= 0 with x in t times the region, one number for each element.

        Raises:
            ValueError: The region does not contain a neighbourhood of 0; use `contains`.
        """
        rows, sized = self._open(x, batch, "gauge")
        scale = sized._scale(x, batch, radius, rows)
        flat = sized._gauge(rows) / (scale.reshape(-1) if hasattr(scale, "shape") else scale)
        return flat.reshape(tuple(x.shape[:batch]))

    def project(self, y: Array, *, batch: int = 0, radius: Array | None = None) -> Array:
        """Return the nearest point of the region in the Euclidean norm."""
        rows, sized = self._open(y, batch, "project")
        scale = sized._scale(y, batch, radius, rows)
        return self._close(sized._project(rows / scale), y, scale)

    def shrink(self, x: Array, *, batch: int = 0, radius: Array | None = None) -> Array:
        """Return x, divided by its gauge where that is over 1."""
        xp = namespace(x)
        t = self.gauge(x, batch=batch, radius=radius)
        t = xp.where(t > 1, t, xp.ones_like(t)).reshape(
            (*x.shape[:batch], *(1,) * (x.ndim - batch))
        )
        return x / t

    def contains(
        self, x: Array, tol: Number = 1e-9, *, batch: int = 0, radius: Array | None = None
    ) -> Array:
        """Return whether x lies in the region up to a relative tolerance, for each element."""
        rows, sized = self._open(x, batch, "contains")
        scale = sized._scale(x, batch, radius, rows)
        return (sized._violation(rows / scale) <= tol).reshape(tuple(x.shape[:batch]))

    def diameter(self, shape: Shape) -> float:
        """Return the largest Euclidean distance of two of its points, for elements of a shape."""
        shape = tuple(shape)
        known = self.__dict__.get("_diameters")
        if known is None:
            known = dict[Shape, float]()
            self._set(_diameters=known)
        if shape not in known:
            sized = self.sized(shape)
            unit = sized._unit_diameter(sized._plain_shape(shape))
            known[shape] = unit * sized._size(shape)
        return known[shape]

    def extreme_random(
        self, rng: np.random.Generator, shape: Shape, *, batch: Shape = (), like_: Array = None
    ) -> Array:
        """Return random extreme points: those that random normal directions select."""
        g = rng.standard_normal((*batch, *shape))
        return self.lmo(g if like_ is None else like(g, like_), batch=len(batch))

    def sized(self: R, shape: Shape, init_norm: float | None = None) -> R:
        """Return the region with absolute sizes for elements of one shape.

        Args:
            shape: Of an element.
            init_norm: Expected Euclidean norm of the element at its initialisation, for `width`.

        Raises:
            ValueError: The region does not fit the shape.
        """
        self._check_shape(tuple(shape))
        return self

    def as_plain(self) -> dict[str, Any]:
        """Return the region as plain JSON values; `from_plain` reads them."""
        values: dict[str, Any] = {"region": type(self).__name__}
        for name, value in self._options().items():
            if value is not None:
                values[name] = _plain(value)
        return values

    def __repr__(self) -> str:
        """Write the region as it is made."""
        plain = self.as_plain()
        name = plain.pop("region")
        short = [f"{k}={v if len(str(v)) < 40 else '…'}" for k, v in plain.items()]
        return f"{name}({', '.join(short)})"

    # What a new region supplies.

    def _lmo(self, g: Array) -> Array:
        raise NotImplementedError

    def _gauge(self, x: Array) -> Array:
        raise ValueError(
            f"{type(self).__name__} has no gauge, because 0 is not in its interior; "
            "use contains(), or project()."
        )

    def _project(self, y: Array) -> Array:
        raise NotImplementedError

    def _violation(self, x: Array) -> Array:
        return self._gauge(x) - 1

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        raise NotImplementedError

    # How elements become rows and come back.

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, "_" + name, None) for name in self._names}

    def _replaced(self: R, **changes: Any) -> R:
        return type(self)(**{**self._options(), **changes})

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        name = type(self).__name__
        if self.matrix and len(shape) < 2:
            raise ValueError(
                f"{name} is a set of matrices, so it cannot hold elements of shape {shape}; "
                "give them two dimensions or more, or choose a vector region."
            )
        if self.square and (len(shape) != 2 or shape[0] != shape[1]):
            raise ValueError(f"{name} is a set of square matrices; elements of {shape} are none.")

    def _plain_shape(self, shape: Shape) -> tuple[int, ...]:
        n = math.prod(shape)
        return (shape[0], n // shape[0]) if self.matrix else (n,)

    def _size(self, shape: Shape) -> float:
        return 1.0

    def _scale(self, x: Array, batch: int, radius: Array | None, rows: Array) -> Any:
        if radius is not None:
            raise ValueError(f"{type(self).__name__} has no radius, so none can be given.")
        return 1.0

    def _open(self: R, x: Array, batch: int, verb: str) -> tuple[Array, R]:
        name = f"{type(self).__name__}.{verb}"
        if not hasattr(x, "shape") or not is_real_float(x):
            kind = getattr(x, "dtype", type(x).__name__)
            raise ValueError(
                f"{name} takes arrays of real floating-point numbers, got {kind}; convert it first."
            )
        if is_tensor(x) and x.layout != namespace(x).strided:
            raise ValueError(f"{name} takes dense tensors, got layout {x.layout}; use to_dense().")
        shape = tuple(x.shape[batch:])
        if len(x.shape) < batch or math.prod(x.shape) == 0 or not shape:
            raise ValueError(
                f"{name}: shape {tuple(x.shape)} with batch={batch} leaves no entries to work on."
            )
        if not bool(namespace(x).isfinite(x).all()):
            raise ValueError(
                f"{name}: the array of shape {tuple(x.shape)} holds NaN or infinity, so no point "
                "of the region is best. A NaN gradient usually means too large a step; use a "
                "smaller lr or rescale='diameter'."
            )
        sized = self.sized(shape)
        return upcast(x).reshape((-1, *self._plain_shape(shape))), sized

    def _close(self, rows: Array, pattern: Array, scale: Any) -> Array:
        out = rows * scale if not isinstance(scale, float) or scale != 1.0 else rows
        return like(out.reshape(tuple(pattern.shape)), pattern)


class Ball(Region):
    """A region that scales with one number.

    Its size is given as exactly one of `radius`; `diameter`, the Euclidean one; and `width`, the
    radius of the Euclidean ball of the same diameter in units of the parameter's expected norm at
    initialisation. The last two become a radius once a shape is known.
    """

    _names = ("radius", "diameter", "width")
    _radius: Number | None
    _diameter: Number | None
    _width: Number | None

    def __init__(
        self,
        radius: Number | None = None,
        *,
        diameter: Number | None = None,
        width: Number | None = None,
    ) -> None:
        """Make the region; give exactly one size."""
        self._set_size(radius, diameter, width)

    def _set_size(
        self, radius: Number | None, diameter: Number | None, width: Number | None
    ) -> None:
        name = type(self).__name__
        sizes = {"radius": radius, "diameter": diameter, "width": width}
        given = {k: v for k, v in sizes.items() if v is not None}
        if len(given) != 1:
            raise ValueError(
                f"{name} needs exactly one of radius, diameter and width, got "
                f"{' and '.join(given) or 'none'}."
            )
        for key, value in given.items():
            if isinstance(value, bool) or not 0 < value < math.inf:
                raise ValueError(f"{name} needs a finite {key} > 0, got {value!r}.")
        self._set(_radius=radius, _diameter=diameter, _width=width)

    @classmethod
    def from_radius(cls: type[B], radius: Number, **options: Any) -> B:
        """Make the region from its radius."""
        return cls(radius=radius, **options)

    @classmethod
    def from_diameter(cls: type[B], diameter: Number, **options: Any) -> B:
        """Make the region from its Euclidean diameter."""
        return cls(diameter=diameter, **options)

    @classmethod
    def from_width(cls: type[B], width: Number, **options: Any) -> B:
        """Make the region from its width."""
        return cls(width=width, **options)

    @property
    def radius(self) -> float:
        """Its size.

        Raises:
            ValueError: It was given as a diameter or width, and no shape is known yet.
        """
        if self._radius is None:
            raise ValueError(f"the radius of {self} depends on a shape; call sized(shape) first.")
        return float(self._radius)

    def sized(self: B, shape: Shape, init_norm: float | None = None) -> B:
        """See `Region.sized`."""
        self._check_shape(tuple(shape))
        if self._radius is not None:
            return self
        unit = self._unit_diameter(self._plain_shape(shape)) * self._factor(shape)
        if self._diameter is not None:
            whole = float(self._diameter)
        else:
            norm = expected_norm(shape) if init_norm is None else init_norm
            whole = 2.0 * float(self._width or 0) * (norm or 1.0)  # zeros at the start count as 1
        return self._replaced(radius=whole / unit if unit else whole, diameter=None, width=None)

    def _factor(self, shape: Shape) -> float:
        """How the size depends on the shape, beyond the radius."""
        return 1.0

    def _size(self, shape: Shape) -> float:
        return self.radius * self._factor(shape)

    def _scale(self, x: Array, batch: int, radius: Array | None, rows: Array) -> Any:
        shape = tuple(x.shape[batch:])
        if radius is None:
            return self._size(shape)
        xp = namespace(rows)
        given = radius if hasattr(radius, "shape") else np.asarray(radius, dtype=np.float64)
        if tuple(given.shape) != tuple(x.shape[:batch]):
            raise ValueError(
                f"radius has shape {tuple(given.shape)} and the batch {tuple(x.shape[:batch])}; "
                "give one radius for each element."
            )
        return xp.reshape(like(given, rows), (-1, *(1,) * (rows.ndim - 1))) * self._factor(shape)


class CountedBall(Ball):
    """A ball with a whole number k of entries, groups or singular values.

    `k` is absolute; `fraction`, in (0, 1], stands for max(1, floor(fraction n)).
    """

    _names = ("radius", "diameter", "width", "k", "fraction")
    _k: int | None
    _fraction: Number | None

    def __init__(
        self,
        radius: Number | None = None,
        *,
        k: int | None = None,
        fraction: Number | None = None,
        diameter: Number | None = None,
        width: Number | None = None,
    ) -> None:
        """Make the region; give exactly one size, and one of `k` and `fraction`."""
        self._set_size(radius, diameter, width)
        check_count(type(self).__name__, k, fraction)
        self._set(_k=k, _fraction=fraction)

    @property
    def k(self) -> int:
        """The number of entries; known once the shape is."""
        if self._k is None:
            raise ValueError(f"the k of {self} depends on a shape; call sized(shape) first.")
        return self._k

    def sized(self: K, shape: Shape, init_norm: float | None = None) -> K:
        """See `Region.sized`."""
        self._check_shape(tuple(shape))
        n = self._countable(shape)
        if self._k is None:
            k = max(1, math.floor(float(self._fraction or 0) * n))
            return self._replaced(k=k, fraction=None).sized(shape, init_norm)
        check_fits(type(self).__name__, self._k, n, shape)
        return super().sized(shape, init_norm)

    def _countable(self, shape: Shape) -> int:
        """How many entries, groups or singular values an element has."""
        return math.prod(shape)


def check_count(name: str, k: int | None, fraction: Number | None) -> None:
    """Refuse anything but one sensible `k` or `fraction`."""
    if (k is None) == (fraction is None):
        raise ValueError(f"{name} needs exactly one of k and fraction.")
    if k is not None and (isinstance(k, bool) or type(k) is not int or k < 1):
        raise ValueError(
            f"{name} needs a whole k >= 1, got {k!r}; a share of the entries is fraction=."
        )
    if fraction is not None and (isinstance(fraction, bool) or not 0 < fraction <= 1):
        raise ValueError(
            f"{name} needs a fraction in (0, 1], got {fraction!r}; an absolute number is k=."
        )


def check_fits(name: str, k: int, n: int, shape: Shape) -> None:
    """Refuse a k beyond what there is."""
    if k > n:
        raise ValueError(
            f"{name}: k={k} is more than the {n} there are in an element of shape "
            f"{tuple(shape)}; choose 1..{n}, or fraction=."
        )


def from_plain(values: dict[str, Any]) -> Region:
    """Make a region from what `as_plain` returned.

    Raises:
        ValueError: The kind or one of its options is unknown.
    """
    rest = dict(values)
    kind = KINDS.get(str(rest.pop("region", None)))
    if kind is None:
        raise ValueError(f"{values.get('region')!r} is no region; there are {', '.join(KINDS)}.")
    unknown = sorted(set(rest) - set(kind._names))
    if unknown:
        raise ValueError(f"{kind.__name__} has no option {', '.join(unknown)}.")
    return kind(**rest)


def _plain(value: Any) -> Any:
    if isinstance(value, Region):
        return value.as_plain()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in cast("list[Any]", value)]
    return value
