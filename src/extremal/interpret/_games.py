"""The laboratory: finite Merlin-Arthur games in exact fractions.

A game has finitely many points with weights and classes; a feature is a set of points. Everything
that the theorems speak of is computed exactly, so the laboratory teaches and judges the rest.

Notation: D_l the points of class l, F_l the features with which Merlin convinces on D_l, F* the
union of features F; kappa, alpha, B and the errors as in `_bounds`.
Source: arXiv:2206.00759 (definitions, main and min-max theorem, information bound). The per-class
form is ours: one class against the rest, with the correlation of Merlin's own features only.
"""

import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, cast

from ._bounds import entropy, information_bound, main_bound
from ._errors import InterpretError, OverBudget

DONT_KNOW = -1
_MOST_FEATURES = 22  # kappa visits up to 2 to this many sets
Point = Any
Name = Hashable


@dataclass(frozen=True)
class Game:
    """A finite game.

    Attributes:
        weights: Of the points, positive; they need not add up to 1.
        labels: The class of each point, counted from 0.
        features: For each name the points that contain the feature, by number.
        merlin: For each point the name of the feature that Merlin shows; the point contains it.
        arthur: For each feature a class or -1, don't know.
        morgana: For each point the name of what Morgana shows; None for the best that exists.

    Raises:
        ValueError: A point lacks a label or Merlin shows what the point does not contain.
    """

    weights: tuple[Fraction, ...]
    labels: tuple[int, ...]
    features: Mapping[Name, frozenset[int]]
    merlin: tuple[Name, ...]
    arthur: Mapping[Name, int]
    morgana: tuple[Name, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.weights)
        if not n or len(self.labels) != n or len(self.merlin) != n:
            raise ValueError(
                f"{n} weights, {len(self.labels)} labels and {len(self.merlin)} of Merlin's "
                "features do not describe the same points; give one of each for every point."
            )
        if min(self.weights) <= 0:
            raise ValueError("a point has a weight that is not positive; leave such points out.")
        if set(self.labels) != set(range(self.classes)) or self.classes < 2:
            raise ValueError(
                f"the classes are {sorted(set(self.labels))}; number two or more of them from 0, "
                "each with a point."
            )
        for who, shown in (("Merlin", self.merlin), ("Morgana", self.morgana or ())):
            for x, name in enumerate(shown):
                if name not in self.features or x not in self.features[name]:
                    raise ValueError(
                        f"{who} shows {name!r} on point {x}, which does not contain it; a prover "
                        "cannot invent values."
                    )
        for name in self.features:
            if self.arthur.get(name, DONT_KNOW) not in (DONT_KNOW, *range(self.classes)):
                raise ValueError(f"Arthur answers {self.arthur[name]!r} to {name!r}, no class.")

    # Masses.

    @cached_property
    def classes(self) -> int:
        """How many classes there are."""
        return max(self.labels) + 1

    @cached_property
    def shares(self) -> tuple[Fraction, ...]:
        """The share pi_l of each class."""
        total = sum(self.weights)
        return tuple(
            sum((w for w, c in zip(self.weights, self.labels, strict=True) if c == k), Fraction(0))
            / total
            for k in range(self.classes)
        )

    @property
    def imbalance(self) -> Fraction:
        """B, the largest share over the smallest."""
        return max(self.shares) / min(self.shares)

    def _p(self, points: "frozenset[int] | set[int]", inside: Callable[[int], bool]) -> Fraction:
        """P(points | inside), 0 where nothing is inside."""
        total = hit = Fraction(0)
        for x, w in enumerate(self.weights):
            if inside(x):
                total += w
                hit += w if x in points else 0
        return hit / total if total else Fraction(0)

    # Errors.

    def fooled(self, x: int, target: int | None = None) -> bool:
        """Whether Morgana makes Arthur name a wrong class (or `target`) on point x."""
        shown = [self.morgana[x]] if self.morgana else [f for f in self.features if self._in(x, f)]
        answers = {self.arthur.get(f, DONT_KNOW) for f in shown} - {DONT_KNOW, self.labels[x]}
        return target in answers if target is not None else bool(answers)

    def _in(self, x: int, name: Name) -> bool:
        return x in self.features[name]

    def completeness_error(self, label: int) -> Fraction:
        """How often Merlin fails to convince on a class."""
        bad = {x for x, f in enumerate(self.merlin) if self.arthur.get(f, DONT_KNOW) != label}
        return self._p(bad, lambda x: self.labels[x] == label)

    def soundness_error(self, target: int) -> Fraction:
        """How often a point of another class is taken for `target`."""
        bad = {x for x in range(len(self.labels)) if self.fooled(x, target)}
        return self._p(bad, lambda x: self.labels[x] != target)

    @property
    def e_c(self) -> Fraction:
        """The largest completeness error."""
        return max(self.completeness_error(k) for k in range(self.classes))

    @property
    def e_s(self) -> Fraction:
        """The largest soundness error."""
        return max(self.soundness_error(k) for k in range(self.classes))

    # Precision and information.

    def precision(self, name: Name, label: int) -> Fraction:
        """P(class = label | the point contains the feature)."""
        return self._p(
            {x for x, c in enumerate(self.labels) if c == label}, lambda x: self._in(x, name)
        )

    @cached_property
    def average_precision(self) -> Fraction:
        """Pr(M): the precision of what Merlin shows, averaged over the points."""
        total = sum(self.weights)
        return sum(
            (
                w * self.precision(f, c)
                for w, f, c in zip(self.weights, self.merlin, self.labels, strict=True)
            ),
            Fraction(0),
        ) / total  # fmt: skip

    @property
    def information(self) -> float:
        """E[I(c; M(x))] in bits: the entropy of the class less what a shown feature leaves."""
        total = sum(self.weights)
        left = 0.0
        for w, f in zip(self.weights, self.merlin, strict=True):
            shares = [float(self.precision(f, k)) for k in range(self.classes)]
            left += float(w / total) * entropy(shares)
        return entropy([float(s) for s in self.shares]) - left

    @property
    def information_bound(self) -> float:
        """What the average precision says about the information, in bits."""
        return information_bound(float(self.average_precision), [float(s) for s in self.shares])

    # Correlation.

    def convincing(self, label: int) -> frozenset[Name]:
        """F_l: the features with which Merlin convinces on a class."""
        return frozenset(
            f
            for f, c in zip(self.merlin, self.labels, strict=True)
            if c == label and self.arthur.get(f, DONT_KNOW) == label
        )

    def _masks(self, label: int) -> list[tuple[Fraction, int, int]]:
        """For each feature in class `label`: its ratio of masses, its points in and outside."""
        own = sum(1 << x for x, c in enumerate(self.labels) if c == label)
        found: list[tuple[Fraction, int, int]] = []
        for points in self.features.values():
            bits = sum(1 << x for x in points)
            inside, outside = bits & own, bits & ~own
            if inside:
                found.append((self._mass(outside) / self._mass(inside), inside, outside))
        return sorted(found, key=lambda entry: -entry[0])

    def _mass(self, bits: int) -> Fraction:
        total = Fraction(0)
        while bits:
            low = bits & -bits
            total += self.weights[low.bit_length() - 1]
            bits ^= low
        return total

    @cached_property
    def kappa(self) -> Fraction:
        """The asymmetric feature correlation, the largest over all sets of features.

        kappa_l(F) = [sum over y in D_l and F* of w_y max ratio of a feature of F in y] / w_-l(F*),
        with ratio = w_-l(feature) / w_l(feature). Features are added by falling ratio, so that a
        point takes its maximum from the first that covers it.

        Raises:
            OverBudget: There are more than 22 features; the sets would be over four million.
        """
        if len(self.features) > _MOST_FEATURES:
            raise OverBudget(
                f"kappa is a maximum over all sets of {len(self.features)} features, "
                f"2^{len(self.features)} of them; the laboratory goes to {_MOST_FEATURES}. Use "
                "strategy_kappa, or a smaller game."
            )
        best = Fraction(1)
        for label in range(self.classes):
            entries = self._masks(label)
            # The rest of a set: features outside class l only add to the mass below, never help.
            stack = [(0, 0, 0, Fraction(0), Fraction(0))]
            while stack:
                at, own, other, above, below = stack.pop()
                if below and above / below > best:
                    best = above / below
                if at == len(entries):
                    continue
                ratio, inside, outside = entries[at]
                stack.append((at + 1, own, other, above, below))
                new, more = inside & ~own, outside & ~other
                stack.append(
                    (
                        at + 1, own | inside, other | outside,
                        above + ratio * self._mass(new) if new else above,
                        below + self._mass(more) if more else below,
                    )
                )  # fmt: skip
        return best

    def strategy_kappa(self, label: int) -> Fraction:
        """The correlation of Merlin's own features F_l; 1 where they have no mass outside."""
        shown = self.convincing(label)
        own = [x for x, c in enumerate(self.labels) if c == label]
        reached = [x for x in own if any(self._in(x, f) for f in shown)]
        other = {
            x
            for x, c in enumerate(self.labels)
            if c != label and any(self._in(x, f) for f in shown)
        }
        if not other:
            return Fraction(1)
        ratios = {f: self._ratio(f, label) for f in shown}
        above = sum(
            (self.weights[y] * max(ratios[f] for f in shown if self._in(y, f)) for y in reached),
            Fraction(0),
        )
        return above / sum(self.weights[x] for x in other)

    def _ratio(self, name: Name, label: int) -> Fraction:
        inside = sum(
            (self.weights[x] for x in self.features[name] if self.labels[x] == label), Fraction(0)
        )
        outside = sum(
            (self.weights[x] for x in self.features[name] if self.labels[x] != label), Fraction(0)
        )
        return outside / inside

    @property
    def most_features(self) -> int:
        """K, the largest number of features in one point: a bound of kappa."""
        return max(
            sum(x in points for points in self.features.values()) for x in range(len(self.labels))
        )

    @cached_property
    def alpha(self) -> Fraction | None:
        """The relative success rate of Morgana; None where no class puts a constraint on it."""
        rates = [r for r in map(self._success, range(self.classes)) if r is not None]
        return min(rates) if rates else None

    def _success(self, label: int) -> Fraction | None:
        shown = self.convincing(label)
        reached = {x for x in range(len(self.labels)) if any(self._in(x, f) for f in shown)}
        if not shown or not any(self.labels[x] != label for x in reached):
            return None
        fooled = {x for x in reached if self.fooled(x, label)}
        convinced = {
            x for x in reached
            if self.labels[x] == label and self.arthur.get(self.merlin[x], DONT_KNOW) == label
        }  # fmt: skip
        hers = self._p(fooled, lambda x: self.labels[x] != label and x in reached)
        return hers / self._p(convinced, lambda x: self.labels[x] == label and x in reached)

    # Theorems.

    def bound(self, kappa: Fraction | None = None, alpha: Fraction | None = None) -> Fraction:
        """Return the main theorem's bound with the exact kappa and alpha, or with given ones.

        Raises:
            InterpretError: There are more than two classes.
        """
        if self.classes != 2:
            raise InterpretError(
                f"the main formula is for two classes and this game has {self.classes}; use "
                "per_class_bound, which sets each class against the rest."
            )
        a = alpha if alpha is not None else self.alpha if self.alpha is not None else Fraction(1)
        if a == 0:  # Morgana is never successful where she could be: nothing is promised
            return Fraction(0)
        return main_bound(
            self.e_c, self.e_s, kappa if kappa is not None else self.kappa, a, self.imbalance
        )

    @property
    def per_class_bound(self) -> Fraction:
        """The sharper form: each class against the rest, with Merlin's own correlation."""
        total = Fraction(0)
        for label, share in enumerate(self.shares):
            shown = self.convincing(label)
            if not shown:
                continue
            reached = {x for x in range(len(self.labels)) if any(self._in(x, f) for f in shown)}
            own = self._p(reached, lambda x, k=label: self.labels[x] == k)
            rho = self._p(reached, lambda x, k=label: self.labels[x] != k) / own
            r = (1 - share) / share * self.strategy_kappa(label) * rho
            total += share * (1 - self.completeness_error(label) - own * r / (1 + r))
        return max(Fraction(0), total)

    def mistaken(self) -> frozenset[int]:
        """E: the points on which Merlin fails or Morgana succeeds."""
        return frozenset(
            x
            for x, c in enumerate(self.labels)
            if self.arthur.get(self.merlin[x], DONT_KNOW) != c or self.fooled(x)
        )

    def best_arthur(self) -> tuple[Fraction, dict[Name, int]]:
        """Return the least P(E) over all Arthurs against the best Morgana, and one that has it.

        Branch and bound: what an answer to one feature spoils does not depend on the others.
        """
        names = list(self.features)
        answers = (DONT_KNOW, *range(self.classes))
        spoiled: list[list[int]] = []
        for name in names:
            row: list[int] = []
            for a in answers:
                bits = 0
                for x in self.features[name]:
                    failed = self.merlin[x] == name and a != self.labels[x]
                    bits |= (failed or a not in (DONT_KNOW, self.labels[x])) << x
                row.append(bits)
            spoiled.append(row)
        total = self._mass((1 << len(self.labels)) - 1)
        best, chosen = total + 1, [0] * len(names)
        stack: list[tuple[int, int, tuple[int, ...]]] = [(0, 0, ())]
        while stack:
            at, bits, path = stack.pop()
            if self._mass(bits) >= best:
                continue
            if at == len(names):
                best, chosen = self._mass(bits), list(path)
                continue
            stack.extend((at + 1, bits | spoiled[at][j], (*path, j)) for j in range(len(answers)))
        return best / total, {n: answers[j] for n, j in zip(names, chosen, strict=True)}

    def restricted(self, points: "frozenset[int] | set[int]") -> "Game":
        """Return the game on some of the points, for instance on those outside `mistaken`."""
        kept = sorted(points)
        place = {x: i for i, x in enumerate(kept)}
        names = {
            name: frozenset(place[x] for x in inside if x in place)
            for name, inside in self.features.items()
        }
        return Game(
            tuple(self.weights[x] for x in kept),
            tuple(self.labels[x] for x in kept),
            {name: inside for name, inside in names.items() if inside},
            tuple(self.merlin[x] for x in kept),
            self.arthur,
            None if self.morgana is None else tuple(self.morgana[x] for x in kept),
        )


