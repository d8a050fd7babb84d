"""Squares written down without a solver: exact, accepted, never against the solver."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extremal import sos
from extremal.sos._direct import direct_blocks
from extremal.sos._result import squares_of

MONOMIALS = [m for m in itertools.product(range(3), repeat=2) if sum(m) <= 2]


def expanded(p, blocks):
    """The sum of the squares, as a polynomial."""
    total = sos.Polynomial(p.variables, {})
    for square in squares_of(blocks):
        q = sos.Polynomial(p.variables, square.terms)
        total = total + q * q * square.weight
    return total


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("4*x^4+12*x^2*y^2+9*y^4+1", [1, 1, 1, 1]),
        ("x^4+y^4+z^4+w^4-4*x*y*z*w", [2, 2, 2]),  # x^2 y^2 and z^2 w^2 are lent and paid back
        ("(1-x)^2+100*(y-x^2)^2", [2, 2]),
        ("2*x^4+2*x^3*y-x^2*y^2+5*y^4", [3]),
        ("x^2 - 20*x*y + 100*y^2", [2]),  # semidefinite, not dominant
        ("1/3*x^2 - 2/7*x + 1", [2]),
    ],
)
def test_small_polynomials_need_no_solver(text, sizes):
    p = sos.parse(text)
    result = sos.certify(p)
    assert [s.basis for s in result.stages] == ["direct"]
    assert result.verdict.name == "CERTIFIED_SOS"
    assert sorted(len(b.rows) for b in result.blocks) == sorted(sizes)
    assert expanded(p, result.blocks) == p
    assert result.certificate.check().accepted


@pytest.mark.parametrize(
    "text",
    [
        "x^4*y^2 + x^2*y^4 + 1 - 3*x^2*y^2",  # no sum of squares
        "x^2 - 2*x*y",  # negative
        "x",
        "x^3 + 1",
        "-x^2*y^2",
        "x^2 - 21*x*y + 100*y^2",
        "x^4 + 4*x^3 - 8*x + 4",  # a square of three monomials: for the solver
    ],
)
def test_nothing_is_said_where_the_choices_fail(text):
    assert direct_blocks(sos.parse(text)) is None


def test_large_polynomials_are_left_to_the_solver():
    terms = {(2 * i,): 1 for i in range(41)}
    assert direct_blocks(sos.from_terms(terms)) is None
    del terms[(80,)]
    assert len(direct_blocks(sos.from_terms(terms))) == 40


polynomials = st.dictionaries(
    st.tuples(st.integers(0, 4), st.integers(0, 4)), st.integers(-3, 6), min_size=1, max_size=8
)


@settings(max_examples=200)
@given(terms=polynomials, divisor=st.integers(1, 7))
def test_whatever_is_found_is_exact_and_accepted(terms, divisor):
    p = sos.from_terms({m: Fraction(c, divisor) for m, c in terms.items()}, ["x", "y"])
    if not p.terms:
        return
    blocks = direct_blocks(p)
    if blocks is None:
        return
    assert expanded(p, blocks) == p
    result = sos.certify(p)
    assert result.certificate.check().accepted


@settings(max_examples=60)
@given(
    pairs=st.lists(
        st.tuples(
            st.sampled_from(MONOMIALS), st.sampled_from(MONOMIALS), st.integers(1, 5), st.booleans()
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_solver_never_contradicts_it(pairs):
    p = sos.Polynomial(("x", "y"), {})
    for a, b, weight, minus in pairs:
        q = sos.from_terms([(a, 1), (b, -1 if minus else 1)], ["x", "y"])
        p = p + q * q * weight
    plain = sos.certify(p, basis="diagonal").verdict.name
    assert plain in {"CERTIFIED_SOS", "NUMERICAL_SOS", "UNKNOWN"}
    assert sos.certify(p).verdict.name in {"CERTIFIED_SOS", plain}
