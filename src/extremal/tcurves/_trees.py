"""Final states as rooted trees: decoded once, with the words that order them."""

from typing import NamedTuple

from ._frontier_arrays import Multisets
from ._notation import Tree


class _Node(NamedTuple):
    """A tree and its balanced parentheses; see `Scheme.code`."""

    word: str
    tree: Tree


def _holding(empty: int, inner: list[_Node]) -> _Node:
    """Return the node with so many empty ovals and these inside, which may be empty too."""
    words, trees = [c.word for c in inner], [c.tree for c in inner]
    if len(inner) > 1:
        words.sort(key=_by_code, reverse=True)
        trees.sort()
    return _Node(f"1{''.join(words)}{'10' * empty}0", ((),) * empty + tuple(trees))


def _by_code(word: str) -> tuple[int, str]:
    return len(word), word  # the order of the words as binary integers: each begins with 1


class Trees:
    """Rooted trees from numbered multisets, turned so that the marked region is the root.

    Most ovals are empty, so these are counted and only the others are handled one by one.
    """

    def __init__(self, multisets: Multisets) -> None:
        self.multisets = multisets
        self.children: dict[int, tuple[int, list[tuple[int, bool]]]] = {}
        self.nodes: dict[int, _Node] = {}
        self.marked: dict[int, bool] = {}

    def _of(self, number: int) -> tuple[int, list[tuple[int, bool]]]:
        if number not in self.children:
            found = self.multisets.of(number)
            others = [child for child in found if child != (0, False)]
            self.children[number] = len(found) - len(others), others
        return self.children[number]

    def node(self, number: int) -> _Node:
        if number not in self.nodes:
            empty, others = self._of(number)
            self.nodes[number] = _holding(empty, [self.node(child) for child, _ in others])
        return self.nodes[number]

    def holds_root(self, number: int) -> bool:
        if number not in self.marked:
            self.marked[number] = any(
                flag or self.holds_root(child) for child, flag in self._of(number)[1]
            )
        return self.marked[number]

    def rooted(self, number: int, is_root: bool, above: _Node | None = None) -> _Node:
        empty, others = self._of(number)
        inner = [self.node(child) for child, _ in others]
        if above is not None:
            inner.append(above)
        if is_root:
            return _holding(empty, inner)
        for k, (child, flag) in enumerate(others):
            if flag or self.holds_root(child):
                outside = _holding(empty, inner[:k] + inner[k + 1 :])
                return self.rooted(child, flag, outside)
        raise AssertionError("one region is the root")
