"""Known colourings, as cells or polygons, to compare with and to start from."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float

from extremal.lab import rational

from ._colouring import Cell, Colouring
from ._cp_sat import largest
from ._errors import ColoringError
from ._hexagons import nearest_cells
from ._offsets import forbidden, half, reduced
from ._polygon_colouring import PolygonColouring, Vertices
from ._problem import Problem

CROFT_WIDTH = 0.965532307448905
_BCC = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))


def isbell(n: int = 18, cell: Cell = "parallelogram") -> Colouring:
    """Return the seven-colouring by hexagons on n x n cells; valid for distance 1 from n = 18.

    Valid on small hexagons for n = 7, 9, 10 and from 12 on.

    Example:
        >>> isbell(18).grid
        (18, 18)
    """
    side = 2 / (2 + math.sqrt(7))
    lattice = (
        (Fraction("0.372825"), Fraction("-1.937254")),
        (Fraction("-1.864123"), Fraction("0.645751")),
    )
    hexagons = np.array([[math.sqrt(3) * side, 0.0], [math.sqrt(3) / 2 * side, 1.5 * side]])
    basis = np.array([[float(x) for x in row] for row in lattice])
    index = np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij"), -1)
    middle = 0.5 if cell == "parallelogram" else 0.0
    centres = ((index + middle) / n) @ basis
    nearest = nearest_cells(centres.reshape(-1, 2), hexagons)
    cells = ((nearest[:, 0] + 3 * nearest[:, 1]) % 7).reshape(n, n)
    return Colouring(lattice, cells, 7, cell=cell)


def isbell_exact(square: Any = "1/5") -> Colouring:
    """Return Isbell's seven hexagons as the cells themselves, for one hexagon a colour.

    Args:
        square: Of the hexagons' side s. Every distance in [2 s, sqrt(7) s] is avoided, both ends
            included: boundaries are assigned, so there is no slack. "1/4" and "1/7" put distance 1
            at the ends.

    Example:
        >>> isbell_exact().cells.size
        7
    """
    s2 = rational(square)
    basis = ((Fraction(1), Fraction(0)), (Fraction(1, 2), Fraction(3, 2)))
    return LatticeColouring(((1, 2), (0, 7)), math.sqrt(7) / 2).colouring(basis, (3 * s2, s2))


def isbell_tiles(square: Any = "1/5") -> PolygonColouring:
    """Return Isbell's seven hexagons as polygons, exactly.

    Args:
        square: Of the hexagons' side s; closed tiles avoid the open interval from 2 s to sqrt(7) s,
            and with assigned boundaries also its ends.
    """
    s2 = rational(square)
    half = Fraction(1, 2)
    hexagon = ((Fraction(0), Fraction(-1)), (half, -half), (half, half), (Fraction(0), Fraction(1)),
               (-half, half), (-half, -half))  # fmt: skip
    # Colour i at i steps along x, in units of sqrt(3) s; three rows up the colour is the same.
    tiles = tuple((i, tuple((x + i, y) for x, y in hexagon)) for i in range(7))
    lattice = ((Fraction(7), Fraction(0)), (Fraction(-5, 2), Fraction(3, 2)))
    return PolygonColouring(lattice, tiles, 7, axes=(3 * s2, s2))


def soifer_exact() -> PolygonColouring:
    """Return Soifer's six-colouring exactly: five colours meet distance 1, the sixth sqrt(1/5).

    Octagons of diameter 1, their equals at 1, and squares of diameter and distance sqrt(1/5): there
    is no slack anywhere, so only tiles with assigned boundaries can avoid these distances.
    """
    half = Fraction(1, 2)
    around = ((1, 0), (3, 0), (4, 1), (4, 3), (3, 4), (1, 4), (0, 3), (0, 1))
    corner = ((1, 0), (0, 1), (-1, 0), (0, -1))
    tiles: list[tuple[int, Vertices]] = []
    for i in range(5):
        tiles.append((i, tuple((half * x + 2 * i, half * y) for x, y in around)))
        tiles.append((5, tuple((half * x + 2 * i, half * y) for x, y in corner)))
    lattice = ((Fraction(10), Fraction(0)), (Fraction(-4), Fraction(2)))
    fifth = Fraction(1, 5)
    return PolygonColouring(lattice, tuple(tiles), 6, axes=(fifth, fifth))


def hexagon_gap(i: int, j: int, classes: int = 7) -> float:
    """Return the least distance between equal colours for hexagons of side 1, colour ix + jy.

    The lattice basis is at 60 degrees.

    Example:
        >>> round(hexagon_gap(1, 3), 7), round(hexagon_gap(1, 5), 7), hexagon_gap(1, 1)
        (2.6457513, 2.6457513, 0.0)
    """
    from ._polygon_colouring import gap_of

    basis = np.array([[math.sqrt(3), 0.0], [math.sqrt(3) / 2, 1.5]])
    angle = math.pi / 6 + math.pi / 3 * np.arange(6)
    hexagon = np.stack([np.cos(angle), np.sin(angle)], 1)
    best = math.inf
    for x, y in itertools.product(range(-4, 5), repeat=2):
        if (x, y) != (0, 0) and (i * x + j * y) % classes == 0:
            gap = gap_of(hexagon, hexagon + np.array([x, y]) @ basis)
            best = min(best, 0.0 if gap < 1e-12 else gap)
    return best


def croft_density(width: float = CROFT_WIDTH) -> float:
    """Return the density of Croft's tortoises: discs of diameter 1 cut by hexagons of a width.

    Example:
        >>> round(croft_density(), 12), round(croft_density(1.0), 10)
        (0.22936473163, 0.2267249205)
    """
    cap = math.acos(width) - width * math.sqrt(1 - width * width)
    return (math.pi / 4 - 1.5 * cap) / (math.sqrt(3) / 2 * (1 + width) ** 2)


def croft(colors: int = 1, arc: int = 24, shrink: str = "1/10000000") -> PolygonColouring:
    """Return up to four translates of Croft's tortoises as polygons, what is left being free.

    Args:
        colors: 1 to 4.
        arc: Sides for each of the six arcs.
        shrink: By how much everything is pulled in, so that distance 1 is missed by a margin.

    Raises:
        ValueError: There is no room for so many colours.
    """
    if not 1 <= colors <= 4:
        raise ValueError(f"tortoises take 1 to 4 colours, got {colors}.")
    x = CROFT_WIDTH
    shift = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)]
    step = Fraction(1 + x).limit_denominator(10**9)
    root = Fraction(math.isqrt(3 * 10**24), 10**12)
    lattice = ((step, Fraction(0)), (step / 2, step * root / 2))
    basis = np.array([[float(v) for v in row] for row in lattice])
    cut = math.acos(x)  # half the angle of a flat side, seen from the centre
    angles = np.concatenate(
        [np.linspace(k * math.pi / 3 + cut, (k + 1) * math.pi / 3 - cut, arc + 1) for k in range(6)]
    )
    scale = 0.5 * (1 - float(Fraction(shrink)))
    outline = scale * np.stack([np.cos(angles), np.sin(angles)], 1)
    tiles: list[tuple[int, Vertices]] = []
    for c in range(colors):
        centre = np.array(shift[c]) @ basis
        tiles.append((c, exact_vertices(outline + centre, 10**10)))
    return PolygonColouring(lattice, tuple(tiles), colors, free=True, rest=True)


def exact_vertices(points: Float[np.ndarray, "_ 2"], denominator: int) -> Vertices:
    """Return points rounded to multiples of 1 / denominator."""
    return tuple(
        (Fraction(round(float(x) * denominator), denominator),
         Fraction(round(float(y) * denominator), denominator))
        for x, y in points
    )  # fmt: skip


def hoffman_soifer(distance: float, psi: float, side: float) -> tuple[PolygonColouring, float]:
    """Return squares of diameter `distance` and octagons in five colours, and their slack.

    Args:
        distance: That the sixth colour, of the squares, avoids.
        psi: Angle of the first vertex of the squares, at least 0.
        side: Of the square lattice.

    Returns:
        The tiles, and the least of: 1 - diameter of an octagon, distance of equal octagons - 1,
        distance of squares - `distance`. From 0 on the colouring of type (1, 1, 1, 1, 1, distance)
        is valid for suitable boundaries; below, it is not.

    Example:
        >>> slack = hoffman_soifer(1 / math.sqrt(5), 0.0, 2 / math.sqrt(5))[1]
        >>> abs(slack) < 1e-12
        True
    """
    from ._polygon_colouring import gap_of

    angle = psi + math.pi / 2 * np.arange(4)
    v = distance / 2 * np.stack([np.cos(angle), np.sin(angle)], 1)
    corners = [((0, 0), 0), ((1, 0), 2), ((1, 0), 1), ((1, 1), 3), ((1, 1), 2), ((0, 1), 0),
               ((0, 1), 3), ((0, 0), 1)]  # fmt: skip
    octagon = np.array([side * np.array(s, float) + v[k] for s, k in corners])
    diameter = float(np.sqrt(((octagon[:, None] - octagon[None]) ** 2).sum(-1)).max())
    shifts = [(i, j) for i, j in itertools.product(range(-4, 5), repeat=2)
              if (i, j) != (0, 0) and (i + 2 * j) % 5 == 0]  # fmt: skip
    gap = min(gap_of(octagon, octagon + side * np.array(s, float)) for s in shifts)
    between = min(gap_of(v, v + side * np.array(s, float)) for s in ((1, 0), (0, 1), (1, 1)))
    exact = Fraction(side).limit_denominator(10**12)
    tiles: list[tuple[int, Vertices]] = []
    for i in range(5):
        move = np.array([float(exact) * i, 0.0])
        tiles.append((i % 5, exact_vertices(octagon + move, 10**12)))
        tiles.append((5, exact_vertices(v + move, 10**12)))
    lattice = ((5 * exact, Fraction(0)), (-2 * exact, exact))
    found = PolygonColouring(lattice, tuple(tiles), 6)
    return found, min(1 - diameter, gap - 1, between - distance)


def soifer() -> tuple[PolygonColouring, float]:
    """Return Soifer's six-colouring, whose sixth colour avoids 1/sqrt(5), and its slack, 0."""
    return hoffman_soifer(1 / math.sqrt(5), 0.0, 2 / math.sqrt(5))


