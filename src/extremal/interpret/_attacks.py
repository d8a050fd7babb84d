"""Morgana: attacks that look for a feature of a row that makes Arthur name a wrong class.

A `Siege` holds the audited rows and, for every row and class, which attacks reached it; attacks
only add to it, so soundness never rises when one is added. `replay` is always run: a Morgana who
merely repeats what convinced for another class makes alpha at least 1.

Every attack aims at each wrong class: replay, exhaustive, pool and random see all answers anyway;
greedy, swaps and those by gradients look for one class at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import comb
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from extremal.lab import generator

from ._arthur import Asked, mixed_radix
from ._counting import Index, distinct, unpack
from ._errors import OverBudget
from ._explainers import index_sets, random_masks
from ._search import AskedProspects, grown, lead
from ._task import Task

SUITE = ("replay", "exhaustive", "pool", "random", "greedy", "swaps", "frank-wolfe", "learned")
_RANDOM = 64  # masks a row
_POOL = 256  # of Merlin's masks, tried on every row
_SWAPS = 60  # exchanges tried a row


@dataclass
class Siege:
    """The audited rows under attack.

    Attributes:
        task: With the audited rows.
        asked: Arthur.
        smallest: The fewest units that a feature may show.
        k: The most.
        merlin_mask: What Merlin shows of each audited row.
        merlin_answer: What Arthur answers to it.
        catalogue: Masks, codes and classes of what convinced on the catalogue rows.
        seed: Of the random attacks.
        budget: Questions that one attack may put to Arthur.
        fooled_by: For each row and class a bit for each attack of `run` that reached the class.
        mask: For each row and class one mask that did; nothing shown where none did.
        run: Names of the attacks, in order.
        settings: What each was set to, in words.
    """

    task: Task
    asked: Asked
    smallest: int
    k: int
    merlin_mask: Bool[np.ndarray, "n d"]
    merlin_answer: Int[np.ndarray, " n"]
    catalogue: tuple[Any, Any, Any]
    seed: int
    budget: int
    fooled_by: Int[np.ndarray, "n classes"] = field(init=False)
    mask: Bool[np.ndarray, "n classes d"] = field(init=False)
    run: list[str] = field(default_factory=list[str])
    settings: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        n, many = len(self.task.audit), self.task.classes
        self.fooled_by = np.zeros((n, many), np.int64)
        self.mask = np.zeros((n, many, self.task.d), bool)

    @property
    def codes(self) -> Int[np.ndarray, "n d"]:
        """Of the audited rows."""
        return self.task.audit.codes

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """Of the audited rows."""
        return self.task.audit.labels

    def left(self, target: int | None = None) -> Int[np.ndarray, " m"]:
        """Return the rows that the attack now running can still lead to a wrong class.

        Args:
            target: That class; by default any.

        Rows that other attacks misled are tried too, so that each attack is measured alone.
        """
        reached = self.fooled_by & (1 << (len(self.run) - 1)) != 0
        reached[np.arange(len(reached)), self.labels] = True  # the right class is no success
        return np.flatnonzero(~(reached.all(1) if target is None else reached[:, target]))

    def targets(self) -> Iterator[int]:
        """Yield the classes that Morgana aims at, one after the other."""
        yield from range(self.task.classes)

    def attack(self, name: str, how: Callable[["Siege"], str]) -> None:
        """Run one attack under a name."""
        self.run.append(name)
        self.settings[name] = how(self)

    def record(
        self, rows: Int[np.ndarray, " m"], masks: Bool[np.ndarray, "m d"],
        answers: Int[np.ndarray, " m"],
    ) -> Bool[np.ndarray, " m"]:  # fmt: skip
        """Count answers that name a wrong class; return which do."""
        hit = (answers >= 0) & (answers != self.labels[rows])
        r, a = rows[hit], answers[hit]
        new = self.fooled_by[r, a] == 0
        # Of several masks that reach a class the last one is kept; any of them will do.
        self.mask[r[new], a[new]] = masks[hit][new]
        np.bitwise_or.at(self.fooled_by, (r, a), 1 << (len(self.run) - 1))
        return hit

    def ask(
        self, rows: Int[np.ndarray, " m"], masks: Bool[np.ndarray, "m d"]
    ) -> Bool[np.ndarray, " m"]:
        """Show masks of rows to Arthur and record; return which fooled him."""
        if not len(rows):
            return np.zeros(0, bool)
        return self.record(rows, masks, self.asked.answers(self.codes[rows], masks))


def replay(siege: Siege) -> str:
    """Try every feature that convinced for another class, on audited rows and in the catalogue."""
    hit = siege.merlin_answer == siege.labels
    masks = np.concatenate([siege.merlin_mask[hit], siege.catalogue[0]])
    codes = np.concatenate([siege.codes[hit], siege.catalogue[1]])
    classes = np.concatenate([siege.labels[hit], siege.catalogue[2]])
    tried = 0
    for label in range(siege.task.classes):
        others = np.flatnonzero(siege.labels != label)
        mine = classes == label
        if not mine.any() or not len(others):
            continue
        first, _ = distinct(masks[mine], codes[mine])
        m, c = masks[mine][first], codes[mine][first]
        tried += len(first)
        index = Index(siege.codes[others], siege.labels[others], siege.task.classes)
        step = max(1, (64 << 20) // (8 * index.words + len(others)))
        left = np.ones(len(others), bool)
        for start in range(0, len(first), step):
            inside = unpack(index.rows(m[start : start + step], c[start : start + step]),
                            len(others))  # fmt: skip
            reached = inside.any(0) & left
            if reached.any():
                rows = others[reached]
                which = inside[:, reached].argmax(0)
                siege.record(rows, m[start + which], np.full(len(rows), label))
                left &= ~reached
    return f"{tried} features that convinced"


def exhaustive_size(task: Task, smallest: int, k: int) -> int:
    """Return how many features of audited rows an exhaustive search looks at."""
    return len(task.audit) * sum(comb(len(task.shown), j) for j in range(smallest, k + 1))


def exhaustive(siege: Siege) -> str:
    """Try every feature of every row; each different feature is asked once."""
    count = exhaustive_size(siege.task, siege.smallest, siege.k)
    sizes = siege.task.sizes
    sets = 0
    rows = np.arange(len(siege.labels))
    for units in index_sets(siege.task.shown, siege.k, siege.smallest):
        sets += 1
        key = mixed_radix(siege.codes[:, units].T.astype(np.int64), sizes[units])
        total = int(np.prod(sizes[units]))
        if total <= 4 * len(key) + 1024:  # a table of all combinations is smaller than a sort
            place = np.full(total, -1)
            place[key[::-1]] = rows[::-1]
            first = place[place >= 0]
            number = np.zeros(total, np.int64)
            number[place >= 0] = np.arange(len(first))
            which = number[key]
        else:
            _, first, which = np.unique(key, return_index=True, return_inverse=True)
        mask = np.zeros((len(first), siege.task.d), bool)
        mask[:, units] = True
        answers = siege.asked.answers(siege.codes[first], mask)[which.reshape(-1)]
        wrong = np.flatnonzero((answers >= 0) & (answers != siege.labels))
        if len(wrong):
            shown = np.zeros((1, siege.task.d), bool)
            shown[0, units] = True
            siege.record(wrong, np.broadcast_to(shown, (len(wrong), siege.task.d)), answers[wrong])
    return f"all {count:,} features of the rows, {sets:,} sets of units"


def pool(siege: Siege) -> str:
    """Show of each row what Merlin shows of others: his sets of units, this row's values."""
    first, _ = distinct(siege.merlin_mask, np.zeros_like(siege.codes))
    chosen = generator(siege.seed, "pool").permutation(first)[:_POOL]
    for i in chosen:
        rows = siege.left()
        if len(rows):
            siege.ask(rows, np.broadcast_to(siege.merlin_mask[i], (len(rows), siege.task.d)))
    return f"{len(chosen)} of Merlin's sets of units on every row"


