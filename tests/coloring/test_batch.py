"""Batches with torch against the same formulas with NumPy, one colouring at a time."""

import math

import numpy as np
import pytest

from extremal import coloring, verify
from extremal.coloring import ColoringError, Problem, SoftBatch
from extremal.coloring._batch import grids, resample_many
from extremal.coloring._certify import parts_of
from extremal.coloring._colouring import rational_lattice
from extremal.coloring._screen import free_of
from extremal.coloring._search import resample, settle
from extremal.lab import write_certificate

torch = pytest.importorskip("torch")

PROBLEMS = [
    Problem.plane(5, free_color=True),
    Problem.type(1, 1, 1, ("0.5", "0.8")),
    Problem.plane(4, 3, free_color=True),
]
NAMES = ["free", "interval", "space"]


def starts(problem, count=3, grid=None):
    size = grid or (16 if problem.dim == 2 else 8)
    return [coloring.random_start(problem, 3, i, size) for i in range(count)]


@pytest.mark.parametrize("problem", PROBLEMS, ids=NAMES)
def test_refinement_is_that_of_one_colouring(problem):
    softs, blurs = starts(problem), [0.06, 0.05, 0.04]
    with torch.no_grad():
        batch, losses = coloring.refine_many(
            SoftBatch.of(softs, dtype="float64"), problem, 12, blurs, free_price=0.2
        )
    for soft, blur, got, loss in zip(softs, blurs, batch.softs(), losses.tolist(), strict=True):
        want, wanted = coloring.refine_lattice(soft, problem, 12, blur, free_price=0.2)
        # torch's Bessel functions are good to about 1e-8
        np.testing.assert_allclose(got.logits, want.logits, atol=1e-5)
        np.testing.assert_allclose(got.basis, want.basis, atol=1e-6)
        assert loss == pytest.approx(wanted, abs=1e-7)


@pytest.mark.parametrize("problem", PROBLEMS, ids=NAMES)
def test_annealing_is_that_of_one_colouring(problem):
    softs = starts(problem)
    lattices = [rational_lattice(s.basis) for s in softs]
    with torch.no_grad():
        batch, losses, _ = coloring.relax_many(
            SoftBatch.of(softs), problem, lattices, 12, free_price=0.05
        )
    for soft, lattice, got, loss in zip(
        softs, lattices, batch.softs(), losses.tolist(), strict=True
    ):
        grid = soft.logits.shape[1:]
        steps = tuple(tuple(x / k for x in v) for v, k in zip(lattice, grid, strict=True))
        count = max(len(coloring.forbidden(steps, spans)) for spans, _ in problem.classes())
        want, wanted = coloring.relax(soft, problem, lattice, 12, free_price=0.05 * count)
        np.testing.assert_allclose(got.logits, want.logits, atol=3e-3)  # both in float32
        assert loss == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("problem", PROBLEMS, ids=NAMES)
def test_what_is_left_to_wish_is_counted_from_the_rounded_cells(problem):
    softs = starts(problem, grid=20 if problem.dim == 2 else 10)
    lattices = [rational_lattice(s.basis) for s in softs]
    with torch.no_grad():
        batch, _, wishes = coloring.relax_many(
            SoftBatch.of(softs), problem, lattices, 20, free_price=0.05
        )
    for soft, wish in zip(batch.softs(), wishes.tolist(), strict=True):
        cells = soft.rounded(problem)
        broken = float((free_of(cells, problem) > 0).mean())
        assert wish == pytest.approx(broken / 2 + float(cells.free_density), abs=1e-6)
        assert wish > 0


@pytest.mark.parametrize("problem", PROBLEMS, ids=NAMES)
@pytest.mark.parametrize("grid", [24, 12, 17])
def test_another_grid_is_that_of_one_colouring(problem, grid):
    softs = starts(problem)
    got = resample_many(SoftBatch.of(softs, dtype="float64"), grid).softs()
    for soft, new in zip(softs, got, strict=True):
        np.testing.assert_allclose(new.logits, resample(soft.logits, grid), atol=1e-12)


