"""The verb `census`: every scheme that one triangulation reaches, with exact counts.

    c = census(cen)                  2^33 sign vectors in 50 ms
    c["<J u 15>"].count              a Python integer
    c["<J u 15>"].witness            signs that give it
    "<J u 4 u 1<9>>" in c            False is a proof that no signs give it
    c.sample("<J u 15>", 5)          uniform among the vectors that give it

The signs of three points that are independent mod 2 are fixed, because the eight changes
a + b i + c j of all signs do not change the scheme: counts are over 2^(n-3) vectors.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from extremal.lab import Run, Table, command, progress, resolve, to_plain

from ._errors import MemoryLimitError
from ._frontier import ALL, EVEN, OVALS, Frontier, default_threads, sweep
from ._lattice import point_index
from ._notation import Scheme, parse
from ._order import elimination_order
from ._scheme import word
from ._shipped import as_plain, from_plain, read
from ._trees import Trees
from ._triangulation import Triangulation, from_heights

KIND = "tcurves/census"
FixedSigns = Mapping[Any, int] | str
_BYTES_A_STATE = 45  # of all layers together: the widest two are held, of the rest 4 bytes a state


@dataclass(frozen=True)
class CensusConfig:
    """How a census is taken."""

    heights: str = ""
    """Of the triangulation, separated by spaces, where none is named."""
    fixed_signs: str = ""
    """A word of 0, 1 and ? for each point; unset, three points are fixed by symmetry."""
    threads: int = 0
    """How many to use; 0 means all cores. The result is the same."""
    memory: float = 0.0
    """GiB that it may use; 0 means half of the machine's."""
    seed: int = 0
    """Of the search for a cheap order of the points; the counts do not depend on it."""


@dataclass(frozen=True)
class Entry:
    """One scheme of a census.

    Attributes:
        scheme: The scheme.
        count: How many sign vectors have it.
        witness: One of them, as a word of n digits.
    """

    scheme: Scheme
    count: int
    witness: str