def fish_and_fruit(m: int) -> Game:
    """Return the example of a large correlation: kappa is m.

    Class 0 is one point with all m fruits and m points with one fish each; class 1 is one point
    with all m fish and m points with one fruit each. Arthur takes fruit for class 1, fish for 0.

    Example:
        >>> game = fish_and_fruit(6)
        >>> game.kappa, game.average_precision, game.bound()
        (Fraction(6, 1), Fraction(1, 2), Fraction(5, 14))
    """
    if m < 1:
        raise ValueError(f"m={m} leaves no fish and no fruit; choose at least 1.")
    # Points: 0 has all fruits, 1..m a fish each; m+1 has all fish, m+2..2m+1 a fruit each.
    features: dict[Name, frozenset[int]] = {}
    for i in range(m):
        features["fruit", i] = frozenset({0, m + 2 + i})
        features["fish", i] = frozenset({m + 1, 1 + i})
    fish = [("fish", i) for i in range(m)]
    fruit = [("fruit", i) for i in range(m)]
    merlin = (("fruit", 0), *fish, ("fish", 0), *fruit)
    arthur: dict[Name, int] = {**dict.fromkeys(fish, 0), **dict.fromkeys(fruit, 1)}
    return Game(
        (Fraction(1),) * (2 * m + 2), (0,) * (m + 1) + (1,) * (m + 1), features, merlin, arthur
    )


