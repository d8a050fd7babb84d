"""What must hold of every polynomial: verdicts under symmetries, repair, schedules, exactness."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from extremal import sos
from extremal.sos._interior import _Kernel, _SmallKernel
from extremal.sos._problem import gram_problem

REFUTED = {"CERTIFIED_NOT_SOS", "NEGATIVE"}
small = st.integers(-3, 3)
monomials = st.tuples(st.integers(0, 2), st.integers(0, 2))


# The strategies draw plain values; polynomials are built in the tests, because the runtime type
# checks that are on in tests draw random numbers, which strategies must not.
squares = st.lists(
    st.dictionaries(monomials, small, min_size=1, max_size=3), min_size=1, max_size=3
)
terms = st.dictionaries(st.tuples(st.integers(0, 4), st.integers(0, 4)), small, max_size=6)


def summed(parts):
    """A sum of rational squares in two variables."""
    total = sos.from_terms({}, ["x", "y"])
    for part in parts:
        q = sos.from_terms({m: Fraction(c, 2) for m, c in part.items()}, ["x", "y"])
        total = total + q * q
    return total


def built(found):
    return sos.from_terms(found, ["x", "y"])


def moved(p, exponents, sign=(1, 1), ratio=(1, 1)):
    """Substitute x_i -> sign_i ratio_i x_i after permuting exponents."""
    terms = {}
    for m, c in p.terms.items():
        k = [m[i] for i in exponents]
        factor = Fraction(1)
        for e, s, r in zip(k, sign, ratio, strict=True):
            factor *= (s * Fraction(r)) ** e
        terms[tuple(k)] = c * factor
    return sos.from_terms(terms, list(p.variables))


@settings(max_examples=40)
@given(parts=squares)
def test_a_sum_of_squares_is_never_refuted(parts):
    p = summed(parts)
    result = sos.certify(p)
    assert result.verdict.name not in REFUTED, str(p)
    if result.certificate is not None:
        assert result.certificate.check().accepted


@settings(max_examples=40)
@given(drawn=terms)
def test_every_certificate_is_accepted_and_agrees_with_points(drawn):
    p = built(drawn)
    result = sos.certify(p)
    if result.certificate is not None:
        checked = result.certificate.check()
        assert checked.accepted, (str(p), checked.reason)
    rng = np.random.default_rng(0)
    values = [
        p([Fraction(int(a), 7), Fraction(int(b), 5)]) for a, b in rng.integers(-30, 31, (20, 2))
    ]
    if result.verdict.name == "CERTIFIED_SOS":
        assert min(values) >= 0


@settings(max_examples=25)
@given(drawn=terms)
def test_verdicts_do_not_depend_on_names_signs_and_scales(drawn):
    p = built(drawn)
    verdict = sos.certify(p).verdict.name
    if verdict in {"NUMERICAL_SOS", "UNKNOWN"}:
        return  # open ends may close after a change of scale
    nonnegative = verdict == "CERTIFIED_SOS"
    for other in (
        moved(p, (1, 0)),
        moved(p, (0, 1), sign=(-1, 1)),
        moved(p, (0, 1), ratio=(2, Fraction(1, 3))),
        p * Fraction(7, 3),
        p * sos.parse("x^2*y^4"),
    ):
        found = sos.certify(other).verdict.name
        if nonnegative:
            assert found not in REFUTED, (str(p), str(other))
        else:
            assert found not in {"CERTIFIED_SOS", "NUMERICAL_SOS"}, (str(p), str(other))


@given(drawn=terms)
def test_consistency_does_not_depend_on_the_order_of_variables(drawn):
    p = built(drawn)
    if not p.terms:
        return
    straight = {tuple(m) for m in sos.Bases(p).consistent.tolist()}
    turned = {tuple(m) for m in sos.Bases(moved(p, (1, 0))).consistent.tolist()}
    assert turned == {(b, a) for a, b in straight}


@given(drawn=terms)
def test_consistency_is_what_one_deletion_after_another_leaves(drawn):
    p = built(drawn)
    if not p.terms:
        return
    alive = {tuple(m) for m in sos.Bases(p).half.points.tolist()}
    found = {tuple(m) for m in sos.Bases(p).consistent.tolist()}
    while True:
        gone = [
            m
            for m in sorted(alive)
            if tuple(2 * e for e in m) not in p.terms
            and not any(
                a != b
                and tuple(x + y for x, y in zip(a, b, strict=True)) == tuple(2 * e for e in m)
                for a in alive
                for b in alive
            )
        ]
        if not gone:
            break
        alive.discard(gone[-1])
    assert found == alive


@given(drawn=terms)
def test_half_newton_is_membership_in_the_hull(drawn):
    p = built(drawn)
    if not p.terms:
        return
    s = p.support
    found = {tuple(m) for m in sos.half_newton(s).points.tolist()}
    for m in np.ndindex(4, 4):
        answer = linprog(
            np.zeros(len(s)),
            A_eq=np.vstack([s.T, np.ones(len(s))]),
            b_eq=[2 * m[0], 2 * m[1], 1],
            bounds=(0, None),
        )
        assert (answer.status == 0) == (m in found), (str(p), m)


@pytest.mark.parametrize("structure", ["dense", "sparse", "low-rank", "block"])
def test_linear_programs_and_facets_agree_on_the_polytope(structure, monkeypatch):
    p = sos.planted(structure, 4, 6, 8, seed=1).p
    facets = sos.half_newton(p.support).points
    import sys

    monkeypatch.setattr(sys.modules["extremal.sos._newton"], "_FACET_DIMENSION", 0)
    assert np.array_equal(sos.half_newton(p.support).points, facets)


@settings(max_examples=40)
@given(parts=squares)
def test_repair_covers_and_stays_inside(parts):
    p = summed(parts)
    if not p.terms:
        return
    whole = sos.Bases(p).consistent
    rows, left = sos.repair(np.zeros((0, 2), dtype=np.int64), p.support, whole)
    assert len(left) == 0
    assert len(sos.uncovered(rows, p.support)) == 0
    inside = {tuple(m) for m in whole.tolist()}
    assert all(tuple(m) in inside for m in rows.tolist())


def test_a_square_keeps_a_certified_polynomial_certified():
    p = sos.parse("2*x^4+2*x^3*y-x^2*y^2+5*y^4")
    for q in ("x-3*y", "x^3+y", "7"):
        assert sos.certify(p + sos.parse(q) * sos.parse(q)).verdict.name == "CERTIFIED_SOS"


@pytest.mark.parametrize("basis", ["full", "newton", "diagonal", "tssos"])
def test_a_larger_lossless_basis_never_loses_a_sum_of_squares(basis):
    for text in ("2*x^4+2*x^3*y-x^2*y^2+5*y^4", "x^4+4*x^3-8*x+4", "(x*y-1)^2+x^2"):
        assert sos.certify(text, basis=basis).verdict.name == "CERTIFIED_SOS"


@given(first=st.integers(1, 50), more=st.integers(0, 200), growth=st.floats(1.01, 4))
def test_schedules_increase_and_end_at_the_whole(first, more, growth):
    sizes = sos.expansion_schedule(first, first + more, growth)
    assert sizes == sorted(set(sizes))
    assert all(s > first for s in sizes)
    assert (sizes[-1] if sizes else first) == first + more


def test_the_cascade_costs_at_most_the_stated_multiple():
    """With cost m^3 and growth 1.5: at most 4.80 times that of the size needed."""
    worst = 0.0
    for need in range(10, 400):
        spent = 10.0**3
        size = 10
        for size in (10, *sos.expansion_schedule(10, 10**6, 1.5)):
            if size > 10:
                spent += size**3
            if size >= need:
                break
        worst = max(worst, spent / need**3)
    assert worst <= 1.5**6 / (1.5**3 - 1) + 0.2  # rounding sizes up adds a little


def test_the_same_seed_gives_the_same_answer():
    p = sos.planted("sparse", 5, 8, 12, seed=3).p
    a, b = sos.certify(p, seed=1), sos.certify(p, seed=1)
    assert a.certificate == b.certificate
    assert [s.size for s in a.stages] == [s.size for s in b.stages]


def test_univariate_quadratic_and_quartic_cross_check():
    """There nonnegative means sum of squares, so refutations are negative points."""
    rng = np.random.default_rng(2)
    for _ in range(25):
        c = rng.integers(-4, 5, 5)
        p = sos.from_terms({(i,): int(v) for i, v in enumerate(c)}, ["x"])
        assert sos.certify(p).verdict.name != "CERTIFIED_NOT_SOS" or p.degree % 2


@settings(max_examples=40)
@given(
    drawn=terms,
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=6, unique=True),
)
def test_no_first_basis_makes_a_wrong_verdict(drawn, rows):
    """Whatever an oracle proposes costs time, never truth."""
    from extremal.sos._search import decide

    p = built(drawn)
    seed = np.array(rows, dtype=np.int64).reshape(len(rows), 2)
    found = decide(p, seed_rule=lambda _: seed)
    plain = sos.certify(p)
    if found.certificate is not None:
        checked = found.certificate.check()
        assert checked.accepted, (str(p), rows, checked.reason)
    if {found.verdict.name, plain.verdict.name} <= {"CERTIFIED_SOS", *REFUTED}:
        assert (found.verdict.name in REFUTED) == (plain.verdict.name in REFUTED)


def test_a_solver_that_panics_never_becomes_a_verdict(monkeypatch):
    import sys

    class Panic(BaseException):
        pass

    def broken(*_, **__):
        raise Panic("a panic that is no Exception")

    for name in ("kernel_form", "moment_form"):
        monkeypatch.setattr(sys.modules["extremal.sos._backends"], name, broken)
    monkeypatch.setattr(sys.modules["extremal.sos._search"], "kernel_form", broken)
    # squares of these need a solver: no binomial squares are in sight
    for text in ("x^4+4*x^3-8*x+5", "(x^2+2*x*y-2*y^2)^2+1/10*(x^6+y^6+x^2+y^2)"):
        result = sos.certify(text)
        assert result.verdict.name == "UNKNOWN"
        assert any("Panic" in note for note in result.notes)


@pytest.mark.parametrize("with_span", [False, True])
@pytest.mark.parametrize("with_face", [False, True])
def test_both_forms_of_the_coordinates_compute_the_same(with_face, with_span):
    """Matrices written out for small problems, against gathers of single entries."""
    p = sos.parse("(x^2+x*y-2*y^2+z)^2+(x-3*z+1)^2+(y^2+z^2)^2+x^2*y^2+5")
    blocks = [np.array([m for m in itertools.product(range(3), repeat=3) if sum(m) <= 2])]
    problem = gram_problem(p, blocks)
    rng = np.random.default_rng(0)
    n, k = problem.size, problem.freedom
    face = np.linalg.qr(rng.normal(size=(n, n - 3)))[0] if with_face else None
    span = rng.normal(size=(k, 5)) if with_span else None
    origin = rng.normal(size=k)
    one, two = (form(problem, face, origin, span) for form in (_Kernel, _SmallKernel))
    assert one.dimension == two.dimension
    y = rng.normal(size=one.dimension + 1)
    for _ in range(3):
        root = rng.normal(size=(2, two.n, two.n))
        x, z = root @ root.transpose(0, 2, 1)
        np.testing.assert_allclose(two.slack(y), one.slack(y), atol=1e-10)
        np.testing.assert_allclose(two.along(y), one.along(y), atol=1e-10)
        np.testing.assert_allclose(two.apply(x), one.apply(x), atol=1e-8)
        np.testing.assert_allclose(two.schur(x, z), one.schur(x, z), atol=1e-7)


@settings(max_examples=100)
@given(
    terms=st.dictionaries(
        st.tuples(*[st.integers(0, 5)] * 3), st.fractions(max_denominator=30), max_size=6
    ),
    point=st.tuples(*[st.fractions(max_denominator=50)] * 3),
)
def test_values_are_the_sums_of_their_terms(terms, point):
    p = sos.from_terms(terms, ["x", "y", "z"])
    plain = sum(
        (c * math.prod(x**e for x, e in zip(point, m, strict=True)) for m, c in terms.items()),
        Fraction(0),
    )
    assert p(point) == plain