def test_levels_double_up_to_the_grid():
    plane, space = Problem.plane(5), Problem.plane(14, 3)
    assert grids(plane, 96) == [24, 48, 96]
    assert grids(plane, 80) == [24, 48, 80]
    assert grids(plane, 24) == [24]
    assert grids(plane, 96, (1.2, 1.4)) == [32, 64, 96]
    assert grids(space, 40) == [12, 24, 40]


@pytest.fixture(scope="module")
def few():
    """The best of 16 starts in batches."""
    problem = Problem.plane(4, free_color=True)
    return problem, coloring.batched_starts(
        problem, 0, 0, 16, math.inf, grid=48, keep=3, device="cpu"
    )


def test_the_best_starts_become_certified_colourings(few, tmp_path):
    problem, found = few
    wishes = [wish for wish, _ in found]
    assert wishes == sorted(wishes)
    assert len(wishes) == 3
    done = settle(found[0][1], problem, 0, 20_000)
    assert done.residue == 0
    # Croft's four tortoises leave 8.25 %; cells of 48 x 48 lose some 4 points; one free colour
    # alone would leave 77 %
    assert 0.0825 < float(done.colouring.free_density) < 0.2
    path = write_certificate(tmp_path / "c.json", parts_of(done.colouring, problem))
    assert verify.file(path).accepted


def test_the_same_starts_give_the_same_cells(few):
    problem, found = few
    again = coloring.batched_starts(problem, 0, 0, 16, math.inf, grid=48, keep=3, device="cpu")
    for (a, one), (b, two) in zip(found, again, strict=True):
        assert a == b
        assert one.lattice == two.lattice
        assert (one.cells == two.cells).all()


def test_a_device_that_is_not_there_is_refused():
    problem = Problem.plane(7)
    with pytest.raises(ColoringError, match="no device of torch"):
        coloring.find(problem, budget="5s", grid=24, device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ColoringError, match="sees no GPU; use cpu"):
            coloring.find(problem, budget="5s", grid=24, device="cuda")
        with pytest.raises(ColoringError, match="sees no GPU; use cpu"):
            coloring.train(problem, coloring.TrainConfig(steps=1, device="cuda"))


@pytest.mark.slow
def test_the_best_of_single_rounds_are_kept(tmp_path):
    problem = Problem.plane(4, free_color=True)
    found = coloring.find(
        problem, budget="20s", grid=24, finest=24, starts=2, tries=1, iterations=500, keep=2,
        out=tmp_path / "run",
    )  # fmt: skip
    kept = sorted((tmp_path / "run" / "candidates").iterdir())
    assert found.rounds >= 2
    assert len(kept) == 2
    densities = [coloring.certify(path, problem).free_density for path in kept]
    assert densities == sorted(densities)
    assert densities[0] == found.free_density


@pytest.mark.parametrize(("dim", "period"), [(2, (0.9, 1.4)), (3, (0.5, 0.6))])
def test_a_start_has_the_period_that_is_asked_for(dim, period):
    problem = Problem.plane(4, dim)
    for number in range(20):
        soft = coloring.random_start(problem, 0, number, 4, period)
        volume = abs(np.linalg.det(soft.basis)) / 4
        assert period[0] - 1e-9 <= volume <= period[1] + 1e-9


@pytest.mark.parametrize("period", [(0.5, 0.2), (-1.0, 1.0), (0.1, math.inf), (math.nan, 1.0)])
def test_a_period_without_sense_is_refused(period):
    with pytest.raises(ValueError, match="0 < least <= largest"):
        coloring.find(Problem.plane(7), budget="5s", grid=24, period=period)


@pytest.mark.parametrize("name", ["starts", "keep", "workers"])
def test_counts_below_zero_are_refused(name):
    with pytest.raises(ValueError, match="are 0 or more"):
        coloring.find(Problem.plane(7), budget="5s", grid=24, **{name: -1})


def test_larger_periods_are_cut_into_as_large_cells():
    problem = coloring.Problem.plane(2, free_color=True)
    sizes: dict[tuple[float, float], float] = {}
    for period in ((0.0, 0.0), (0.4, 0.8), (1.6, 1.7)):
        found = coloring.spectral_starts(problem, 0, 0, 1, math.inf, steps=1, period=period)
        sizes[period] = found[0][1].logits.shape[1]
    assert sizes[0.0, 0.0] == sizes[0.4, 0.8] == 24
    assert sizes[1.6, 1.7] == 35