def random(siege: Siege) -> str:
    """Show random sets of k units."""
    rng = generator(siege.seed, "random")
    for _ in range(_RANDOM):
        rows = siege.left()
        if len(rows):
            siege.ask(rows, random_masks(len(rows), siege.task, siege.k, rng))
    return f"{_RANDOM} random sets of {siege.k} units a row"


def greedy(siege: Siege) -> str:
    """Add the unit that brings Arthur closest to the class aimed at, k times."""
    rng = generator(siege.seed, "greedy")
    allowed = np.zeros(siege.task.d, bool)
    allowed[siege.task.shown] = True
    for target in siege.targets():
        rows = siege.left(target)
        if not len(rows):
            continue
        aim = np.full(len(rows), target)
        prospects = AskedProspects(siege.asked, siege.codes[rows], aim, siege.task.shown)
        for size, mask in enumerate(grown(prospects, len(rows), siege.k, allowed, rng), start=1):
            if size >= siege.smallest:
                siege.ask(rows, mask)
    return f"best unit added {siege.k} times of {len(siege.task.shown)}, towards each class"


def swaps(siege: Siege) -> str:
    """Exchange one shown unit for a hidden one while that helps, from Merlin's and random masks."""
    rng = generator(siege.seed, "swaps")
    starts = [siege.merlin_mask, random_masks(len(siege.labels), siege.task, siege.k, rng)]
    for start in starts:
        for target in siege.targets():
            rows = siege.left(target)
            if len(rows):
                siege.ask(rows, _swapped(siege, start[rows], rows, target, rng))
    return f"{_SWAPS} exchanges from Merlin's mask and from a random one, towards each class"


