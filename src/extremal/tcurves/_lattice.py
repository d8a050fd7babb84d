"""The lattice points of d times the standard triangle, in the order used everywhere here.

Points (i, j) with i, j >= 0 and i + j <= d are numbered lexicographically: (0,0), (0,1), ...,
(0,d), (1,0), ... There are n = (d+1)(d+2)/2 of them. The symmetric group S3 permutes the
homogeneous coordinates (i, j, d-i-j).
"""

from functools import cache
from itertools import permutations

Point = tuple[int, int]

MAX_DEGREE = 64  # of what this area reads; a picture or a certificate is long before useless


@cache
def lattice_points(d: int) -> tuple[Point, ...]:
    """Return the points of degree d in lexicographic order."""
    return tuple((i, j) for i in range(d + 1) for j in range(d + 1 - i))


@cache
def point_index(d: int) -> dict[Point, int]:
    """Return the number of each point."""
    return {p: k for k, p in enumerate(lattice_points(d))}


@cache
def symmetries(d: int) -> tuple[tuple[int, ...], ...]:
    """Return the six permutations of the points: entry k says where point k goes."""
    index = point_index(d)
    images: list[tuple[int, ...]] = []
    for order in permutations(range(3)):
        moved = [
            tuple((i, j, d - i - j)[order[axis]] for axis in (0, 1)) for i, j in lattice_points(d)
        ]
        images.append(tuple(index[p] for p in moved))  # type: ignore[index]
    return tuple(images)


def side_of(d: int, p: Point, q: Point) -> bool:
    """Whether the segment between two points lies on a side of the big triangle."""
    return p[0] == q[0] == 0 or p[1] == q[1] == 0 or sum(p) == sum(q) == d


def doubled_area(a: Point, b: Point, c: Point) -> int:
    """Return twice the signed area of a triangle."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])


def checked_degree(d: int) -> int:
    """Return d if it is a degree.

    Raises:
        ValueError: It is not an integer from 1 to 64.
    """
    if isinstance(d, bool) or not 1 <= d <= MAX_DEGREE:
        raise ValueError(f"the degree is an integer from 1 to {MAX_DEGREE}, got {d!r}.")
    return d
