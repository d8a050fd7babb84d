"""The verbs from Python and the shell: input, refusals, batches, bounds, hints, exports, bench."""

import json
import re
from fractions import Fraction

import numpy as np
import pytest

from extremal import cli, sos, verify

F = Fraction


# Input


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("2x^4 - 1/2 x y + 3", "2*x^4 - 1/2*x*y + 3"),
        ("(x - 0.1)^2", "x^2 - 1/5*x + 1/100"),
        ("x**2*y**2 + 1e-3", "x^2*y^2 + 1/1000"),
        ("-(x-y)*(x+y)/2", "-1/2*x^2 + 1/2*y^2"),
        ("x*-2 + 3", "-2*x + 3"),
        ("x2 + x10", "x2 + x10"),
        ("x - x", "0"),
    ],
)
def test_text_is_read_exactly(text, plain):
    assert str(sos.parse(text)) == plain
    assert str(sos.parse(str(sos.parse(text)))) == plain


@pytest.mark.parametrize("count", [20, 60, 120, 400])
def test_long_text_is_no_file_name(count):
    text = " + ".join(f"x{i}^2" for i in range(count))
    assert len(sos.read(text).terms) == count
    assert sos.certify(text).verdict.name == "CERTIFIED_SOS"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("x^2 +", "cut off"),
        ("(x", "not closed"),
        ("x^-1", "nonnegative integer"),
        ("x^1.5", "nonnegative integer"),
        ("1/x", "division"),
        ("x $ y", "not understood"),
        ("x^99999999", "over 10000"),
        ("3/0*x", "denominator 0"),
        ("nan(", "cut off"),
    ],
)
def test_what_is_no_polynomial_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        sos.parse(text)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({(2,): float("nan")}, "no exact value"),
        ({(2,): float("inf")}, "no exact value"),
        ({(2,): 1j}, "complex"),
        ({(-1,): 1}, "outside"),
        ({(0.5,): 1}, "not an integer"),
        ({(2,): 1, (1, 1): 1}, "ragged"),
        ({(2,): None}, "not an exact number"),
    ],
)
def test_terms_are_refused_by_name(terms, message):
    with pytest.raises(ValueError, match=message):
        sos.certify(terms)


def test_more_refusals():
    with pytest.raises(ValueError, match="unknown variable 'y'"):
        sos.certify("x + y", variables="x")
    with pytest.raises(ValueError, match="ragged: 0 are expected"):
        sos.from_terms({(1,): 1}, [])
    with pytest.raises(ValueError, match="not distinct"):
        sos.from_terms({(1, 1): 1}, ["x", "x"])
    with pytest.raises(ValueError, match="coefficients"):
        sos.from_arrays([[1], [2]], [1])
    with pytest.raises(ValueError, match="growth"):
        sos.certify("x^2", growth=1.0)
    with pytest.raises(TypeError, match="no such option"):
        sos.certify("x^2", growht=2.0)


def test_floats_are_read_as_said():
    decimal = sos.certify({(2,): 0.1})
    assert decimal.polynomial.terms == {(2,): F(1, 10)}
    assert any("shortest decimals" in n for n in decimal.notes)
    binary = sos.certify({(2,): 0.1}, floats="binary")
    assert binary.polynomial.terms == {(2,): F(0.1)}
    assert any("binary" in n for n in binary.notes)


def test_sympy_goes_both_ways():
    sympy = pytest.importorskip("sympy")
    x, y = sympy.symbols("x y")
    p = sos.from_sympy((x - y) ** 2 + sympy.Rational(1, 3))
    assert str(p) == "x^2 - 2*x*y + y^2 + 1/3"
    assert sympy.expand(p.as_sympy() - (x - y) ** 2 - sympy.Rational(1, 3)) == 0
    result = sos.certify((x - y) ** 2 + 1)
    assert sympy.expand(result.as_sympy()) == sympy.expand((x - y) ** 2 + 1)
    with pytest.raises(ValueError, match=r"not a polynomial|not rational"):
        sos.from_sympy(sympy.sin(x))


# Trivial polynomials


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("x - x", "CERTIFIED_SOS"),
        ("3", "CERTIFIED_SOS"),
        ("-3", "NEGATIVE"),
        ("x", "NEGATIVE"),
        ("x^3 + 1", "NEGATIVE"),
        ("-x^2", "NEGATIVE"),
        ("x^2*y", "NEGATIVE"),
        ("x^2*y^4", "CERTIFIED_SOS"),
        ("x^4 - 2*x^2 + 999/1000", "NEGATIVE"),
        ("x^4 - 2*x^2 + 1", "CERTIFIED_SOS"),
    ],
)
def test_small_cases(text, verdict):
    result = sos.certify(text)
    assert result.verdict.name == verdict
    assert result.certificate.check().accepted


