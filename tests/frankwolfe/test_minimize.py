"""The convex solver: known optima, every method, files, refusals."""

import importlib.util
import json
import math

import numpy as np
import pytest
import scipy.sparse as sp

from extremal import cli, verify
from extremal import frankwolfe as fw
from extremal.frankwolfe._config import Config
from extremal.frankwolfe._estimators import Metric
from extremal.frankwolfe._minimize import stochastic
from extremal.frankwolfe._regions import Oracle
from extremal.lab import RunError

F_STAR = 0.1301665613  # breast cancer, standardised, no intercept, L1 radius 5
A4 = np.array([[1.0, 0], [0, 1], [1, 1], [1, -1]])
B4 = np.array([1.0, 2, 0, -1])


@pytest.fixture(scope="module")
def cancer():
    data = pytest.importorskip("sklearn.datasets").load_breast_cancer()
    X = data.data
    return (X - X.mean(0)) / X.std(0), data.target


@pytest.mark.parametrize("method", ["pairwise", "away", "auto"])
def test_breast_cancer_to_a_tiny_gap(cancer, method):
    best = fw.minimize(fw.LogisticLoss(*cancer), fw.L1Ball(5.0), method=method, gap=1e-8)
    assert best.status == "optimal"
    assert best.gap <= 1e-8
    assert best.value == pytest.approx(F_STAR, abs=1e-9)
    # The active set is a convex combination of vertices, and it is x.
    assert best.weights.min() > 0
    assert best.weights.sum() == pytest.approx(1.0, abs=1e-14)
    np.testing.assert_allclose(best.weights @ best.atoms, best.x, atol=1e-14)
    assert (np.abs(best.atoms).sum(1) == 5.0).all()


def test_labels_of_zero_and_one_in_a_signed_loss_are_another_problem(cancer):
    # The published experiment: optimum .33027 rather than .13017.
    X, y = cancer

    def unconverted(x):
        z = y * (X @ x)
        g = X.T @ (-y / (1 + np.exp(z))) / len(y)
        return float(np.logaddexp(0, -z).mean()), g

    best = fw.minimize(unconverted, fw.L1Ball(5.0), shape=(30,), gap=1e-7)
    assert best.status == "optimal"
    assert best.value == pytest.approx(0.3302713919, abs=1e-7)
    assert best.certificate is None


@pytest.mark.parametrize("step", ["agnostic", "short", "backtracking", "line-search", "sqrt"])
@pytest.mark.parametrize("method", ["frank-wolfe", "lazy"])
def test_every_step_rule_descends_to_the_optimum(cancer, method, step):
    best = fw.minimize(
        fw.LogisticLoss(*cancer),
        fw.L1Ball(5.0),
        method=method,
        step=step,
        gap=0.05,
        iterations=3000,
    )
    assert best.status == "optimal"
    assert F_STAR - 1e-9 <= best.value <= F_STAR + 0.05
    assert bool(best.region.contains(best.x, 1e-12))


def test_lazy_calls_the_oracle_less_often(cancer):
    f = fw.LogisticLoss(*cancer)
    lazy, plain = (
        fw.minimize(f, fw.L1Ball(5.0), method=m, gap=1e-3) for m in ("lazy", "frank-wolfe")
    )
    assert lazy.status == plain.status == "optimal"
    assert lazy.lmo_calls < plain.lmo_calls / 5


CORNER = fw.SquaredLoss(np.eye(3), [2.0, -1.0, 0.5])


@pytest.mark.parametrize(
    "region",
    [
        fw.L1Ball(1.0), fw.L2Ball(0.5), fw.LinfBall(0.3), fw.KSparse(0.5, k=2), fw.KNorm(1.0, k=2),
        fw.Simplex(1.0), fw.KSupport(0.9, k=2), fw.Box(-0.2, 0.4), fw.LpBall(0.8, p=3),
        fw.Permutahedron((0.0, 0.5, 1.0)), fw.OWLBall(1.0, weights=(2, 1, 1)),
    ],
    ids=str,
)  # fmt: skip
def test_a_squared_distance_is_minimised_at_the_projection(region):
    best = fw.minimize(CORNER, region, gap=1e-7)
    np.testing.assert_allclose(best.x, region.project(np.array([2.0, -1.0, 0.5])), atol=2e-3)
    assert best.status == "optimal"


