"""Lists and restrictions of the classification."""

import pytest

from extremal import tcurves
from extremal.tcurves import parse, restrictions


def test_numbers_of_schemes():
    assert [len(tcurves.known_schemes(d)) for d in range(1, 8)] == [1, 1, 2, 5, 8, 55, 121]
    with pytest.raises(ValueError, match="degrees 1 to 7"):
        tcurves.known_schemes(8)


def test_exclusive_schemes_are_in_the_list():
    for text in ("<J u 4 u 1<10>>", "<J u 2 u 1<12>>", "<J u 3 u 1<11>>", "<J u 1<1<1>>>"):
        assert parse(text) in tcurves.known_schemes(7)
    assert parse("<J u 1<14>>") not in tcurves.known_schemes(7)


@pytest.mark.parametrize("d", range(1, 8))
def test_no_existing_scheme_breaks_a_theorem(d):
    for scheme in tcurves.known_schemes(d):
        assert restrictions(scheme, d) == [], scheme


def test_the_even_restrictions_leave_the_sextics():
    # Of all <a u 1<b>> and <l> the theorems leave the 54 without the deep nest.
    every = {parse(f"<{n}>") for n in range(1, 13)}
    every |= {
        parse(f"<{a} u 1<{b}>>" if a else f"<1<{b}>>") for a in range(12) for b in range(1, 12)
    }
    left = {s for s in every if not restrictions(s, 6)}
    assert left == tcurves.known_schemes(6) - {parse("<1<1<1>>>")}


@pytest.mark.parametrize(
    ("scheme", "degree", "word"),
    [
        ("<12>", 6, "Harnack"),
        ("<1<1<1<1>>>>", 6, "nests of at most"),
        ("<1 u 1<1<1>>>", 6, "whole curve"),
        ("<1<1> u 1<1>>", 4, "line"),
        ("<11>", 6, "Gudkov"),
        ("<9 u 1<9>>", 6, "Harnack"),
        ("<J>", 6, "parity"),
        ("<5<1>>", 8, "conic"),
        ("<22>", 8, "Petrovskii"),
    ],
)
def test_forbidden_schemes_name_their_theorem(scheme, degree, word):
    assert any(word in text for text in restrictions(parse(scheme), degree))