@dataclass(frozen=True)
class LatticeColouring:
    """Voronoi cells of a lattice, coloured by a sublattice of index k.

    Attributes:
        sublattice: Rows of the Hermite normal form, in the basis of the lattice.
        ratio: Least distance between equal colours over the diameter of a cell; from 1 on the
            distance equal to the diameter is avoided, for half-open cells.
    """

    sublattice: tuple[tuple[int, ...], ...]
    ratio: float

    def colouring(self, basis: Any, axes: tuple[Any, ...] = ()) -> Colouring:
        """Return the colouring with the Voronoi cells of an exact basis as its cells.

        Args:
            basis: Exact rows.
            axes: Squared units of the coordinates.

        Example:
            >>> LatticeColouring(((1, 2), (0, 7)), 1.3).colouring(((1, 0), ("1/2", "3/2"))).grid
            (1, 7)
        """
        rows = [[rational(x) for x in r] for r in basis]
        n = len(rows)
        index = math.prod(self.sublattice[i][i] for i in range(n))

        def combined(factors: Sequence[int]) -> tuple[Fraction, ...]:
            return tuple(
                sum((f * r[k] for f, r in zip(factors, rows, strict=True)), Fraction(0))
                for k in range(n)
            )

        if self.sublattice[-1][-1] == index:  # the last vector generates all classes
            lattice = tuple(combined(r) for r in self.sublattice)
            cells = np.arange(index).reshape((1,) * (n - 1) + (index,))
            return Colouring(lattice, cells, index, cell="hexagon", axes=axes)
        cells = np.zeros((index,) * n, np.int64)
        for x in itertools.product(range(index), repeat=n):
            left, label = list(x), 0
            for i, row in enumerate(self.sublattice):
                turns = left[i] // row[i]
                left = [a - turns * b for a, b in zip(left, row, strict=True)]
                label = label * row[i] + left[i]
            cells[x] = label
        lattice = tuple(tuple(index * x for x in r) for r in rows)
        return Colouring(lattice, cells, index, cell="hexagon", axes=axes)