# Limits


def test_memory_is_refused_before_it_is_taken():
    rows = np.indices((40, 40, 5)).reshape(3, -1).T
    p = sos.from_terms({(78, 78, 8): 1, (0, 0, 0): 1})
    with pytest.raises(sos.MemoryLimitError, match="MiB"):
        sos.gram_problem(p, [rows], memory=1 << 20)
    result = sos.certify(p, memory_mib=1)
    assert result.verdict.name in {"CERTIFIED_SOS", "UNKNOWN"}
    crowded = sos.certify("x^40+y^40+z^40-x^13*y^13*z^13", basis="newton", lattice=50)
    assert crowded.verdict.name == "UNKNOWN"
    assert "raise the limit on lattice points" in crowded.reason


def test_a_time_limit_ends_in_unknown_not_in_a_verdict():
    p = sos.planted("dense", 5, 10, 20, seed=0).p - F(1, 10**9)
    result = sos.certify(p, seconds=1e-9)
    assert result.verdict.name in {"UNKNOWN", "CERTIFIED_SOS", "NEGATIVE"}


# Hints


def test_squares_as_a_hint():
    good = sos.certify("x^2 - 2*x*y + y^2 + 1", squares=("x - y", "1"))
    assert good.verdict.name == "CERTIFIED_SOS"
    assert good.certificate.check().accepted
    bad = sos.certify("x^2 - 2*x*y + y^2 + 1", squares=("x - y",))
    assert bad.verdict.name == "UNKNOWN"
    assert "coefficient of 1 is off by 1" in bad.reason


def test_a_float_gram_matrix_becomes_a_proof():
    rng = np.random.default_rng(0)
    p = sos.parse("2*x^4+2*x^3*y-x^2*y^2+5*y^4")
    q = np.array([[2, 1, -1], [1, 1, 0], [-1, 0, 5]]) + 1e-7 * rng.standard_normal()
    basis = [[2, 0], [1, 1], [0, 2]]
    assert sos.from_gram(p, basis, q).certificate.check().accepted
    with pytest.raises(ValueError, match="not symmetric"):
        sos.from_gram(p, basis, [[2, 1, 0], [0, 1, 0], [0, 0, 5]])
    with pytest.raises(ValueError, match="twice"):
        sos.from_gram(p, [[2, 0], [2, 0], [0, 2]], np.eye(3))
    with pytest.raises(sos.SosError, match="no product of two"):
        sos.from_gram(p, [[2, 0], [0, 2]], np.eye(2))
    far = sos.from_gram(p, basis, -np.eye(3))
    assert far.verdict.name == "UNKNOWN"


# Bounds


@pytest.mark.parametrize(
    ("text", "options", "value"),
    [
        ("(1-x)^2 + 100*(y-x^2)^2", {}, 0),
        ("x^2 - 2*x", {}, -1),
        ("x*y", {"box": "-1 1"}, -1),
        ("-x1*x2-x3^2+x4*x1", {"box": "0 1"}, -2),
        ("7", {}, 7),
    ],
)
def test_an_optimum_that_is_rational_is_found(text, options, value):
    found = sos.bound(text, **options)
    assert found.value == value
    assert found.exact
    assert found.certificate.check().accepted


@pytest.mark.parametrize(
    ("text", "options", "optimum"),
    [
        ("x^4-3*x+1", {}, -1.0442606669361572),
        ("(4-2.1*x^2+x^4/3)*x^2+x*y+(4*y^2-4)*y^2", {}, -1.031628453489877),
        ("x+y", {"constraints": ("1-x^2-y^2",)}, -(2**0.5)),
        ("x+y", {"ball": "1"}, -(2**0.5)),
        ("x^4*y^2+x^2*y^4-3*x^2*y^2", {"box": "-1 1"}, -1.0),
    ],
)
def test_a_bound_is_close_below_the_optimum(text, options, optimum):
    found = sos.bound(text, **options)
    assert found.certificate.check().accepted
    # Six decimals are the default; one unit below the last is allowed.
    assert optimum - 3e-6 <= found.value <= optimum + 1e-12
    if found.upper is not None:
        assert found.value <= found.upper


def test_what_has_no_such_bound_is_unknown():
    motzkin = "x^4*y^2 + x^2*y^4 - 3*x^2*y^2"
    assert sos.bound(motzkin).verdict.name == "UNKNOWN"
    assert sos.bound("x^3").verdict.name == "UNKNOWN"
    assert sos.bound("x^3").exit_code == 3
    for box in ("1", "1 -1", "0 1 2"):
        with pytest.raises(ValueError, match="box"):
            sos.bound("x^2", box=box)
    with pytest.raises(ValueError, match="order 1 is too low"):
        sos.bound("x^4", box="-1 1", order=1)