def cube(
    d: int,
    k: int,
    label: Callable[[tuple[int, ...]], int],
    shown: Callable[[tuple[int, ...]], Sequence[int]],
    arthur: Callable[[tuple[int, ...], tuple[int, ...]], int],
) -> Game:
    """Return the game on the cube {0,1}^d, uniform, whose features are all (S, v) with |S| = k.

    Args:
        d: Dimension.
        k: Size of the index sets.
        label: The class of a point.
        shown: The k indices that Merlin shows of a point.
        arthur: From sorted indices and their values to a class or -1.

    Example:
        >>> game = cube(3, 1, lambda x: int(sum(x) > 1), lambda x: [x.index(int(sum(x) > 1))],
        ...             lambda s, v: v[0])
        >>> game.average_precision, game.kappa, game.bound()
        (Fraction(3, 4), Fraction(7, 3), Fraction(4, 11))
    """
    if not 1 <= k <= d:
        raise ValueError(f"k={k} indices cannot be shown of {d}; choose 1 <= k <= {d}.")
    points = list(itertools.product((0, 1), repeat=d))
    features: dict[Name, frozenset[int]] = {}
    for s in itertools.combinations(range(d), k):
        for v in itertools.product((0, 1), repeat=k):
            features[s, v] = frozenset(
                n for n, x in enumerate(points) if all(x[i] == b for i, b in zip(s, v, strict=True))
            )
    merlin: list[Name] = []
    for x in points:
        s = tuple(sorted(shown(x)))
        merlin.append((s, tuple(x[i] for i in s)))
    return Game(
        (Fraction(1),) * len(points),
        tuple(label(x) for x in points),
        features,
        tuple(merlin),
        {name: arthur(*cast("Any", name)) for name in features},
    )


def with_replay(game: Game) -> Game:
    """Return the game with a Morgana who only replays what convinced for another class.

    Where nothing of Merlin's fits a point, she shows what Merlin shows. Then alpha is at least 1.
    """
    shown: list[Name] = []
    for x, c in enumerate(game.labels):
        found = game.merlin[x]
        for label in range(game.classes):
            if label != c:
                fits = sorted((f for f in game.convincing(label) if game._in(x, f)), key=repr)
                found = fits[0] if fits else found
        shown.append(found)
    return Game(game.weights, game.labels, game.features, game.merlin, game.arthur, tuple(shown))
