"""Real schemes: rooted trees of ovals, Viro's notation, and a code without loss.

    <9 u 1<1>>       nine empty ovals beside a nest of one oval in another
    <J u 4 u 1<10>>  the same with the pseudo-line of a curve of odd degree
    <0>              no oval at all

A region of the complement of the curve is a node; the regions just inside its ovals are its
children; the root lies outside all ovals. A tree is the sorted tuple of its children's trees.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from extremal.lab import Table

Tree = tuple[Any, ...]  # of trees, sorted

_MAX_OVALS = 4096
_MAX_DEPTH = 64


@dataclass(frozen=True)
class Scheme:
    """The isotopy type of a smooth real projective plane curve.

    Attributes:
        odd: Whether there is a pseudo-line, as for every odd degree.
        tree: The region outside all ovals, as the sorted tuple of its children.

    Example:
        >>> s = parse("<9 u 1<1>>")
        >>> s.ovals, s.p, s.n, str(s)
        (11, 10, 1, '<9 u 1<1>>')
    """

    odd: bool
    tree: Tree

    @classmethod
    def of_word(cls, odd: bool, tree: Tree, word: str) -> "Scheme":
        """Return the scheme of a tree whose balanced parentheses (see `code`) are known."""
        found = cls(odd, tree)
        found.__dict__["ovals"] = len(word) // 2 - 1
        found.__dict__["code"] = 2 * int(word, 2) + odd
        return found

    @cached_property
    def _hash(self) -> int:
        return hash((self.odd, self.tree))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()

    def __lt__(self, other: "Scheme") -> bool:
        return (self.odd, self.ovals, self.code) < (other.odd, other.ovals, other.code)

    @cached_property
    def ovals(self) -> int:
        """The number of ovals."""
        return _size(self.tree) - 1

    @property
    def components(self) -> int:
        """The number of components: the ovals, and the pseudo-line where there is one."""
        return self.ovals + self.odd

    @cached_property
    def by_depth(self) -> tuple[int, ...]:
        """How many ovals lie inside 0, 1, 2, ... others."""
        counts: list[int] = []
        level: list[Tree] = list(self.tree)
        while level:
            counts.append(len(level))
            level = [child for tree in level for child in tree]
        return tuple(counts)

    @property
    def p(self) -> int:
        """Even ovals: those inside an even number of others."""
        return sum(self.by_depth[0::2])

    @property
    def n(self) -> int:
        """Odd ovals: those inside an odd number of others."""
        return sum(self.by_depth[1::2])

    @property
    def depth(self) -> int:
        """The length of the longest chain of nested ovals."""
        return len(self.by_depth)

    @cached_property
    def code(self) -> int:
        """The scheme without loss as one integer, equal exactly for equal schemes.

        Its binary digits are the balanced parentheses of the tree, 1 opening and 0 closing,
        children in descending order of their codes, then 1 for a pseudo-line: 2 (ovals + 1) + 1
        digits.
        """
        return 2 * int(_word(self.tree), 2) + self.odd

    def defect(self, degree: int) -> int:
        """Return i for an (M-i)-curve of that degree.

        Raises:
            ValueError: The degree's parity does not fit.
        """
        if degree % 2 != self.odd:
            raise ValueError(f"{self} is no scheme of degree {degree}: the parity differs.")
        return (degree - 1) * (degree - 2) // 2 + 1 - self.components

    def table(self) -> Table:
        """Return its numbers."""
        return Table(
            ["scheme", "components", "ovals", "p", "n", "depth"],
            [[str(self), self.components, self.ovals, self.p, self.n, self.depth]],
        )

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {
            "scheme": str(self),
            "components": self.components,
            "ovals": self.ovals,
            "p": self.p,
            "n": self.n,
            "depth": self.depth,
            "by_depth": list(self.by_depth),
            "code": str(self.code),
        }

    def text(self, form: Literal["ascii", "unicode", "authors"] = "ascii") -> str:
        """Return the notation: `<J u 4 u 1<10>>`, with brackets and cups, or `<Jv4v1<10>>`."""
        opening, closing, union = {
            "ascii": ("<", ">", " u "),
            "unicode": ("⟨", "⟩", " ⊔ "),
            "authors": ("<", ">", "v"),
        }[form]
        inner = _forest(self.tree, opening, closing, union)
        terms = [*(["J"] if self.odd else []), *([inner] if inner else [])]
        return opening + (union.join(terms) or "0") + closing


def parse(text: str) -> Scheme:
    """Read a real scheme.

    Args:
        text: Such as `"<9 u 1<1>>"`, `"⟨J⊔1⟨13⟩⟩"` or `"<Jv4v1<10>>"`; the outer brackets may be
            left out. Unions are u, v or the signs for a
            disjoint or plain union.

    Returns:
        The scheme; `str` of it is the notation in standard order.

    Raises:
        ValueError: It is no scheme; the place is named.
    """
    words = list(re.findall(r"\d+|\S", text.replace("⟨", "<").replace("⟩", ">")))
    reader = _Reader(text, words)
    outer = reader.peek() == "<"
    if outer:
        reader.take("<")
    odd, forest = reader.items(top=True)
    if outer:
        reader.take(">")
    reader.end()
    return Scheme(odd, forest)


class _Reader:
    def __init__(self, text: str, words: list[str]) -> None:
        self.text, self.words, self.at, self.ovals, self.level = text, words, 0, 0, 0

    def fail(self, what: str) -> ValueError:
        shown = self.text if len(self.text) <= 60 else self.text[:57] + "..."
        return ValueError(
            f"{shown!r} is no real scheme: {what}; write for instance <9 u 1<1>> or <J u 3>."
        )

    def peek(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def take(self, word: str) -> None:
        if self.peek() != word:
            raise self.fail(f"{word!r} is missing before {self.peek() or 'the end'!r}")
        self.at += 1

    def end(self) -> None:
        if self.at < len(self.words):
            raise self.fail(f"{self.peek()!r} stands after its end")

    def items(self, top: bool) -> tuple[bool, Tree]:
        self.level += 1
        if self.level > _MAX_DEPTH:
            raise self.fail(f"its nests are deeper than {_MAX_DEPTH}")
        odd = False
        children: list[Tree] = []
        while True:
            word = self.peek()
            if word == "J" and top and not odd and not children:
                self.at += 1
                odd = True
            elif word.isascii() and word.isdigit():
                self.at += 1
                count = int(word) if len(word) < 6 else _MAX_OVALS + 1
                inner: Tree = ()
                if self.peek() == "<":
                    self.take("<")
                    before = self.ovals
                    _, inner = self.items(top=False)
                    self.take(">")
                    if count == 0:
                        raise self.fail("a nest stands 0 times")
                    self.ovals = before + count * (_size(inner) - 1)
                self.ovals += count
                if self.ovals > _MAX_OVALS:
                    raise self.fail(f"it has more than {_MAX_OVALS} ovals")
                children += [inner] * count
            else:
                raise self.fail(f"an item is missing before {word or 'the end'!r}")
            if self.peek() not in {"u", "v", "U", "\u2294", "\u222a"}:
                break
            self.at += 1
        self.level -= 1
        return odd, tuple(sorted(children))


def _size(tree: Tree) -> int:
    return 1 + sum(_size(child) for child in tree)


def _word(tree: Tree) -> str:
    if not any(tree):  # most nodes hold empty ovals only
        return "1" + "10" * len(tree) + "0"
    words = sorted((_word(child) for child in tree), key=lambda w: -int(w, 2))
    return "1" + "".join(words) + "0"


def _forest(forest: Tree, opening: str, closing: str, union: str) -> str:
    empty = sum(not tree for tree in forest)
    terms = [str(empty)] if empty else []
    nests = Counter(tree for tree in forest if tree)
    for tree in sorted(nests, key=lambda t: (_size(t), int(_word(t), 2))):
        inner = _forest(tree, opening, closing, union)
        terms.append(f"{nests[tree]}{opening}{inner}{closing}")
    return union.join(terms)


def from_code(code: int) -> Scheme:
    """Return the scheme of a code.

    Raises:
        ValueError: No scheme has it.
    """
    stack: list[list[Tree]] = [[]]
    for digit in f"{code >> 1:b}" if code > 1 else "":
        if digit == "1":
            stack.append([])
        elif len(stack) > 1:
            tree = tuple(sorted(stack.pop()))
            stack[-1].append(tree)
        else:
            break
    if len(stack) == 1 and len(stack[0]) == 1:
        found = Scheme(bool(code & 1), stack[0][0])
        if found.code == code:
            return found
    raise ValueError(f"{code} is the code of no scheme; codes come from Scheme.code.")