# Bases and solvers


@pytest.mark.parametrize(
    "basis",
    [
        "auto", "full", "newton", "diagonal", "tssos", "chordal", "correlative", "even-support",
        "lp-vertices",
    ],
)  # fmt: skip
def test_every_basis_proves_an_easy_one(basis):
    result = sos.certify("x^4 + y^4 + z^4 + x^2*y^2 + 1 - x*y", basis=basis)
    assert result.verdict.name == "CERTIFIED_SOS"
    assert result.certificate.check().accepted


@pytest.mark.parametrize("solver", ["kernel", "moment", "scs", "clarabel", "dsos", "sdsos"])
def test_every_solver_proves_an_easy_one(solver):
    result = sos.certify("x^4 + y^4 + 1 - x*y", solver=solver)
    assert result.verdict.name == "CERTIFIED_SOS"
    assert result.stages[0].solver == solver
    assert result.certificate.check().accepted


def test_an_inner_cone_that_fails_refutes_nothing():
    # A square with all signs mixed is not diagonally dominant in this basis.
    p = "(x+y+z)^2 + 1/100*(x^2+y^2+z^2)"
    assert sos.certify(p).verdict.name == "CERTIFIED_SOS"
    assert sos.certify(p, solver="dsos").verdict.name in {"CERTIFIED_SOS", "UNKNOWN"}


def test_restrictions_never_refute():
    p = "(x^2+2*x*y-2*y^2)^2+1/10*(x^6+y^6+x^2+y^2)"
    for basis in ("even-support", "lp-vertices", "chordal", "correlative"):
        assert sos.certify(p, basis=basis).verdict.name in {"UNKNOWN", "CERTIFIED_SOS"}


# Exports


def test_exports_state_the_same_identity():
    result = sos.certify("2*x_1^4 + 2*x_1^3*yy - x_1^2*yy^2 + 5*yy^4")
    assert (sos.parse(result.as_text()) - result.polynomial).terms == {}
    lean = result.as_lean("example_1")
    assert "theorem example_1 (x_1 yy : \u211d)" in lean
    body = lean.split("have identity : ")[1].split(" := by")[0].replace(": \u211d", "")
    left, right = body.split(" =\n")
    assert (sos.parse(left) - sos.parse(right)).terms == {}
    latex = result.as_latex()
    assert latex.startswith("\\begin{align*}")
    assert latex.count("{") == latex.count("}")
    assert "x_{1}^{4}" in latex
    with pytest.raises(sos.NotCertified, match="NEGATIVE"):
        sos.certify("x").as_text()


# Runs, batches, the shell


def test_a_run_is_written_verified_and_resumed(tmp_path):
    out = tmp_path / "run"
    result = sos.certify("x^4 + y^4 - 2*x^2*y^2 + 1", out=out)
    assert verify.file(out).accepted
    assert json.loads((out / "result.json").read_text())["verdict"] == "CERTIFIED_SOS"
    assert (out / "squares.lean").exists()
    assert (out / "report.html").read_text().count("<figure>") == 1
    again = sos.certify("x^4 + y^4 - 2*x^2*y^2 + 1", out=out, resume=True)
    assert again.certificate == result.certificate
    with pytest.raises(Exception, match="exists already"):
        sos.certify("x^4 + y^4 - 2*x^2*y^2 + 1", out=out)
    with pytest.raises(Exception, match="another configuration"):
        sos.certify("x^4 + 1", out=out, resume=True)


MANY = """# three
good: x^4 - 2*x^2 + 1
motzkin: x^4*y^2 + x^2*y^4 + 1 - 3*x^2*y^2
x^2 - 1
"""


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_file_of_many(tmp_path, executor):
    (tmp_path / "many.txt").write_text(MANY)
    batch = sos.certify(str(tmp_path / "many.txt"), out=tmp_path / "out", executor=executor)
    assert {n: r["verdict"] for n, r in batch.results.items()} == {
        "good": "CERTIFIED_SOS",
        "motzkin": "CERTIFIED_NOT_SOS",
        "4": "NEGATIVE",
    }
    assert batch.exit_code == 1
    for r in batch.results.values():
        assert verify.file(r["certificate"]).accepted