@pytest.mark.parametrize(
    ("ell", "gap"),
    [(2, 0.0047998399520), pytest.param(10, 0.0239991927, marks=pytest.mark.slow)],
)
def test_cross_language_trajectory(ell, gap):
    # FrankWolfe.jl's suite asserts these as upper bounds; K-sparse(40, 1) in 100 dimensions.
    n, k = 100, 40
    start = np.zeros(n)
    start[:k] = -1.0
    found = fw.minimize(
        lambda x: (float(((x - 1) ** 2).sum()), 2 * (x - 1)),
        fw.KSparse(1.0, k=k),
        start=start,
        method="frank-wolfe",
        step="agnostic",
        agnostic=ell,
        iterations=10_001,
        gap=1e-12,
    )
    assert found.trace[-1].gap == pytest.approx(gap, abs=1e-9)
    assert found.value == pytest.approx(36.0, abs=0.05)


def course(method, d=None, adaptive=None):
    """Directions and points of the four-step example of the specification."""
    seen = []
    model = fw.SquaredLoss(A4, B4)
    config = Config(method=method, iterations=4, gap=1e-300, batch_size=1, region="l1")
    stochastic(
        model,
        fw.L1Ball(1.0),
        config,
        np.array([1.0, 0.0]),
        draws=[np.array([i]) for i in (0, 2, 1, 3, 0)],
        step_at=lambda t: 1 / (t + 2),
        seen=lambda t, d, x: seen.append((d.copy(), x.copy())),
    )
    return [d for d, _ in seen], seen[-1][1]


@pytest.mark.parametrize(
    ("method", "directions", "end"),
    [
        ("svrf", [(3 / 4, -3 / 4), (0, -3 / 4), (0, -5 / 12), (0, -3 / 8)], (0, 3 / 5)),
        ("1-sfw", [(0, 0), (1 / 2, 1 / 2), (1 / 3, -1 / 3), (1 / 4, -1 / 4)], (-1 / 5, 0)),
        ("csfw", [(0, 0), (1 / 4, 1 / 4), (1 / 4, -1 / 4), (1 / 2, -1 / 2)], None),
        ("sfw", [(0, 0), (1, 1), (0, -2), (1, -1)], (0, 1 / 5)),
    ],
)
def test_estimators(method, directions, end):
    found, x = course(method)
    np.testing.assert_allclose(found, directions, atol=1e-12)
    if end is not None:
        np.testing.assert_allclose(x, end, atol=1e-12)


def test_spider_after_one_full_gradient():
    from extremal.frankwolfe._estimators import Estimator

    model, region = fw.SquaredLoss(A4, B4), fw.L1Ball(1.0)
    estimator, x, found = Estimator("spider", model), np.array([1.0, 0.0]), []
    for t, i in enumerate((0, 2, 1, 3)):
        d = estimator.direction(t, x, np.array([i]))
        found.append(d)
        x = x + (region.lmo(d) - x) / (t + 2)
    expected = [(3 / 4, -3 / 4), (-1 / 4, -7 / 4), (-1 / 4, -17 / 12), (-5 / 12, -5 / 4)]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(x, (0, 3 / 5), atol=1e-12)


def test_the_example_has_its_optimum_at_a_vertex():
    best = fw.minimize(fw.SquaredLoss(A4, B4), fw.L1Ball(1.0), gap=1e-10)
    np.testing.assert_allclose(best.x, (0, 1), atol=1e-4)
    assert best.value == pytest.approx(3 / 8, abs=1e-9)


