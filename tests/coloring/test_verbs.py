"""The verbs as a newcomer meets them: answers, files, refusals, exit codes."""

import json
import math

import numpy as np
import pytest

from extremal import cli, coloring, verify
from extremal.coloring import ColoringError, Colouring, Problem, Rule
from extremal.lab import RunError


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    """Seven colours from nothing."""
    out = tmp_path_factory.mktemp("runs") / "seven"
    return coloring.find(Problem.plane(7), budget="120s", grid=24, seed=0, out=out)


def test_seven_colours_from_nothing(seven):
    assert seven.status == "valid"
    assert seven.exit_code == 0
    assert verify.file(seven.path).accepted
    assert (seven.path / "report.html").stat().st_size > 10_000
    low, high = next((a, b) for a, b in seven.spectrum(0).intervals if a <= 1 <= b)
    assert high - low > 0


def test_the_same_seed_gives_the_same_cells(seven):
    again = coloring.find(Problem.plane(7), budget="120s", grid=24, seed=0)
    assert (again.colouring.cells == seven.colouring.cells).all()
    assert again.colouring.lattice == seven.colouring.lattice


def test_a_finished_search_is_resumed_at_once_and_not_overwritten(seven):
    with pytest.raises(RunError, match="--resume"):
        coloring.find(Problem.plane(7), budget="120s", grid=24, seed=0, out=seven.path)
    again = coloring.find(
        Problem.plane(7), budget="120s", grid=24, seed=0, out=seven.path, resume=True
    )
    assert again.rounds == seven.rounds
    assert (again.colouring.cells == seven.colouring.cells).all()


def test_an_impossible_request_ends_open_with_its_numbers(tmp_path):
    found = coloring.find(
        Problem.plane(3), budget="2s", grid=16, starts=2, iterations=500, out=tmp_path / "run"
    )
    assert found.status == "open"
    assert found.exit_code == 3
    assert found.residue > 0
    assert found.certificate is None
    assert not (tmp_path / "run" / "certificate.json").exists()
    assert "open" in found.table().as_text()
    assert coloring.certify(found.colouring, found.problem).status == "invalid"


def test_a_free_colour_is_always_certified(tmp_path):
    found = coloring.find(
        Problem.plane(4, free_color=True), budget="4s", grid=24, starts=4, tries=1, finest=48,
        iterations=2000, out=tmp_path / "run",
    )  # fmt: skip
    assert found.status == "valid"
    # No four colours leave less than 1 - 4 * 0.247 (Ambrus and others).
    assert 1 - 4 * 0.247 < found.free_density < 1
    assert verify.file(tmp_path / "run").accepted


def test_certify_writes_only_what_is_valid(tmp_path):
    path = tmp_path / "c.json"
    assert coloring.certify(coloring.isbell(18), Problem.plane(7), out=path).certificate == path
    assert verify.file(path).accepted
    with pytest.raises(ColoringError, match="--force"):
        coloring.certify(coloring.isbell(18), Problem.plane(7), out=path)
    bad = coloring.certify(coloring.isbell(16), Problem.plane(7), out=tmp_path / "d.json")
    assert bad.status == "invalid"
    assert bad.residue == 4
    assert not (tmp_path / "d.json").exists()


def test_two_rules_make_two_parts(tmp_path):
    """Red: no two at distance 1. Blue: no equilateral triangle of side 1."""
    problem = Problem(
        2, 2,
        (Rule(distance=1, colors=(0,)),
         Rule(points=((1, 0), ("1/2", "sqrt(3/4)")), colors=(1,))),
        free_color=True, objective="min_free",
    )  # fmt: skip
    cells = np.full((10, 10), 2)
    cells[0, 0], cells[5, 5] = 0, 1
    found = Colouring(((4, 0), (0, 4)), cells, 2, free=True)
    path = tmp_path / "c.json"
    assert coloring.certify(found, problem, out=path).status == "valid"
    verdict = verify.file(path)
    assert verdict.accepted
    assert [p.kind for p in verdict.parts] == ["coloring/cells", "coloring/configuration"]


def test_repair_and_formalise(seven, tmp_path):
    cells = seven.colouring.cells.copy()
    cells[3:5, 3:5] = (cells[3:5, 3:5] + 1) % 7
    broken = Colouring(seven.colouring.lattice, cells, 7)
    assert coloring.certify(broken, seven.problem).status == "invalid"
    mended = coloring.repair(broken, seven.problem, out=tmp_path / "run", iterations=50_000)
    assert mended.verdict.status == "valid"
    assert verify.file(tmp_path / "run").accepted
    again = coloring.formalise(seven.colouring, seven.problem, grid=32)
    assert again.verdict.status == "valid"
    assert again.colouring.grid == (32, 32)