def test_a_batch_is_resumed_without_repeating(tmp_path, monkeypatch):
    (tmp_path / "many.txt").write_text(MANY)
    full = sos.certify(str(tmp_path / "many.txt"), out=tmp_path / "a")
    records = (tmp_path / "a" / "records.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "a" / "records.jsonl").write_text(records[0] + records[1][:40])  # killed
    import sys

    done = []
    real = sys.modules["extremal.sos._certify"].solve

    def counted(p, settings):
        done.append(str(p))
        return real(p, settings)

    monkeypatch.setattr(sys.modules["extremal.sos._certify"], "solve", counted)
    again = sos.certify(str(tmp_path / "many.txt"), out=tmp_path / "a", resume=True)
    assert len(done) == 2
    assert {n: r["verdict"] for n, r in again.results.items()} == {
        n: r["verdict"] for n, r in full.results.items()
    }


def test_a_bad_line_is_named(tmp_path):
    (tmp_path / "many.txt").write_text("x^2\ny^\n")
    with pytest.raises(ValueError, match=r"line 2 of .*many\.txt"):
        sos.certify(tmp_path / "many.txt")
    (tmp_path / "p.json").write_text('{"variables": ["x"], "terms": [[[2], "1/2"], [[0], 1]]}')
    assert sos.certify(tmp_path / "p.json").verdict.name == "CERTIFIED_SOS"
    (tmp_path / "q.json").write_text('{"variables": ["x"]')
    with pytest.raises(ValueError, match="this JSON is no polynomial"):
        sos.certify(tmp_path / "q.json")


@pytest.mark.parametrize(
    ("words", "code", "shown"),
    [
        (["certify", "x^4-2*x^2+1"], 0, "CERTIFIED_SOS"),
        (["certify", "x^4*y^2+x^2*y^4+1-3*x^2*y^2"], 1, "CERTIFIED_NOT_SOS"),
        (["certify", "x^2-1"], 1, "NEGATIVE"),
        (["certify", "x^4+x*y^3+y^4-3*x^2*y*z-4*x*y^2*z+2*x^2*z^2+x*z^3+y*z^3+z^4"], 3,
         "NUMERICAL_SOS"),
        (["bound", "x^2-2*x"], 0, "p >= -1, attained at x = 1"),
        (["bound", "x^3"], 3, "UNKNOWN"),
        (["bench", "--variables", "3", "--degree", "4", "--basis", "4", "--count", "2"], 0, "2/2"),
    ],
)  # fmt: skip
def test_the_shell(words, code, shown, capsys):
    assert cli.main(["sos", *words]) == code
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["certify", "x^"], "exponent is a nonnegative integer"),
        (["certify", "missing.txt"], "missing.txt"),
        (["certify", "x^2", "--oracle", "nowhere"], "nowhere holds no model"),
        (["certify", "x^2", "--growth", "0.5"], "growth is a factor over 1"),
        (["bench", "--degree", "5"], "even"),
        (["train"], "give --out"),
    ],
)
def test_bad_words_are_one_line_and_exit_2(words, shown, capsys):
    if words[0] == "train" or "--oracle" in words:
        pytest.importorskip("torch")
    assert cli.main(["sos", *words]) == 2
    said = capsys.readouterr()
    assert shown in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_json_for_machines(capsys):
    assert cli.main(["sos", "certify", "x^2+1", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["verdict"] == "CERTIFIED_SOS"
    assert body["squares"] == 2


def test_planted_examples_are_exact_and_repeat():
    for structure in ("dense", "sparse", "low-rank", "block"):
        a = sos.planted(structure, 4, 6, 10, seed=5)
        b = sos.planted(structure, 4, 6, 10, seed=5)
        assert a.p == b.p
        assert all(c.denominator <= 10**4 for c in a.p.terms.values())
        assert len(sos.uncovered(a.basis, a.p.support)) == 0
        assert a.p.degree <= 6
    with pytest.raises(ValueError, match="is even and at least 2, got 5"):
        sos.planted("dense", 4, 5, 10, seed=5)


@pytest.mark.slow
def test_the_smallest_cell_of_the_grid():
    found = sos.bench(structure="low-rank", variables=4, degree=6, basis=20, count=20)
    assert found.certified >= 19
    assert found.wrong == 0
    assert found.table().rows[0][5] == 0


def test_bench_resumes(tmp_path):
    options = {"variables": 3, "degree": 4, "basis": 4, "count": 3}
    first = sos.bench(**options, out=tmp_path / "b")
    again = sos.bench(**options, out=tmp_path / "b", resume=True)
    assert [r["seconds"] for r in again.rows] == [r["seconds"] for r in first.rows]
    assert re.search("F F'", (tmp_path / "b" / "report.html").read_text().replace("&#39;", "'"))


def test_a_negative_point_is_as_plain_as_it_can_be():
    r = sos.certify("a^4 + b^4 + c^4 + d^4 - 4.01*a*b*c*d")
    assert r.verdict.name == "NEGATIVE"
    assert [abs(x) for x in r.point] == [1, 1, 1, 1]