@dataclass(frozen=True, eq=False)
class Census(Mapping[Scheme, Entry]):
    """The schemes of a triangulation: a mapping from schemes (or their notation) to entries.

    Attributes:
        triangulation: Whose.
        fixed: The prescribed signs by point.
        entries: One a scheme, ascending.
        states: How many states the frontier had in all.
        seconds: How long it took.
        path: Its run folder, or None.
        certificate: Its certificate, or None.
    """

    triangulation: Triangulation
    fixed: Mapping[int, int]
    entries: tuple[Entry, ...]
    states: int
    seconds: float
    path: Path | None = None
    certificate: Path | None = None

    @cached_property
    def _by_scheme(self) -> dict[Scheme, Entry]:
        return {e.scheme: e for e in self.entries}

    def __getitem__(self, scheme: Scheme | str) -> Entry:
        wanted = parse(scheme) if isinstance(scheme, str) else scheme
        found = self._by_scheme.get(wanted)
        if found is None:
            raise KeyError(f"no signs give {wanted} on this triangulation")
        return found

    def __contains__(self, scheme: object) -> bool:
        wanted = parse(scheme) if isinstance(scheme, str) else scheme
        return wanted in self._by_scheme

    def __iter__(self) -> Iterator[Scheme]:
        return (e.scheme for e in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def total(self) -> int:
        """The number of sign vectors counted, 2^(n - fixed)."""
        return 1 << (self.triangulation.n - len(self.fixed))

    def unreachable(self, scheme: Scheme | str) -> bool:
        """Whether no signs give a scheme; True is proved by the completeness of the census."""
        return scheme not in self

    @cached_property
    def _sampler(self) -> "_Sampler":
        return _Sampler(self)

    def sample(self, scheme: Scheme | str, k: int = 1, seed: int = 0) -> list[str]:
        """Return k sign vectors, independent and uniform among those that give a scheme.

        Args:
            scheme: One that is reached.
            k: How many.
            seed: Of the draws.

        Raises:
            KeyError: No signs give it.

        Cost: the first call runs the census again and keeps where every state leads, 20 bytes a
            state; each scheme needs one pass backwards; a draw is 40 microseconds.
        """
        return self._sampler.draw(self[scheme].scheme, k, seed)

    def table(self) -> Table:
        """Return a row a scheme: count and share."""
        rows = [
            [str(e.scheme), e.scheme.ovals, e.count, e.count / self.total, e.witness]
            for e in self.entries
        ]
        t = self.triangulation
        regular = (
            ""
            if t.heights is not None
            else "; not known to be regular: no algebraic curve guaranteed"
        )
        return Table(
            ["scheme", "ovals", "sign vectors", "share", "witness"],
            rows,
            title=f"{len(self)} schemes of {t.name or 'the triangulation'}, degree {t.degree}, "
            f"over 2^{t.n - len(self.fixed)} sign vectors{regular}",
        )

    def as_json(self) -> dict[str, Any]:
        """Return the census as plain values."""
        return {
            "triangulation": as_plain(self.triangulation),
            "fixed": {str(k): v for k, v in sorted(self.fixed.items())},
            "total": self.total,
            "states": self.states,
            "seconds": self.seconds,
            "schemes": [
                {"scheme": str(e.scheme), "count": e.count, "witness": e.witness}
                for e in self.entries
            ],
        }


@command(options=CensusConfig, inputs=("triangulation?",))
def census(
    triangulation: "Triangulation | str | Path | None" = None,
    *,
    fixed_signs: FixedSigns | None = None,
    config: CensusConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Census:
    """Count the sign vectors of every scheme that a triangulation reaches, exactly.

    Args:
        triangulation: One, or its name ("cen", "honeycomb-7"), file or run; or give `heights`.
        fixed_signs: Prescribed signs by point number or coordinates, or a word of 0, 1 and ?. By
            default three points are fixed to 1, which loses nothing.
        config: All options at once; or give any of its fields as keywords.
        out: Folder for table, certificate, picture and report.
        resume: Return the finished census in `out`; an unfinished one is taken again.
        force: Replace the run in `out`.
        **options: Fields of `CensusConfig`; they replace those of `config`.

    Returns:
        The census; a scheme that is not in it is reached by no signs.

    Raises:
        ValueError: The triangulation or the signs do not fit.
        MemoryLimitError: It would not fit, or does not, in the memory given.

    Example:
        >>> from extremal import tcurves
        >>> c = tcurves.census("honeycomb-4")
        >>> c["<4>"].count, len(c), c.total
        (64, 5, 4096)

    Cost: about 0.5 microseconds a state and sign; degree 7 takes 20 to 300 ms, degree 8 about a
        second.
    """
    settings = resolve(CensusConfig, config, options)
    t = _given(triangulation, settings)
    wanted = settings.fixed_signs if fixed_signs is None else fixed_signs
    fixed = read_fixed(t, wanted) if wanted else None
    if out is None:
        return _take(t, fixed, settings)
    identity = {**to_plain(settings), "triangulation": as_plain(t)}
    identity["fixed"] = None if fixed is None else {str(k): v for k, v in sorted(fixed.items())}
    with Run.create(out, kind=KIND, config=identity, resume=resume, force=force) as run:
        if resume and (run.path / "census.json").exists():
            return read_census(run.path)
        found = _take(t, fixed, settings)
        from ._reports import save_census

        return save_census(run, found)


def _given(
    triangulation: "Triangulation | str | Path | None", settings: CensusConfig
) -> Triangulation:
    if settings.heights:
        if triangulation is not None:
            raise ValueError("give a triangulation or heights, not both.")
        return heights_of_any_degree(settings.heights)
    if triangulation is None:
        raise ValueError("give a triangulation (such as cen or honeycomb-7) or --heights.")
    return read(triangulation)


def heights_of_any_degree(heights: str) -> Triangulation:
    """Return the triangulation of heights whose number tells the degree.

    Raises:
        ValueError: Their number is not (d+1)(d+2)/2.
    """
    count = len(heights.split())
    degree = next((d for d in range(1, 65) if (d + 1) * (d + 2) // 2 == count), 0)
    if not degree:
        raise ValueError(
            f"there are {count} heights, but degree d needs (d+1)(d+2)/2: 15 for 4, 21 for 5, 28 "
            "for 6, 36 for 7."
        )
    return from_heights(degree, heights)


def read_fixed(t: Triangulation, fixed: FixedSigns) -> dict[int, int]:
    """Return prescribed signs by point number.

    Raises:
        ValueError: A point or sign is not one.
    """
    if isinstance(fixed, str):
        text = "".join(fixed.split())
        if len(text) != t.n or set(text) - set("01?"):
            raise ValueError(
                f"fixed signs are a word of {t.n} digits 0, 1 and ?, got {len(text)} characters."
            )
        return {k: int(c) for k, c in enumerate(text) if c != "?"}
    index = point_index(t.degree)
    found: dict[int, int] = {}
    for key, sign in fixed.items():
        k = index.get(tuple(key), -1) if isinstance(key, (tuple, list)) else int(key)
        if not 0 <= k < t.n:
            raise ValueError(f"{key!r} is no point of degree {t.degree}.")
        if sign not in (0, 1):
            raise ValueError(f"the sign of point {key!r} is {sign!r}, not 0 or 1.")
        found[k] = int(sign)
    return found


def _independent(t: Triangulation, order: "tuple[int, ...]") -> dict[int, int]:
    """The first three points of an order that differ mod 2, with sign 1."""
    classes: set[tuple[int, int]] = set()
    fixed: dict[int, int] = {}
    for k in order:
        i, j = t.points[k]
        if len(classes) < 3 and (i % 2, j % 2) not in classes:
            classes.add((i % 2, j % 2))
            fixed[k] = 1
    return fixed


def _normal(t: Triangulation) -> dict[int, int]:
    """The signs that are fixed unless others are prescribed."""
    index = point_index(t.degree)
    return {index[p]: 1 for p in ((0, 0), (0, 1), (1, 0))}


def normalised(t: Triangulation, signs: np.ndarray) -> np.ndarray:
    """Return the equivalent signs with (0,0), (0,1) and (1,0) set to 1, for rows of signs."""
    index = point_index(t.degree)
    a = signs[..., index[0, 0], None] ^ 1
    c = signs[..., index[0, 1], None] ^ 1 ^ a
    b = signs[..., index[1, 0], None] ^ 1 ^ a
    i, j = np.array(t.points).T
    return signs ^ a ^ (b & i & 1) ^ (c & j & 1)


def plan(
    t: Triangulation, fixed: Mapping[int, int] | None, seed: int
) -> tuple[tuple[int, ...], dict[int, int], float]:
    """Return the order of points, the signs fixed in it and the number of states predicted."""
    order, states = elimination_order(t, 300, 2000, seed)
    if states > 5e5:  # worth a longer search
        order, states = elimination_order(t, 3000, 50_000, seed)
    chosen = _independent(t, order) if fixed is None else dict(fixed)
    return order, chosen, states


def memory_limit(gib: float) -> int:
    """Return bytes: those asked for, or half of the machine's memory."""
    if gib < 0:
        raise ValueError(f"memory is a number of GiB, 0 for half of the machine's, got {gib}.")
    if gib:
        return int(gib * 2**30)
    from extremal.lab import machine

    total = machine()["memory_bytes"]
    return int(total) // 2 if total else 4 << 30


def run_sweep(
    t: Triangulation,
    fixed: Mapping[int, int] | None,
    settings: CensusConfig,
    mode: int,
    keep: bool = False,
) -> tuple[Frontier, dict[int, int]]:
    """Plan and run one sweep; refuse before it begins if it cannot fit."""
    order, chosen, predicted = plan(t, fixed, settings.seed)
    limit = memory_limit(settings.memory)
    if mode == ALL and predicted * _BYTES_A_STATE > limit:
        raise MemoryLimitError(
            f"the census of degree {t.degree} is predicted to have {predicted:.1e} states, about "
            f"{predicted * _BYTES_A_STATE / 2**30:,.1f} GiB, over the limit of "
            f"{limit / 2**30:,.1f} GiB; give more memory, fix signs, or ask for less "
            "(count_ovals, most_even_ovals)."
        )
    allowed = {k: 1 << sign for k, sign in chosen.items()}
    gauged = fixed is None and mode != EVEN
    threads = settings.threads or default_threads()
    if not sys.stderr.isatty():
        frontier = sweep(
            t, order, allowed, mode=mode, threads=threads, memory=limit, keep=keep, gauged=gauged
        )
    else:
        with progress(t.n, "census") as bar:
            frontier = sweep(
                t, order, allowed, mode=mode, threads=threads, memory=limit, keep=keep,
                gauged=gauged,
                tell=lambda _, states: bar.advance(1, f"{states:,} states"),
            )  # fmt: skip
    return frontier, chosen


def _take(t: Triangulation, fixed: Mapping[int, int] | None, settings: CensusConfig) -> Census:
    begun = time.perf_counter()
    frontier, chosen = run_sweep(t, fixed, settings, ALL)
    counts: dict[Scheme, int] = {}
    first: dict[Scheme, int] = {}
    for number, (scheme, count) in enumerate(final_schemes(frontier, t.degree % 2 == 1)):
        counts[scheme] = counts.get(scheme, 0) + count
        first.setdefault(scheme, number)
    ascending = sorted(counts, key=lambda s: (s.ovals, s.code))
    signs = frontier.paths([first[s] for s in ascending])
    if fixed is None:
        signs = normalised(t, signs)
    digits = (signs + ord("0")).astype(np.uint8).tobytes().decode()
    words = (digits[k : k + t.n] for k in range(0, len(digits), t.n))
    entries = [Entry(s, counts[s], w) for s, w in zip(ascending, words, strict=True)]
    if fixed is None:
        chosen = _normal(t)
    found = Census(t, chosen, tuple(entries), sum(frontier.states), time.perf_counter() - begun)
    assert sum(e.count for e in entries) == found.total, "every sign vector is counted once"
    return found


def final_schemes(
    frontier: Frontier, odd: bool, trees: Trees | None = None
) -> Iterator[tuple[Scheme, int]]:
    """Yield scheme and count of every final state, in the order of their numbers."""
    trees = trees or Trees(frontier.multisets)
    schemes: dict[str, Scheme] = {}  # equal ones are made once: many states share a scheme
    for shard in frontier.last:
        begins = shard.starts[: shard.count]
        heads = shard.words[begins].tolist()
        contents = shard.words[begins + 1].tolist()
        lows, highs = shard.low[: shard.count].tolist(), shard.high[: shard.count].tolist()
        for head, content, low, high in zip(heads, contents, lows, highs, strict=True):
            found = trees.rooted(content & 0xFFFFFFFF, (head >> 40) & 0xFF == 1)
            scheme = schemes.get(found.word)
            if scheme is None:
                scheme = schemes[found.word] = Scheme.of_word(odd, found.tree, found.word)
            yield scheme, low + (high << 64)


class _Sampler:
    """Draws from a sweep whose transitions were kept."""

    def __init__(self, census_: Census) -> None:
        t = census_.triangulation
        self.t, self.points = t, t.points
        # Samples are over the same vectors as the census: those with its fixed signs, or, where
        # three were fixed by symmetry, the normalised ones, to which it counts equivalent ones.
        self.normal = dict(census_.fixed) == _normal(t)
        fixed = None if self.normal else census_.fixed
        self.frontier, _ = run_sweep(t, fixed, CensusConfig(threads=1), ALL, keep=True)
        self.finals = [s for s, _ in final_schemes(self.frontier, t.degree % 2 == 1)]
        self.weights: dict[Scheme, list[np.ndarray]] = {}

    def _backward(self, scheme: Scheme) -> list[np.ndarray]:
        """For each layer and state, how many continuations end in the scheme."""
        if scheme not in self.weights:
            last = np.array([int(s == scheme) for s in self.finals], object)
            big = self.t.n > 60  # then counts may leave 64 bits
            weights = [last if big else last.astype(np.int64)]
            for following in reversed(self.frontier.following):
                padded = np.append(weights[-1], weights[-1].dtype.type(0) if not big else 0)
                reached = padded[following]
                weights.append(reached[0::2] + reached[1::2])
            self.weights[scheme] = weights[::-1]
        return self.weights[scheme]

    def draw(self, scheme: Scheme, k: int, seed: int) -> list[str]:
        import random

        weights = self._backward(scheme)
        rng = random.Random(seed)
        given = np.zeros((k, self.t.n), np.int64)
        for row in given:
            state = 0
            for layer in range(self.t.n):
                zero, one = (int(x) for x in self.frontier.following[layer][2 * state :][:2])
                options = [int(weights[layer + 1][x]) if x >= 0 else 0 for x in (zero, one)]
                sign = int(rng.randrange(sum(options)) >= options[0])
                row[layer] = sign
                state = one if sign else zero
        signs = self.frontier.signs(given)
        if self.normal:
            signs = normalised(self.t, signs)
        return [word(row) for row in signs.tolist()]


@dataclass(frozen=True)
class Maximum:
    """The most that a triangulation reaches.

    Attributes:
        value: The maximum.
        witness: Signs that reach it, as a word.
        scheme: Their scheme.
    """

    value: int
    witness: str
    scheme: Scheme


def count_ovals(
    triangulation: "Triangulation | str | Path",
    fixed_signs: FixedSigns | None = None,
    **options: Any,
) -> dict[int, int]:
    """Return how many sign vectors have each number of ovals.

    Args:
        triangulation: As for `census`.
        fixed_signs: As for `census`.
        **options: Fields of `CensusConfig`.

    Cost: a fraction of the census, because nests need not be told apart; degree 10 is in reach.

    Example:
        >>> count_ovals("honeycomb-4")
        {1: 1792, 2: 1792, 3: 448, 4: 64}
    """
    t = read(triangulation)
    settings = resolve(CensusConfig, None, options)
    fixed = None if fixed_signs is None else read_fixed(t, fixed_signs)
    frontier, _ = run_sweep(t, fixed, settings, OVALS)
    counts: dict[int, int] = {}
    for shard in frontier.last:
        for k in range(shard.count):
            ovals = (int(shard.words[int(shard.starts[k])]) >> 50) - 1
            count = int(shard.low[k]) + (int(shard.high[k]) << 64)
            counts[ovals] = counts.get(ovals, 0) + count
    return dict(sorted(counts.items()))


def most_even_ovals(
    triangulation: "Triangulation | str | Path",
    fixed_signs: FixedSigns | None = None,
    **options: Any,
) -> Maximum:
    """Return the largest p (number of even ovals) of a triangulation of even degree, with signs.

    Ragsdale's conjecture said p <= 3k(k-1)/2 + 1 for degree 2k; it is false from degree 10 on.

    Args:
        triangulation: As for `census`, of even degree.
        fixed_signs: As for `census`.
        **options: Fields of `CensusConfig`.

    Raises:
        ValueError: The degree is odd.

    Example:
        >>> most_even_ovals("honeycomb-6").value
        10
    """
    from ._scheme import scheme_of

    t = read(triangulation)
    if t.degree % 2:
        raise ValueError(f"p counts even ovals of curves of even degree, got degree {t.degree}.")
    settings = resolve(CensusConfig, None, options)
    fixed = None if fixed_signs is None else read_fixed(t, fixed_signs)
    frontier, _ = run_sweep(t, fixed, settings, EVEN)
    best, where, second, number = -1, 0, False, 0
    for shard in frontier.last:
        for k in range(shard.count):
            for value, is_second in (
                (int(shard.low[k]) - 1, False),
                (int(shard.high[k]) - 1, True),
            ):
                if value > best:
                    best, where, second = value, number + k, is_second
        number += shard.count
    signs = frontier.paths([where], second)[0]
    if fixed is None:
        signs = normalised(t, signs)
    found = scheme_of(t, signs.tolist())
    assert found.p == best, "the witness has the maximum"
    return Maximum(best, word(signs.tolist()), found)


def read_census(path: "str | Path") -> Census:
    """Return the census that a run folder holds.

    Raises:
        RunError: It holds none, or it is damaged.
    """
    run = Run.open(path, KIND)
    value = run.read_json("census.json")
    t = from_plain(value["triangulation"])
    certificate = run.path / "certificate.json"
    return Census(
        t,
        {int(k): int(v) for k, v in value["fixed"].items()},
        tuple(
            Entry(parse(row["scheme"]), int(row["count"]), str(row["witness"]))
            for row in value["schemes"]
        ),
        int(value["states"]),
        float(value["seconds"]),
        run.path,
        certificate if certificate.exists() else None,
    )