def lattice_colourings(
    basis: Float[np.ndarray, "n n"], index: int, keep: int = 8
) -> list[LatticeColouring]:
    """Return the best colourings of a lattice's Voronoi cells by sublattices of an index.

    Args:
        basis: Of a lattice of R^2 or R^3, rows.
        index: The number of colours.
        keep: How many are returned, the best first.

    Cost: one gap a translation and sublattice: a second for index 15 in R^3.
    """
    n = len(basis)
    vertices = voronoi(basis)
    diameter = float(np.sqrt(((vertices[:, None] - vertices[None]) ** 2).sum(-1)).max())
    reach = 2.5 * diameter
    span = int(reach * np.linalg.norm(np.linalg.inv(basis), axis=0).max()) + 2
    shifts = np.array(list(itertools.product(range(-span, span + 1), repeat=n)))
    moved = shifts @ basis
    close = (np.linalg.norm(moved, axis=1) <= reach) & (shifts != 0).any(1)
    shifts, moved = shifts[close], moved[close]
    normals = _facets(vertices)
    gaps = np.array([_separation(vertices, m, normals) for m in moved])
    order = np.argsort(gaps)
    found: list[LatticeColouring] = []
    for rows in hermite(n, index):
        inverse = np.linalg.inv(np.array(rows, float))
        inner = shifts[order] @ inverse
        member = (np.abs(inner - np.rint(inner)) < 1e-9).all(1)
        if member.any():
            found.append(LatticeColouring(rows, float(gaps[order][member][0]) / diameter))
    return sorted(found, key=lambda c: (-round(c.ratio, 9), c.sublattice))[:keep]