@pytest.mark.parametrize(
    ("inner", "betas", "points"),
    [
        (1, None, [(0.1, 0, 0), (0.1688749, 0, 0), (0.2241785, 0, 0), (0.2714430, 0, 0)]),
        (
            2,
            None,
            [
                (0.0901960781, -0.0980392147, 0),
                (0.1436606876, -0.1595416428, 0),
                (0.1815954963, -0.2039667094, 0),
            ],
        ),
        (5, None, [(0.0978763398, -0.0989740842, 0.0885054853)]),
        (
            2,
            (0.9, 0.999),
            [(0.2328944156, -0.2635230758, 0), (0.4305861678, -0.3566136564, 0)],
        ),
    ],
)
def test_adaptive_steps(inner, betas, points):
    c = np.array([2.0, -1.0, 0.5])
    metric = Metric(inner, eta=0.1, delta=1e-8, betas=betas)
    x = np.zeros(3)
    for point in points:
        x = metric.move(x, x - c, fw.L1Ball(1.0))
        np.testing.assert_allclose(x, point, atol=1e-7)


@pytest.mark.parametrize(
    "method", ["sfw", "msfw", "svrf", "spider", "1-sfw", "orgfw", "csfw", "saga"]
)
@pytest.mark.parametrize("adaptive", [False, True])
def test_stochastic_methods_come_near(cancer, method, adaptive):
    found = fw.minimize(
        fw.LogisticLoss(*cancer), fw.L1Ball(5.0), method=method, adaptive=adaptive,
        batch_size=30, passes=20.0, iterations=10_000, gap=1e-6,
    )  # fmt: skip
    assert found.status == "limit"
    assert found.exit_code == 3
    # The start has value 1.08; plain SFW stays far off on a fixed batch, as theory says.
    assert found.value - F_STAR < (0.1 if method == "sfw" else 0.03)
    assert found.value - found.gap <= F_STAR + 1e-9  # the bound is a bound
    assert 20 <= found.gradients <= 22
    assert bool(found.region.contains(found.x, 1e-12))


def test_sparse_and_dense_agree(rng):
    X = np.where(rng.random((50, 20)) < 0.2, rng.standard_normal((50, 20)), 0.0)
    y = rng.integers(0, 2, 50)
    one, two = (
        fw.minimize(fw.SquaredHinge(m, y, ridge=0.1), fw.L1Ball(2.0), gap=1e-9)
        for m in (X, sp.csc_matrix(X))
    )
    np.testing.assert_allclose(one.x, two.x, atol=1e-4)
    assert one.value == pytest.approx(two.value, abs=2e-9)


@pytest.mark.parametrize("kind", [fw.LogisticLoss, fw.SquaredLoss, fw.SquaredHinge])
@pytest.mark.parametrize("sparse", [False, True])
def test_gradients_and_curvature(kind, sparse, rng):
    X, y = rng.standard_normal((30, 5)), rng.integers(0, 2, 30)
    f = kind(sp.csr_matrix(X) if sparse else X, y, ridge=0.3)
    x, d = rng.standard_normal((2, 5))
    h = 1e-5
    numeric = (f(x + h * d)[0] - f(x - h * d)[0]) / (2 * h)
    assert f(x)[1] @ d == pytest.approx(numeric, rel=1e-6)
    change = np.linalg.norm(f(x + d)[1] - f(x)[1])
    assert change <= f.lipschitz() * np.linalg.norm(d) * (1 + 1e-9)


def test_matrix_completion_recovers_a_low_rank_matrix(rng):
    truth = np.outer(rng.standard_normal(8), rng.standard_normal(6))
    known = rng.random((8, 6)) < 0.8
    at = np.nonzero(known)
    f = fw.MatrixCompletion(*at, truth[known], shape=(8, 6))
    radius = float(np.linalg.svd(truth, compute_uv=False).sum())
    best = fw.minimize(f, fw.NuclearBall(radius), gap=1e-3, iterations=5000)
    assert best.status == "optimal"
    assert np.linalg.norm(best.x - truth) < 0.35 * np.linalg.norm(truth)


def test_a_region_from_one_function(cancer):
    ball = fw.L1Ball(5.0)
    best = fw.minimize(fw.LogisticLoss(*cancer), lambda g: ball.lmo(g), method="pairwise", gap=1e-6)
    assert best.value == pytest.approx(F_STAR, abs=1e-6)
    assert best.status == "optimal"


