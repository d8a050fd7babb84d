"""What is asked: how many colours, and which configurations no colour may hold.

Distances are kept by their squares, which are rational for most distances of interest
(1/sqrt(5) is `"sqrt(1/5)"`), so that every later decision is exact.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, cast

from extremal.lab import rational

Exact = int | str | float | Fraction
Motions = Literal["rigid", "direct", "translations"]
Span = tuple[Fraction, Fraction]  # a closed interval of squared distances
_ROOT = re.compile(r"\s*(-?)\s*sqrt\((.*)\)\s*")


@dataclass(frozen=True, slots=True)
class Coordinate:
    """The number sign * sqrt(square): rational squares cover every rational and every root."""

    sign: int
    square: Fraction

    @classmethod
    def read(cls, value: "Exact | Coordinate") -> "Coordinate":
        """Read a number, or text such as "sqrt(3/4)" and "-sqrt(2)".

        Raises:
            ValueError: It is no such number.
        """
        if isinstance(value, Coordinate):
            return value
        if isinstance(value, str) and (found := _ROOT.fullmatch(value)):
            square = rational(found[2])
            if square < 0:
                raise ValueError(f"{value!r} is not real; write a root of a number of at least 0.")
            return cls((square > 0) * (-1 if found[1] else 1), square)
        number = rational(value)
        return cls((number > 0) - (number < 0), number * number)

    def __float__(self) -> float:
        return self.sign * math.sqrt(self.square)

    def __str__(self) -> str:
        root = Fraction(math.isqrt(self.square.numerator), math.isqrt(self.square.denominator))
        if root * root == self.square:
            return str(self.sign * root)
        return f"{'-' if self.sign < 0 else ''}sqrt({self.square})"


@dataclass(frozen=True)
class Rule:
    """One thing that no colour, or no pattern of colours, may hold.

    Give `distance` for pairs or `points` for larger configurations.

    Attributes:
        distance: A number, text such as `"sqrt(1/5)"`, or a pair (low, high): the closed interval,
            every distance of which is avoided, or, with `parameter`, the range of a distance that
            may still be chosen.
        points: q_1 … q_m; with the origin they are the configuration, in every position that
            `motions` allows. Coordinates are exact numbers or roots.
        colors: `"each"`, or the colours that the rule binds.
        pattern: For `points`: which colours the origin, q_1, …, q_m may not have together. Empty:
            the same colour everywhere, for each of `colors`.
        motions: `"rigid"` (reflections too), `"direct"` or `"translations"`.
        scales: For `points`: (low, high), and copies scaled by any number from low to high are
            forbidden, too. Empty: copies of the same size only.
        norm: 2, or another p of at least 1 (training only; certificates are for 2).
        parameter: A name that makes `distance` a parameter.

    Example:
        >>> Rule(distance="sqrt(1/5)", colors=(5,)).spans
        ((Fraction(1, 5), Fraction(1, 5)),)
    """

    distance: Any = None
    points: Sequence[Sequence[Any]] = ()
    colors: Literal["each"] | tuple[int, ...] = "each"
    pattern: tuple[tuple[int, ...], ...] = ()
    motions: Motions = "rigid"
    norm: float = 2.0
    parameter: str | None = None
    scales: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if (self.distance is None) == (not self.points):
            raise ValueError("a rule is about a distance or about points; give exactly one.")
        if self.motions not in ("rigid", "direct", "translations"):
            raise ValueError(
                f"motions is {self.motions!r}; there are rigid, direct and translations."
            )
        if not (math.isfinite(self.norm) or self.norm == math.inf) or self.norm < 1:
            raise ValueError(f"norm is {self.norm!r}; a norm is 1 or more, or inf.")
        if self.colors != "each":
            object.__setattr__(self, "colors", tuple(self.colors))
            if not self.colors:
                raise ValueError("the rule names no colour; leave colors out to bind each of them.")
        if self.scales:
            scales = tuple(rational(s) for s in self.scales)
            if self.distance is not None:
                raise ValueError("scales are for points; for a distance give an interval.")
            if len(scales) != 2 or not 0 < scales[0] <= scales[1]:
                raise ValueError(
                    f"scales is (low, high) with 0 < low <= high, got {self.scales!r}."
                )
            object.__setattr__(self, "scales", scales)
        if self.distance is not None:
            low, high = self._ends()
            if low.sign <= 0:
                raise ValueError(f"a distance is greater than 0, got {low}.")
            if low.square > high.square:
                raise ValueError(f"the interval from {low} to {high} is empty; swap its ends.")
            if self.parameter is not None and low.square == high.square:
                raise ValueError(f"the parameter {self.parameter!r} needs a range (low, high).")
        else:
            if self.parameter is not None:
                raise ValueError("a parameter is a distance; a configuration has none.")
            read = tuple(tuple(Coordinate.read(x) for x in q) for q in self.points)
            if len({len(q) for q in read}) != 1 or not read[0]:
                raise ValueError("the points of a rule have not all the same dimension.")
            if any(all(x.sign == 0 for x in q) for q in read) or len(set(read)) < len(read):
                raise ValueError("the points of a rule are not distinct from each other and 0.")
            object.__setattr__(self, "points", read)
            pattern = tuple(tuple(p) for p in self.pattern)
            if any(len(p) != len(read) + 1 for p in pattern):
                raise ValueError(
                    f"a pattern gives a colour to the origin and {len(read)} points, so it has "
                    f"{len(read) + 1} entries."
                )
            object.__setattr__(self, "pattern", pattern)

    def _ends(self) -> tuple[Coordinate, Coordinate]:
        if isinstance(self.distance, (tuple, list)):
            ends = cast("Sequence[Any]", self.distance)
            if len(ends) != 2:
                raise ValueError(f"an interval is (low, high), got {ends!r}.")
            return Coordinate.read(ends[0]), Coordinate.read(ends[1])
        found = Coordinate.read(self.distance)
        return found, found

    @property
    def spans(self) -> tuple[Span, ...]:
        """The squared distances as closed intervals; empty for a configuration."""
        if self.distance is None:
            return ()
        low, high = self._ends()
        return ((low.square, high.square),)

    @property
    def scale_range(self) -> tuple[float, float]:
        """The least and the largest scale, in floats."""
        return (float(self.scales[0]), float(self.scales[1])) if self.scales else (1.0, 1.0)

    def bound(self, colors: int) -> tuple[int, ...]:
        """Return the colours that the rule binds, of 0 to colors - 1."""
        if self.pattern:
            return tuple(sorted({c for p in self.pattern for c in p}))
        return tuple(range(colors)) if self.colors == "each" else tuple(sorted(set(self.colors)))

    def patterns(self, colors: int) -> tuple[tuple[int, ...], ...]:
        """Return the forbidden colours of the origin and the points."""
        return self.pattern or tuple((c,) * (len(self.points) + 1) for c in self.bound(colors))

    def as_json(self) -> dict[str, Any]:
        """Return plain values from which `from_json` builds the same rule."""
        if self.distance is None:
            what: dict[str, Any] = {"points": [[str(x) for x in q] for q in self.points]}
        else:
            low, high = self._ends()
            what = {"distance": [str(low), str(high)] if low != high else str(low)}
        return {
            **what,
            "colors": "each" if self.colors == "each" else list(self.colors),
            "pattern": [list(p) for p in self.pattern],
            "motions": self.motions,
            "norm": "inf" if self.norm == math.inf else self.norm,
            "parameter": self.parameter,
            **({"scales": [str(s) for s in self.scales]} if self.scales else {}),
        }


@dataclass(frozen=True)
class Problem:
    """Colour R^n so that no rule is broken; with a free colour, leave as little free as possible.

    Attributes:
        dim: 2 or 3.
        colors: How many colours the rules can bind: 0 to colors - 1. The free colour, if there is
            one, has the number `colors`.
        rules: What is forbidden.
        free_color: Whether points may stay uncoloured.
        objective: `"feasible"`, `"min_free"` or `"max_interval"`: the interval of avoided distances
            inside a parameter's range becomes as wide as it can.

    Example:
        >>> Problem.type(1, 1, 1, 1, 1, 0.5).spans(5)
        ((Fraction(1, 4), Fraction(1, 4)),)
    """

    dim: int
    colors: int
    rules: tuple[Rule, ...]
    free_color: bool = False
    objective: Literal["feasible", "min_free", "max_interval"] = "feasible"

    def __post_init__(self) -> None:
        if self.dim not in (2, 3):
            raise ValueError(f"dim is {self.dim!r}; colourings of R^2 and R^3 are built.")
        if type(self.colors) is not int or not 1 <= self.colors <= 255:
            raise ValueError(f"colors is a count from 1 to 255, got {self.colors!r}.")
        object.__setattr__(self, "rules", tuple(self.rules))
        if not self.rules:
            raise ValueError("a problem without rules asks for nothing; give at least one Rule.")
        if self.objective not in ("feasible", "min_free", "max_interval"):
            raise ValueError(f"objective is {self.objective!r}, which is not known.")
        for rule in self.rules:
            absent = [c for c in rule.bound(self.colors) if not 0 <= c < self.colors]
            if absent:
                raise ValueError(
                    f"a rule names colour {absent[0]}, but there are colours 0 to "
                    f"{self.colors - 1} (the free colour takes part in no rule)."
                )
            if rule.points and len(rule.points[0]) != self.dim:
                raise ValueError(
                    f"a rule has points of R^{len(rule.points[0])} in a problem of R^{self.dim}."
                )
        if self.objective == "min_free" and not self.free_color:
            raise ValueError("min_free needs free_color=True: there is nothing to leave free.")
        names = [r.parameter for r in self.rules if r.parameter is not None]
        if len(set(names)) != len(names):
            raise ValueError(f"a parameter stands in two rules: {names}.")

    @classmethod
    def plane(cls, colors: int, dim: int = 2, free_color: bool = False) -> "Problem":
        """Return the problem of Hadwiger and Nelson: every colour avoids distance 1."""
        goal = "min_free" if free_color else "feasible"
        return cls(dim, colors, (Rule(distance=1),), free_color, goal)

    @classmethod
    def type(cls, *distances: Any, dim: int = 2, free_color: bool = False) -> "Problem":
        """Return the problem in which colour c avoids the c-th distance (or interval)."""
        read = [Rule(distance=d, colors=(c,)) for c, d in enumerate(distances)]
        groups: dict[tuple[Span, ...], list[int]] = {}
        for c, rule in enumerate(read):
            groups.setdefault(rule.spans, []).append(c)
        rules = tuple(Rule(distance=distances[cs[0]], colors=tuple(cs)) for cs in groups.values())
        goal = "min_free" if free_color else "feasible"
        return cls(dim, len(distances), rules, free_color, goal)

    @classmethod
    def triangle(
        cls, colors: int, a: Exact, b: Exact, *, allow_degenerate: bool = False
    ) -> "Problem":
        """Return the problem of triangles with sides 1, a, b (0 <= a, b <= 1 <= a + b).

        Raises:
            ValueError: There is no such triangle, or it is flat and that was not allowed.
        """
        p, q = rational(a), rational(b)
        if not (0 < p <= 1 and 0 < q <= 1):
            raise ValueError(f"the sides are in (0, 1] beside the longest, 1; got {p} and {q}.")
        if p + q < 1:
            raise ValueError(f"no triangle has sides 1, {p}, {q}: the two short ones do not meet.")
        if p + q == 1 and not allow_degenerate:
            raise ValueError(
                f"the triangle with sides 1, {p}, {q} is flat: its points lie on a line; say "
                "allow_degenerate=True if that is meant."
            )
        # |x - 0| = 1, |z - 0| = p, |z - x| = q.
        along = (1 + p * p - q * q) / 2
        up = Coordinate(int(p + q > 1), p * p - along * along)
        return cls(2, colors, (Rule(points=((1, 0), (along, up))),))

    @property
    def palette(self) -> int:
        """How many colours a colouring may use, the free one included."""
        return self.colors + self.free_color

    @property
    def configurations(self) -> tuple[Rule, ...]:
        """The rules about more than pairs."""
        return tuple(r for r in self.rules if r.points)

    def spans(self, color: int) -> tuple[Span, ...]:
        """Return the squared distances that a colour avoids, merged where they overlap."""
        found = sorted(
            {s for r in self.rules if r.distance is not None and color in r.bound(self.colors)
             for s in r.spans}
        )  # fmt: skip
        merged: list[Span] = []
        for low, high in found:
            if merged and low <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        return tuple(merged)

    def classes(self) -> list[tuple[tuple[Span, ...], tuple[int, ...]]]:
        """Return the colours that pair rules bind, grouped by the distances that they avoid."""
        groups: dict[tuple[Span, ...], list[int]] = {}
        for c in range(self.colors):
            spans = self.spans(c)
            if spans:
                groups.setdefault(spans, []).append(c)
        return [(spans, tuple(cs)) for spans, cs in groups.items()]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the distances that may still be chosen."""
        return tuple(r.parameter for r in self.rules if r.parameter is not None)

    def at(self, **values: Any) -> "Problem":
        """Return the problem with its parameters set, each to a distance or to an interval.

        Raises:
            ValueError: A name is no parameter, or a value is outside its range.

        Example:
            >>> rule = Rule(distance=("0.3", "0.7"), parameter="d", colors=(5,))
            >>> Problem(2, 6, (rule,)).at(d=("0.4", "0.5")).spans(5)
            ((Fraction(4, 25), Fraction(1, 4)),)
        """
        unknown = sorted(set(values) - set(self.parameters))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no parameter; there are {self.parameters}.")
        rules: list[Rule] = []
        for rule in self.rules:
            if rule.parameter in values:
                (low, high), value = rule.spans[0], values[rule.parameter]
                wanted = Rule(value, colors=rule.colors, norm=rule.norm)
                if not low <= wanted.spans[0][0] <= wanted.spans[0][1] <= high:
                    raise ValueError(f"{rule.parameter} = {value} is outside its range.")
                rules.append(wanted)
            else:
                rules.append(rule)
        goal = "feasible" if self.objective == "max_interval" else self.objective
        return Problem(self.dim, self.colors, tuple(rules), self.free_color, goal)

    def symmetries(self) -> list[tuple[int, ...]]:
        """Return the permutations of colours under which every rule stays as it is.

        Only exchanges of colours with equal pair rules are listed, and at most 5,040 of them.
        """
        if self.configurations:
            return [tuple(range(self.palette))]
        groups = [cs for _, cs in self.classes()]
        if math.prod(math.factorial(len(g)) for g in groups) > 5040:
            return [tuple(range(self.palette))]
        found: list[tuple[int, ...]] = []
        for chosen in itertools.product(*(itertools.permutations(g) for g in groups)):
            image = list(range(self.palette))
            for group, moved in zip(groups, chosen, strict=True):
                for c, d in zip(group, moved, strict=True):
                    image[c] = d
            found.append(tuple(image))
        return found

    def as_json(self) -> dict[str, Any]:
        """Return plain values from which `from_json` builds the same problem."""
        return {
            "dim": self.dim,
            "colors": self.colors,
            "rules": [r.as_json() for r in self.rules],
            "free_color": self.free_color,
            "objective": self.objective,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Problem":
        """Build a problem from what `as_json` wrote.

        Raises:
            ValueError: A field is missing, unknown or of no use.
        """
        fields = {"dim", "colors", "rules", "free_color", "objective"}
        if set(plain) - fields or not {"dim", "colors", "rules"} <= set(plain):
            raise ValueError(f"a problem has the fields {', '.join(sorted(fields))}.")
        rules: list[Rule] = []
        known = set(Rule.__dataclass_fields__)
        for entry in plain["rules"]:
            values: dict[str, Any] = dict(entry)
            if set(values) - known:
                raise ValueError(f"a rule has the fields {', '.join(sorted(known))}.")
            if values.get("colors", "each") != "each":
                values["colors"] = tuple(values["colors"])
            if isinstance(values.get("distance"), list):
                values["distance"] = tuple(values["distance"])
            values["norm"] = float(values.get("norm", 2.0))
            values["scales"] = tuple(values.get("scales", ()))
            values["pattern"] = tuple(tuple(p) for p in values.get("pattern", ()))
            rules.append(Rule(**values))
        return cls(
            plain["dim"], plain["colors"], tuple(rules),
            plain.get("free_color", False), plain.get("objective", "feasible"),
        )  # fmt: skip