def test_exact_repair_gives_a_bound():
    pytest.importorskip("ortools")
    free = coloring.isbell(16)
    start = Colouring(free.lattice, np.where(free.cells == 6, 7, free.cells), 7, free=True)
    problem = Problem.plane(7, free_color=True)
    start = coloring.fill(start, problem, 0)
    best = coloring.recolour(start, problem, band=1, seconds=30.0)
    assert coloring.screen(best.colouring, problem) is None
    assert best.colouring.free_density < start.free_density
    assert best.bound <= best.uncoloured
    assert best.colouring.free_density * 256 == best.uncoloured


def test_polygons_beyond_the_published_interval(tmp_path):
    found = coloring.refine(
        "second-six", color=5, interval=("0.39", "0.658"), rounds=40, out=tmp_path / "run"
    )
    assert found.verdict.status == "valid"
    verdict = verify.file(tmp_path / "run")
    assert verdict.accepted
    assert "colour 5 are at distance in [39/100, 329/500]" in "".join(verdict.parts[0].statements)


def test_cells_are_traced_to_tiles_that_fit():
    found = coloring.isbell(48)
    tiles = coloring.trace(found, 1.0, 0.01)
    assert sorted(tiles.colors) == list(range(7))
    exact = tiles.exact(7, False)
    part = exact.part(Problem.type(*[("5", "5")] * 7))
    from pathlib import Path

    from extremal.verify._proved import coloring_polygons as checker
    from extremal.verify._rejected import Rejected

    with pytest.raises(Rejected, match="two tiles of colour"):  # the tiling itself is accepted
        checker.check(dict(part.claim), dict(part.witness), Path())
    moved, worst = coloring.optimise(tiles, Problem.plane(7), rounds=10)
    assert worst <= 0
    part = moved.exact(7, False).part(Problem.plane(7))
    assert "7 tiles" in checker.check(dict(part.claim), dict(part.witness), Path())[-1]


@pytest.mark.parametrize("ending", ["json", "csv", "svg", "lean"])
def test_export(tmp_path, ending):
    path = coloring.export(coloring.isbell(18), tmp_path / f"c.{ending}", Problem.plane(7))
    text = path.read_text()
    assert "18" in text or ending in ("svg", "csv")
    if ending == "json":
        assert Colouring.from_json(json.loads(text)).grid == (18, 18)
    if ending == "csv":
        rows = [[int(x) for x in row.split(",")] for row in text.splitlines()[1:]]
        assert (np.array(rows) == coloring.isbell(18).cells).all()


def test_export_refuses_other_endings(tmp_path):
    with pytest.raises(ColoringError, match=r"write \.json"):
        coloring.export(coloring.isbell(18), tmp_path / "c.txt")


@pytest.mark.parametrize("dim", [2, 3])
def test_a_network_learns_and_is_folded(dim):
    pytest.importorskip("torch")
    problem = Problem.plane(7 if dim == 2 else 15, dim)
    config = coloring.TrainConfig(steps=60, anchors=128, directions=4, width=16, depth=1)
    first = coloring.train(problem, coloring.TrainConfig(steps=1, anchors=128, width=16, depth=1))
    network = coloring.train(problem, config)[0]
    assert network.loss < first[0].loss
    points = np.zeros((3, dim))
    assert network(points).shape == (3, problem.palette)
    assert network(points).sum(1) == pytest.approx(1, abs=1e-5)


def test_networks_in_a_stack_are_independent_and_halved():
    torch = pytest.importorskip("torch")
    del torch
    problem = Problem.plane(4)
    options = {"steps": 20, "anchors": 64, "directions": 3, "width": 8, "depth": 1}
    stack = coloring.train(problem, coloring.TrainConfig(networks=4, **options))
    assert len(stack) == 1  # halved twice
    alone = coloring.train(problem, coloring.TrainConfig(networks=1, **options))
    assert alone[0].loss > 0


@pytest.mark.parametrize(
    ("problem", "value"),
    [(Problem.plane(5), 1 / 5), (Problem.triangle(3, ".9", ".8"), 1 / 9)],
)
def test_the_loss_of_a_uniform_network(problem, value):
    torch = pytest.importorskip("torch")
    from extremal.coloring._network import Stack

    stack = Stack(torch, problem, coloring.TrainConfig(anchors=32), 0, None)
    stack.layers[-1] = tuple(torch.zeros_like(p) for p in stack.layers[-1])
    assert stack.losses().item() == pytest.approx(value, abs=1e-6)