def test_a_path_of_radii_warm_starts(cancer):
    f = fw.LogisticLoss(*cancer)
    found = fw.path(f, fw.L1Ball(1.0), [1.0, 2.0, 5.0], gap=1e-7)
    assert [p.region.radius for p in found] == [1.0, 2.0, 5.0]
    assert found[0].value > found[1].value > found[2].value
    assert found[-1].value == pytest.approx(F_STAR, abs=1e-7)


def test_the_iteration_table_has_a_fixed_width(cancer):
    best = fw.minimize(fw.LogisticLoss(*cancer), fw.L1Ball(5.0), gap=1e-8)
    lines = best.iterations().as_text().splitlines()[2:]
    assert len({len(line) for line in lines}) == 1
    assert len(lines) > 5


def test_a_run_is_written_verified_and_taken_up(cancer, tmp_path):
    f, out = fw.LogisticLoss(*cancer), tmp_path / "run"
    best = fw.minimize(f, fw.L1Ball(5.0), gap=1e-8, out=out)
    assert verify.file(best.certificate).accepted
    drawn = all(importlib.util.find_spec(m) for m in ("matplotlib", "jinja2"))
    assert (out / "report.html").exists() == drawn
    with pytest.raises(RunError, match="exists already"):
        fw.minimize(f, fw.L1Ball(5.0), gap=1e-8, out=out)
    again = fw.minimize(f, fw.L1Ball(5.0), gap=1e-8, out=out, resume=True)
    np.testing.assert_array_equal(again.x, best.x)
    assert again.trace == best.trace
    with pytest.raises(RunError, match="another configuration"):
        fw.minimize(f, fw.L1Ball(4.0), gap=1e-8, out=out, resume=True)
    (out / "result.json").unlink()  # killed before the end: computed again, to the same bits
    third = fw.minimize(f, fw.L1Ball(5.0), gap=1e-8, out=out, resume=True)
    np.testing.assert_array_equal(third.x, best.x)


SVM = "+1 1:0.5 3:2 # a comment\n-1 2:1.5\n\n+1 1:1 2:-1 3:0.25\n-1 qid:4 1:-1\n"


