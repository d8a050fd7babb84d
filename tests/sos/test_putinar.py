"""Bounds on sets: cliques of variables against all of them, and what is predicted of memory."""

import itertools

import numpy as np
import pytest

from extremal import sos
from extremal.sos import _putinar
from extremal.sos._interior import schur_of
from extremal.sos._localised import _System
from extremal.sos._putinar import bytes_needed, covers, putinar_problem


def chain(n):
    return " + ".join(f"x{i}*x{i + 1} + x{i}^2*x{i + 1}^2 - x{i}" for i in range(1, n))


def question(n, extra=()):
    p = sos.parse(chain(n))
    box = [sos.parse(f"1 - {v}^2", list(p.variables)) for v in p.variables]
    return p, [*box, *(sos.parse(g, list(p.variables)) for g in extra)]


def used(rows):
    return set(np.flatnonzero(rows.any(axis=0)).tolist())


def test_each_square_stays_in_a_clique():
    p, constraints = question(6)
    sparse = putinar_problem(p, constraints, None, True)
    dense = putinar_problem(p, constraints, None, False)
    cliques = [{i, i + 1} for i in range(5)]
    for w, rows in zip(sparse.weights, sparse.blocks, strict=True):
        own = used(rows) if w is None else used(rows) | used(constraints[w].support)
        assert any(own <= c for c in cliques)
    assert covers(sparse)
    # 5 cliques of 6 monomials and 6 constraints of 3, against 28 and 6 of 7
    assert (sparse.size, dense.size) == (48, 70)


def test_a_constraint_on_all_variables_leaves_one_clique():
    p, constraints = question(4, ["9 - x1^2 - x2^2 - x3^2 - x4^2"])
    sparse = putinar_problem(p, constraints, None, True)
    dense = putinar_problem(p, constraints, None, False)
    assert [b.tolist() for b in sparse.blocks] == [b.tolist() for b in dense.blocks]
    assert sparse.weights == dense.weights


@pytest.mark.parametrize("n", [3, 4])
def test_on_a_chain_both_bounds_agree(n):
    found = [sos.bound(chain(n), box="-1 1", sparsity=s) for s in ("none", "correlative")]
    for one in found:
        assert one.certificate.check().accepted
        assert one.certificate.kinds == ("sos/putinar",)
        assert one.value <= one.upper
    # the optimum is attained to more than the six decimals that are asked
    assert abs(found[0].value - found[1].value) <= 3e-6


def test_many_variables_are_bounded_by_cliques_only():
    with pytest.raises(sos.MemoryLimitError, match="sparsity 'correlative'"):
        sos.bound(chain(20), box="-1 1")
    found = sos.bound(chain(12), box="-1 1", sparsity="correlative", digits=3)
    assert found.verdict.name == "CERTIFIED_SOS"
    assert found.certificate.check().accepted
    assert found.upper - found.value < 0.01


def test_a_weaker_sum_is_no_wrong_bound():
    # x1 x2 x3 needs all three; without a shared clique the graph joins them anyway
    found = sos.bound("x1*x2*x3", box="-1 1", sparsity="correlative")
    assert found.certificate.check().accepted
    assert found.value <= -1 + 1e-9


@pytest.mark.parametrize("sparse", [False, True])
def test_the_blocks_of_the_schur_matrix_add_up(sparse):
    p, constraints = question(4)
    problem = putinar_problem(p, constraints, None, sparse)
    system = _System(problem, True)
    rng = np.random.default_rng(0)
    x, z = np.zeros((2, problem.size, problem.size))
    for start, end in itertools.pairwise(problem.starts()):
        for m in (x, z):
            f = rng.standard_normal((end - start, end - start))
            m[start:end, start:end] = f @ f.T
    # sums of a few hundred products of size 10 in another order
    np.testing.assert_allclose(system.schur(x, z), schur_of(system.a_, x, z), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_memory_is_not_underestimated(n, sparse, counted, monkeypatch):
    if not counted:
        monkeypatch.setattr(_putinar, "_COUNTED", 0)
    p, constraints = question(n)
    problem = putinar_problem(p, constraints, 3, sparse)
    moments = len(_System(problem, True).sums)
    predicted = bytes_needed(problem)
    assert predicted >= 8 * (12 * problem.size**2 + 3 * moments**2)
    if counted:
        assert predicted <= 8 * (12 * problem.size**2 + 3 * (moments + 2) ** 2)


def test_sparsity_without_a_set_is_refused():
    with pytest.raises(ValueError, match="no box, ball or constraint"):
        sos.bound("x^4 + y^4", sparsity="correlative")