def test_the_loss_with_a_free_colour_in_the_reference_form():
    torch = pytest.importorskip("torch")
    from extremal.coloring._network import Stack

    k, price = 5, 0.03
    config = coloring.TrainConfig(anchors=32, free_price=price)
    stack = Stack(torch, Problem.plane(k, free_color=True), config, 0, None)
    stack.layers[-1] = tuple(torch.zeros_like(p) for p in stack.layers[-1])
    expected = k / (k + 1) ** 2 + 2 * price / (k + 1)
    assert stack.losses().item() == pytest.approx(expected, abs=1e-6)


def test_a_parameter_becomes_an_input():
    pytest.importorskip("torch")
    chosen = Rule(distance=("0.4", "0.6"), colors=(5,), parameter="d")
    problem = Problem(2, 6, (Rule(distance=1, colors=(0, 1, 2, 3, 4)), chosen))
    config = coloring.TrainConfig(steps=5, anchors=32, width=8, depth=1)
    network = coloring.train(problem, config)[0]
    assert network(np.zeros((2, 2)), [0.5]).shape == (2, 6)
    assert problem.at(d="0.5").spans(5)[0][0] * 4 == 1
    with pytest.raises(ValueError, match="is open"):
        coloring.find(problem)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Rule(distance=math.nan), "exact value"),
        (lambda: Rule(distance=math.inf), "exact value"),
        (lambda: Rule(distance=0), "greater than 0"),
        (lambda: Rule(distance=-1), "greater than 0"),
        (lambda: Rule(distance=(2, 1)), "swap its ends"),
        (lambda: Rule(), "exactly one"),
        (lambda: Rule(distance=1, colors=()), "names no colour"),
        (lambda: Rule(points=((0, 0),)), "distinct"),
        (lambda: Rule(points=((1, 0),), pattern=((0,),)), "2 entries"),
        (lambda: Rule(distance="1e"), "exact number"),
        (lambda: Problem.plane(0), "count from 1"),
        (lambda: Problem(2, 3, (Rule(distance=1, colors=(3,)),)), "names colour 3"),
        (lambda: Problem(2, 3, ()), "without rules"),
        (lambda: Problem(4, 3, (Rule(distance=1),)), "R\\^2 and R\\^3"),
        (lambda: Problem.triangle(3, ".3", ".6"), "do not meet"),
        (lambda: Problem.triangle(3, ".4", ".6"), "flat"),
        (lambda: Colouring(((1, 0), (2, 0)), np.zeros((2, 2), int), 1), "singular"),
        (lambda: Colouring(((1, 0, 0), (0, 1, 0)), np.zeros((2, 2), int), 1), "rows"),
        (lambda: Colouring(((1, 0), (0, 1)), np.zeros((2, 2, 2), int), 1), "dimension"),
        (lambda: Colouring(((1, 0), (0, 1)), np.full((2, 2), 3), 3), "beyond 0 to 2"),
        (lambda: Colouring(((1, 0), (0, math.nan)), np.zeros((2, 2), int), 1), "exact value"),
        (lambda: coloring.isbell(18).at(np.array([[0.0, math.nan]])), "NaN"),
        (lambda: coloring.find(Problem.plane(7), budget="soon"), "no time"),
        (lambda: coloring.find(), "in one way"),
        (lambda: coloring.find(type=("1", "1"), colors=2, grid=1), "at least 2"),
        (lambda: coloring.TrainConfig(steps=0), "steps is a count"),
    ],
)  # fmt: skip
def test_refusals(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_colourings_that_do_not_fit_the_problem_are_refused():
    with pytest.raises(ColoringError, match="has 7 colours"):
        coloring.screen(coloring.isbell(18), Problem.plane(6))
    with pytest.raises(ColoringError, match=r"of R\^2"):
        coloring.screen(coloring.isbell(18), Problem.plane(7, 3))


def test_flat_triangles_on_request():
    problem = Problem.triangle(3, ".4", ".6", allow_degenerate=True)
    assert str(problem.configurations[0].points[1][1]) == "0"


def test_problems_and_colourings_survive_json():
    for problem in (
        Problem.type("sqrt(1/5)", (1, 2), 3),
        Problem.triangle(4, ".9", ".8"),
        Problem(2, 2, (Rule(points=((1, 0), (2, 0)), pattern=((0, 1, 0),), motions="direct"),)),
        Problem.plane(5, 3, True),
    ):
        again = Problem.from_json(json.loads(json.dumps(problem.as_json())))
        assert again.as_json() == problem.as_json()
        assert [again.spans(c) for c in range(again.colors)] == [
            problem.spans(c) for c in range(problem.colors)
        ]
    found = coloring.isbell(9)
    again = Colouring.from_json(json.loads(json.dumps(found.as_json())))
    assert (again.cells == found.cells).all()
    assert again.lattice == found.lattice


def test_the_shell(seven, tmp_path, capsys):
    run = str(seven.path)
    picture = tmp_path / "p.png"
    assert cli.main(["coloring", "plot", run, "--periods", "2", "--out", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert cli.main(["coloring", "plot", run, "--out", str(picture)]) == 2
    assert "--force" in capsys.readouterr().err
    assert cli.main(["coloring", "certify", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "valid"
    assert cli.main(["verify", run]) == 0
    for words, text in (
        (["find", "--type", "1", "nan"], "not an exact number"),
        (["find", "--colors", "0", "--budget", "1s"], "in one way"),
        (["find", "--colors", "3", "--triangle", "0.4", "0.6"], "flat"),
        (["plot", str(tmp_path / "nothing")], "cannot be read"),
        (["plot", run, "--circles", "a,b"], "is no point"),
        (["plot", run, "--out", "x.gif"], "neither in .png"),
    ):
        capsys.readouterr()
        assert cli.main(["coloring", *words]) == 2
        error = capsys.readouterr().err
        assert text in error
        assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rounds_on_a_ray_cluster_are_those_of_one_process(ray_cluster):
    from extremal.coloring._rounds import FindConfig, Job, round_of
    from extremal.lab import executor

    settings = FindConfig(grid=24, starts=2, tries=1, iterations=2000)
    jobs = [Job(Problem.plane(7).as_json(), settings, k, 1e6) for k in range(2)]
    with executor("ray", workers=2) as pool:
        there = pool.map(round_of, jobs)
    for here, other in zip(map(round_of, jobs), there, strict=True):
        assert "colouring" in here
        assert other == here


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_on_a_ray_cluster(tmp_path, ray_cluster):
    found = coloring.find(
        Problem.plane(7), budget="120s", grid=24, seed=0, executor="ray", workers=2,
        out=tmp_path / "run",
    )  # fmt: skip
    assert found.status == "valid"
    assert verify.file(found.certificate).accepted


def test_a_certificate_is_read_as_the_colouring_that_it_holds(tmp_path):
    path = tmp_path / "c.json"
    cells = coloring.isbell(18)
    assert coloring.certify(cells, Problem.plane(7), out=path).status == "valid"
    again = tmp_path / "again.json"
    assert coloring.certify(path, Problem.plane(7), out=again).status == "valid"
    held = [json.loads(f.read_text())["parts"][0]["witness"] for f in (path, again)]
    assert held[0] == held[1]
    assert cli.main(["coloring", "plot", str(path), "--out", str(tmp_path / "p.svg")]) == 0
    path.write_text(json.dumps({"parts": [{"kind": "lab/measured"}]}))
    with pytest.raises(ColoringError, match="something else"):
        coloring.certify(path, Problem.plane(7))


def test_hexagonal_cells_from_start_to_picture(tmp_path):
    out = tmp_path / "hexagons"
    found = coloring.find(Problem.plane(7), budget="120s", grid=20, cell="hexagon", out=out)
    assert (found.status, found.colouring.cell) == ("valid", "hexagon")
    assert verify.file(out).accepted
    broken = found.colouring.with_cells(np.roll(found.colouring.cells, 3, 1))
    cells = broken.cells.copy()
    cells[3:5, 3:5] = (cells[3:5, 3:5] + 1) % 7
    mended = coloring.repair(broken.with_cells(cells), Problem.plane(7), iterations=50_000)
    assert mended.verdict.status == "valid"
    assert mended.colouring.cell == "hexagon"
    again = coloring.formalise(mended.colouring, Problem.plane(7), grid=24)
    assert again.colouring.cell == "parallelogram"
    svg = coloring.plot(out, periods=2.0, out=tmp_path / "h.svg").data.decode()
    assert svg.count("<path") > 400  # hexagons, not an image
    read = coloring.Colouring.from_json(json.loads((out / "colouring.json").read_text()))
    assert read.shape == found.colouring.shape
    with pytest.raises(ColoringError, match="formalise the colouring on such"):
        coloring.refine(found.colouring, Problem.plane(7))


def test_hexagons_of_a_free_colour_go_finer():
    problem = Problem.plane(6, free_color=True)
    start = coloring.isbell(10, "hexagon")
    cells = np.where(start.cells == 6, 6, start.cells)
    free = coloring.Colouring(start.lattice, cells, 6, True, "hexagon")
    before = coloring.fill(free, problem, 1000)
    after = coloring.go_finer(before, problem, 2, iterations=1000, relax_steps=20).colouring
    assert after.cell == "hexagon"
    assert coloring.screen(after, problem) is None
    assert after.free_density <= before.free_density