def test_the_shell_minimises_an_svmlight_file(tmp_path, capsys):
    file = tmp_path / "data.svm"
    file.write_text(SVM)
    out = tmp_path / "opt"
    words = ["frankwolfe", "minimize", str(file), "--loss", "logistic", "--region", "l1"]
    assert cli.main([*words, "--radius", "2", "--gap", "1e-8", "--out", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["status"] == "optimal"
    assert cli.main(["verify", str(out / "certificate.json")]) == 0
    capsys.readouterr()
    assert cli.main([*words, "--radius", "2", "--iterations", "2", "--gap", "1e-12"]) == 3
    assert "limit" in capsys.readouterr().out
    X, y = fw.read_svmlight(file)
    np.testing.assert_array_equal(X.toarray()[0], [0.5, 0, 2])
    np.testing.assert_array_equal(y, [1, -1, 1, -1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 a:2\n", "line 1 of"),
        ("1 1:2\n1 2:1 1:3\n", "line 2 of"),
        ("1 0:2\n", "below 1"),
        ("", "no example"),
        ("1\n-1\n", "no feature"),
        ("1 1:nan\n-1 1:1\n", "NaN"),
        ("1 1:1\n1 1:2\n", "1 different labels"),
    ],
)
def test_bad_files_are_one_line_and_exit_2(tmp_path, capsys, text, said):
    file = tmp_path / "bad.svm"
    file.write_text(text)
    assert cli.main(["frankwolfe", "minimize", str(file)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda f: fw.minimize(f, fw.L1Ball(1.0), gap=0.0), "gap=0.0"),
        (lambda f: fw.minimize(f, fw.L1Ball(1.0), method="x"), "method='x'"),
        (lambda f: fw.minimize(f, fw.L1Ball(1.0), inner_steps=0), "inner_steps=0"),
        (lambda f: fw.minimize(f, fw.L1Ball(1.0), eta=-1.0), "eta=-1.0"),
        (lambda f: fw.minimize(f, fw.L1Ball(1.0), start=np.ones(3)), "outside"),
        (lambda f: fw.minimize(f, fw.L1Ball(1.0), start=np.zeros(2)), "shape"),
        (lambda f: fw.minimize(f, fw.KSparse(1.0, k=9)), "k=9"),
        (lambda f: fw.minimize(f, fw.L1Ball(1.0), adaptive=True), "adaptive=True"),
        (lambda f: fw.minimize(f, fw.L1Ball(1.0), adam=True), "adam=True"),
        (lambda f: fw.minimize(lambda x: f(x), fw.L1Ball(1.0)), "shape of x"),
        (
            lambda f: fw.minimize(lambda x: f(x), fw.L1Ball(1.0), shape=(3,), method="sfw"),
            "finite sum",
        ),
        (lambda f: fw.minimize(lambda x: (math.nan, x), fw.L1Ball(1.0), shape=(3,)), "finite"),
        (
            lambda f: fw.minimize(lambda x: f(x), fw.L1Ball(1.0), shape=(3,), step="short"),
            "lipschitz",
        ),
        (lambda f: fw.minimize(f, fw.L1Ball(1.0), method="svrf", step="short"), "exact gradients"),
        (lambda f: fw.minimize(3, fw.L1Ball(1.0)), "no problem"),
        (lambda f: fw.SquaredLoss(np.ones((2, 2)), [1.0]), "2 rows but 1 labels"),
        (lambda f: fw.SquaredLoss(np.full((2, 2), np.inf), [1.0, 2.0]), "NaN or infinity"),
        (lambda f: fw.SquaredLoss(np.ones((2, 2)), [1.0, 2.0], ridge=-1.0), "ridge"),
        (lambda f: fw.MatrixCompletion([5], [0], [1.0], shape=(2, 2)), "row number"),
    ],
)
def test_refusals(call, text):
    with pytest.raises(ValueError, match=text):
        call(CORNER)


def test_what_nobody_could_check_is_not_written(tmp_path):
    with pytest.raises(fw.FrankWolfeError, match="could not be checked"):
        fw.minimize(lambda x: CORNER(x), fw.L1Ball(1.0), shape=(3,), out=tmp_path / "o")
    oracle = Oracle(fw.L1Ball(1.0).lmo)
    assert fw.minimize(CORNER, oracle, iterations=200, gap=1e-3).status == "optimal"
    with pytest.raises(fw.FrankWolfeError, match="no certificate"):
        fw.minimize(CORNER, oracle, gap=1e-3).save(tmp_path)


def test_sliding_keeps_its_bound_and_spares_gradients(cancer):
    model, region = fw.LogisticLoss(*cancer), fw.L1Ball(5.0)
    whole = fw.minimize(model, region, method="scgs", batch_size=model.n, iterations=60, gap=1e-9)
    constant = 7.5 * model.lipschitz() * region.diameter((30,)) ** 2  # Lan and Zhou, theorem 2.2
    for row in whole.trace[1:]:
        k = row.iteration
        assert row.value - F_STAR <= constant / ((k + 1) * (k + 2))
    assert whole.lmo_calls > whole.gradients
    part = fw.minimize(model, region, method="scgs", batch_size=5, passes=30.0, iterations=1000)
    assert part.value - F_STAR < 0.1 < part.trace[0].value - F_STAR
    assert part.gradients <= 32


@pytest.mark.parametrize("options", [{"adaptive": True}, {"step": "fixed"}])
def test_sliding_has_its_own_steps(options):
    with pytest.raises(ValueError, match="scgs"):
        fw.minimize(CORNER, fw.L1Ball(1.0), method="scgs", **options)


def test_a_region_by_name_is_the_option():
    named = fw.minimize("breast-cancer", "l1", radius=5.0, gap=1e-6)
    option = fw.minimize("breast-cancer", region="l1", radius=5.0, gap=1e-6)
    object_ = fw.minimize("breast-cancer", fw.L1Ball(5.0), gap=1e-6)
    assert named.value == option.value == object_.value
