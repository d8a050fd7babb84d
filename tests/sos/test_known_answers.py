"""Fifteen families with known verdicts, sizes and margins; every certificate is checked."""

import dataclasses
import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from extremal import sos

_SPEC = importlib.util.spec_from_file_location("known", Path(__file__).with_name("_known.py"))
known = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(known)


def settled(lower, upper):
    return upper - lower < 1e-9 * max(1.0, abs(upper))


@pytest.mark.parametrize("name", known.KNOWN)
def test_verdict_and_certificate(name):
    text, verdict, *_ = known.KNOWN[name]
    result = sos.certify(text)
    assert result.verdict.name == verdict, result.reason
    if verdict == "NUMERICAL_SOS":
        assert result.certificate is None
        assert result.residual < 1e-6
        return
    checked = result.certificate.check()
    assert checked.accepted, checked.reason
    if verdict == "CERTIFIED_SOS":
        again = sum((sos.parse(_square(result, s)) for s in result.squares), sos.parse("0"))
        p = sos.parse(text)
        assert (again - p).terms == {}


def _square(result, square):
    inner = sos.Polynomial(result.polynomial.variables, square.terms)
    return f"{square.weight}*({inner})^2"


@pytest.mark.parametrize("name", [n for n, k in known.KNOWN.items() if k[2] is not None])
def test_size_after_consistency(name):
    text, _, size, blocks, _ = known.KNOWN[name]
    bases = sos.Bases(sos.parse(text))
    assert len(bases.consistent) == size
    if blocks is not None:
        found = sorted((len(b) for b in bases.blocks("diagonal")), reverse=True)
        assert found == blocks
        assert sorted((len(b) for b in bases.blocks("tssos")), reverse=True) == blocks


@pytest.mark.parametrize("name", [n for n, k in known.KNOWN.items() if k[4] is not None])
@pytest.mark.parametrize("backend", ["kernel", "moment"])
def test_interior_margin(name, backend):
    text, _, _, _, t = known.KNOWN[name]
    p = sos.parse(text)
    problem = sos.gram_problem(p, sos.Bases(p).blocks("diagonal"))
    margin, _ = sos.solve_margin(problem, settled, backend)
    # The tabulated values have four digits; the solver is far more accurate.
    assert margin.t * problem.scale == pytest.approx(t, abs=6e-5)
    assert margin.upper >= margin.t - 1e-9


@pytest.mark.parametrize("backend", ["scs", "clarabel"])
@pytest.mark.parametrize("name", ["5-robinson", "6-horn", "8-quartic"])
def test_foreign_solvers_agree(name, backend):
    pytest.importorskip(backend)
    text, _, _, _, t = known.KNOWN[name]
    p = sos.parse(text)
    problem = sos.gram_problem(p, sos.Bases(p).blocks("diagonal"))
    margin, trouble = sos.solve_margin(problem, settled, backend)
    assert trouble == ""
    assert margin.t * problem.scale == pytest.approx(t, abs=1e-4)
    assert margin.upper * problem.scale == pytest.approx(t, abs=1e-3)


def test_1_three_monomials_suffice_and_the_predicted_ones_miss_one_term():
    p = sos.parse("4*x^4+12*x^2*y^2+9*y^4+1")
    even = {tuple(m) for m in sos.Bases(p).even_support.tolist()}
    assert even == {(0, 0), (2, 0), (1, 1), (0, 2)}
    predicted = np.array([[2, 0], [1, 1], [0, 0]])
    assert sos.uncovered(predicted, p.support).tolist() == [[0, 4]]
    result = sos.from_gram(p, [[0, 0], [2, 0], [0, 2]], [[1, 0, 0], [0, 4, 6], [0, 6, 9]])
    assert result.verdict.name == "CERTIFIED_SOS"


def test_2_motzkin_is_refuted_by_one_coefficient():
    part = sos.certify(known.MOTZKIN).certificate.parts[0]
    assert part.kind == "sos/refutation"
    assert part.witness["functional"] == {"x^2*y^2": "1"}
    assert len(sos.half_newton(_full_motzkin().support).points) == 4


def _full_motzkin():
    return sos.parse(known.MOTZKIN)


def test_3_the_uncovered_term_refutes_choi_lam():
    part = sos.certify(known.CHOI_LAM).certificate.parts[0]
    assert part.witness["functional"] == {"w*x*y*z": "1"}


def test_multipliers_prove_nonnegativity_and_leave_the_verdict():
    for text in (known.MOTZKIN, known.CHOI_LAM, known.ROBINSON, known.HORN):
        result = sos.certify(text, multipliers=1)
        assert result.verdict.name == "CERTIFIED_NOT_SOS"
        assert result.nonnegative
        assert result.certificate.kinds == ("sos/refutation", "sos/multiplier")
        assert result.certificate.check().accepted


def test_10_the_stated_points_are_negative():
    p = sos.parse(f"{known.STYBLINSKI}+78.3323")
    assert p([Fraction(-29035, 10000)] * 2) < 0
    q = sos.parse(f"{known.CAMEL}+1.0316")
    assert q([Fraction(898, 10000), Fraction(-7127, 10000)]) < 0
    result = sos.certify(p)
    assert p(result.point) < 0


def test_12_coverage_is_not_enough():
    p = sos.parse("(x^2+2*x*y-2*y^2)^2+1/10*(x^6+y^6+x^2+y^2)")
    rows = sos.Bases(p).even_support
    assert {tuple(m) for m in rows.tolist()} == {
        (1, 0), (0, 1), (2, 0), (0, 2), (3, 0), (0, 3),
    }  # fmt: skip
    assert len(sos.uncovered(rows, p.support)) == 0
    problem = sos.gram_problem(p, [rows])
    margin, _ = sos.solve_margin(problem, settled, "kernel")
    assert margin.t * problem.scale == pytest.approx(-3.9, abs=0.1)
    restricted = sos.certify(p, basis="even-support")
    assert restricted.verdict.name == "UNKNOWN"  # infeasible below K(p) proves nothing


def test_13_repair_adds_the_missing_monomial():
    p = sos.parse("x^4+4*x^3-8*x+4")
    rows = sos.Bases(p).even_support
    assert rows.tolist() == [[0], [2]]
    repaired, left = sos.repair(rows, p.support)
    assert repaired.tolist() == [[0], [2], [1]]
    assert len(left) == 0


def test_15_rosenbrock_chain():
    p = sos.parse(known.ROSENBROCK_100)
    rows = sos.Bases(p).even_support
    assert (len(p.terms), len(rows)) == (397, 199)
    assert len(sos.uncovered(rows, p.support)) == 0
    assert sos.gram_problem(p, [rows]).freedom == 98
    result = sos.certify(p)
    assert result.verdict.name == "CERTIFIED_SOS"
    assert result.certificate.check().accepted


def test_15_broyden():
    p = sos.parse(known.BROYDEN_100)
    rows = sos.Bases(p).even_support
    assert (len(p.terms), len(rows)) == (698, 201)
    assert sos.gram_problem(p, [rows]).freedom == 100
    assert sos.certify(p).verdict.name in {"CERTIFIED_SOS", "NUMERICAL_SOS"}
    hinted = sos.certify(p, squares=tuple(known.BROYDEN_SQUARES))
    assert hinted.verdict.name == "CERTIFIED_SOS"
    assert hinted.certificate.check().accepted


def test_an_irrational_zero_with_complex_conjugates_is_certified():
    result = sos.certify("(x^3-2)^2")
    assert result.verdict.name == "CERTIFIED_SOS"
    assert dataclasses.replace(result).certificate.check().accepted