def coulson() -> list[LatticeColouring]:
    """Return the best 15-colourings of R^3 by truncated octahedra; their ratio is exactly 1."""
    return lattice_colourings(np.array(_BCC, float), 15)


def coulson_exact() -> Colouring:
    """Return Coulson's 15-colouring of space, one truncated octahedron a colour, for distance 1.

    Cells have diameter 1 and those of one colour are 1 apart: half-open ones leave no pair at 1.

    Example:
        >>> coulson_exact().cells.size
        15
    """
    rows = ((1, 0, 7), (0, 1, 11), (0, 0, 15))
    return LatticeColouring(rows, 1.0).colouring(_BCC, ("1/5", "1/5", "1/5"))


def hermite(n: int, index: int) -> list[tuple[tuple[int, ...], ...]]:
    """Return all sublattices of Z^n of an index, by their upper triangular normal forms."""
    found: list[tuple[tuple[int, ...], ...]] = []
    for diagonal in itertools.product(range(1, index + 1), repeat=n):
        if math.prod(diagonal) != index:
            continue
        above = [(i, j) for j in range(n) for i in range(j)]
        for values in itertools.product(*(range(diagonal[j]) for _, j in above)):
            rows = [[diagonal[i] if i == j else 0 for j in range(n)] for i in range(n)]
            for (i, j), v in zip(above, values, strict=True):
                rows[i][j] = v
            found.append(tuple(tuple(r) for r in rows))
    return found


def voronoi(basis: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "v n"]:
    """Return the vertices of the Voronoi cell of 0."""
    import scipy.spatial

    n = len(basis)
    points = np.array(list(itertools.product(range(-2, 3), repeat=n))) @ basis
    diagram = scipy.spatial.Voronoi(points)
    home = int(np.argmin((points**2).sum(1)))
    region = diagram.regions[diagram.point_region[home]]
    return np.unique(np.round(diagram.vertices[region], 12), axis=0)


def _facets(vertices: Float[np.ndarray, "v n"]) -> Any:
    import scipy.spatial

    return scipy.spatial.ConvexHull(vertices).equations


def _separation(
    vertices: Float[np.ndarray, "v n"], shift: Float[np.ndarray, " n"], facets: Any
) -> float:
    """The distance of a centrally symmetric polytope from its translate: of shift from twice it."""
    import scipy.optimize

    normals, offset = facets[:, :-1], -facets[:, -1] * 2
    if (normals @ shift <= offset + 1e-12).all():
        return 0.0
    # the point of {normals . x <= offset} nearest to shift: non-negative least squares on the dual
    a = np.vstack([normals.T, (offset - normals @ shift)[None]])
    b = np.zeros(len(shift) + 1)
    b[-1] = -1.0
    solution, _ = scipy.optimize.nnls(a, b)
    residual = a @ solution - b
    move = -residual[:-1] / residual[-1]
    del vertices
    return float(np.linalg.norm(move))


def stripe_count(a: Any, b: Any) -> int:
    """Return how many half-open stripes avoid the triangle with sides 1, a, b.

    With h the shortest and y the longest altitude (or, at an obtuse angle, its longer side),
    stripes of width w in k colours avoid it if and only if w <= h and (k - 1) w >= y.

    Example:
        >>> [stripe_count(1, 1), stripe_count("0.9", "0.8"), stripe_count("0.7", "0.35")]
        [2, 3, 6]
    """
    h, y = stripe_bounds(float(rational(a)), float(rational(b)))
    return 1 + math.ceil(y / h - 1e-12)