def _swapped(
    siege: Siege, mask: Bool[np.ndarray, "m d"], rows: Int[np.ndarray, " m"], target: int,
    rng: np.random.Generator,
) -> Bool[np.ndarray, "m d"]:  # fmt: skip
    """Random exchanges, kept where they bring Arthur closer to the class aimed at."""
    aim = np.full(len(rows), target)
    allowed = np.zeros_like(mask)
    allowed[:, siege.task.shown] = True
    value = lead(siege.asked.scores(siege.codes[rows], mask), aim)
    for _ in range(_SWAPS):
        tried = mask.copy()
        out, into = _one_of(tried, rng), _one_of(~tried & allowed, rng)
        at = np.flatnonzero((out >= 0) & (into >= 0))
        tried[at, out[at]], tried[at, into[at]] = False, True
        now = lead(siege.asked.scores(siege.codes[rows], tried), aim)
        better = now < value
        mask = np.where(better[:, None], tried, mask)
        value = np.minimum(value, now)
    return mask


def _one_of(mask: Bool[np.ndarray, "m d"], rng: np.random.Generator) -> Int[np.ndarray, " m"]:
    """A random marked unit of each row; -1 where none is."""
    value = np.where(mask, rng.random(mask.shape), -1.0)
    best = value.argmax(1)
    return np.where(value[np.arange(len(mask)), best] >= 0, best, -1)


_CHEAP: dict[str, tuple[Callable[[Siege], str], Callable[[Siege], int]]] = {
    "exhaustive": (exhaustive, lambda s: exhaustive_size(s.task, s.smallest, s.k)),
    "pool": (pool, lambda s: _POOL * len(s.labels)),
    "random": (random, lambda s: _RANDOM * len(s.labels)),
    "greedy": (greedy, lambda s: (s.task.classes - 1) * len(s.task.shown) * s.k * len(s.labels)),
    "swaps": (swaps, lambda s: 2 * _SWAPS * (s.task.classes - 1) * len(s.labels)),
}


def besiege(
    siege: Siege, wanted: Sequence[str], own: dict[str, Callable[[Siege], str]]
) -> list[str]:
    """Run replay and then the attacks wanted; return notes on those left out.

    Args:
        siege: What is attacked.
        wanted: Names, or `auto` for everything that the budget and Arthur allow.
        own: Attacks that this Arthur or run offers besides: `frank-wolfe`, `learned`, others.

    Raises:
        ValueError: There is no such attack.
        OverBudget: An attack that was asked for by name needs more questions than the budget.
    """
    notes: list[str] = []
    siege.attack("replay", replay)
    automatic = tuple(wanted) == ("auto",)
    names = [*_CHEAP, *own] if automatic else [n for n in wanted if n != "replay"]
    for name in names:
        if automatic and "exhaustive" in siege.run:
            break  # nothing is left to find
        if name in own:
            siege.attack(name, own[name])
            continue
        if name not in _CHEAP:
            missing = (
                "; it needs an Arthur made by extremal interpret train" if name in SUITE else ""
            )
            raise ValueError(
                f"there is no attack {name!r} here{missing}. There are "
                f"{', '.join(['auto', 'replay', *_CHEAP, *own])}."
            )
        how, cost = _CHEAP[name]
        if cost(siege) > siege.budget:
            said = (
                f"the attack {name} would look at {cost(siege):,} features, over the budget of "
                f"{siege.budget:,}"
            )
            if not automatic:
                raise OverBudget(f"{said}; raise --budget, audit fewer rows, or leave it out.")
            notes.append(f"{said}; it was left out.")
        else:
            siege.attack(name, how)
    return notes