def stripe_bounds(a: float, b: float) -> tuple[float, float]:
    """Return h and y of `stripe_count`."""
    s = (1 + a + b) / 2
    area = math.sqrt(s * (s - 1) * (s - a) * (s - b))
    h = 2 * area
    y = max(a, b) if a * a + b * b < 1 else 2 * area / min(a, b)
    return h, y


def stripes(colors: int, width: Any, height: Any = "1/20") -> Colouring:
    """Return half-open stripes of a width, one cell a stripe, cells of a given height."""
    w, h = rational(width), rational(height)
    lattice = ((colors * w, Fraction(0)), (Fraction(0), h))
    return Colouring(lattice, np.arange(colors)[:, None], colors)


def independent_set(
    lattice: Any, n: int, distance: Any = 1, seconds: float = 60.0
) -> tuple[Colouring, bool]:
    """Return a largest set of cells of a torus without a forbidden pair, and whether it is proved.

    Args:
        lattice: Two exact rows.
        n: Cells along each axis.
        distance: That the set avoids.
        seconds: Limit of the solver.

    Returns:
        A colouring with one colour and a free one; True if no larger set exists on this torus.

    Raises:
        ColoringError: The cells are too large for the distance.
        MissingExtra: ortools is not installed.
    """
    problem = Problem.type(distance, free_color=True)
    whole = Colouring(lattice, np.ones((n, n), np.uint8), 1, free=True)
    offsets = reduced(forbidden(whole.exact_steps, problem.spans(0)), (n, n))
    if not offsets.any(1).all():
        raise ColoringError("one cell conflicts with itself; take more cells.")
    pairs: set[tuple[int, int]] = set()
    for i, j in itertools.product(range(n), repeat=2):
        for d in half(offsets).tolist() + half(-offsets % n).tolist():
            k = (i + d[0]) % n * n + (j + d[1]) % n
            pairs.add((min(i * n + j, k), max(i * n + j, k)))
    # The torus is transitive on its cells, so one of them may be chosen.
    found = largest(n * n, pairs=sorted(pairs), chosen=[0], seconds=seconds)
    if not found.values:
        raise ColoringError("the solver found nothing within its time; give more seconds.")
    cells = np.array([not v for v in found.values], np.uint8).reshape(n, n)
    return Colouring(lattice, cells, 1, free=True), found.optimal


def second_six_colouring() -> PolygonColouring:
    """Return a start near the second six-colouring: its topology with plausible numbers.

    Blue hexagons, red rhombi and pentagons, heptagons in four colours, mirror symmetric in both
    axes (arXiv 2404.05509 shows it; the numbers here are ours and break rules a little). The red
    colour is number 5.
    """
    a, b = 2.0, 2 * 3**0.5
    p, q, r, s, t, e, f, g = 0.5, 0.187, 0.463, 0.19, 0.19, 0.16, 0.70, 0.82

    def exact(points: list[tuple[float, float]]) -> Vertices:
        return tuple(
            (Fraction(round(x * 10**6), 10**6), Fraction(round(y * 10**6), 10**6))
            for x, y in points
        )

    seven = [(p, 0.0), (q, r), (e, f), (a / 2 - e, b / 2 - f), (a / 2, b / 2 - g), (a / 2, t),
             (a / 2 - s, 0.0)]  # fmt: skip
    five = [(-q, r), (q, r), (e, f), (0.0, g), (-e, f)]
    tiles = [
        (0, exact([(p, 0.0), (q, r), (-q, r), (-p, 0.0), (-q, -r), (q, -r)])),
        (5, exact([(a / 2 + s, 0.0), (a / 2, t), (a / 2 - s, 0.0), (a / 2, -t)])),
        (5, exact(five)),
        (5, exact([(x, -y) for x, y in reversed(five)])),
        (1, exact(list(reversed(seven)))),
        (2, exact([(-x, y) for x, y in seven])),
        (3, exact([(-x, -y) for x, y in reversed(seven)])),
        (4, exact([(x, -y) for x, y in seven])),
    ]
    half = exact([(a / 2, b / 2)])[0]
    return PolygonColouring(((2 * half[0], Fraction(0)), half), tuple(tiles), 6)
