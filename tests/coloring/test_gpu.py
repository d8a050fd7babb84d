"""What a GPU changes: speed and rounding, not starts, samples or formulas."""

import math

import numpy as np
import pytest

from extremal import coloring, verify
from extremal.coloring import Problem, SoftBatch, TrainConfig
from extremal.coloring import _network as network
from extremal.coloring._colouring import rational_lattice

torch = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]

PROBLEMS = [Problem.plane(5, free_color=True), Problem.plane(4, 3, free_color=True)]


@pytest.mark.parametrize("problem", PROBLEMS, ids=["plane", "space"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_batch_is_that_of_the_cpu(problem, dtype):
    softs = [coloring.random_start(problem, 1, i, 12) for i in range(4)]
    answers = {}
    for device in ("cpu", "cuda"):
        with torch.no_grad():
            batch, losses = coloring.refine_many(
                SoftBatch.of(softs, device, dtype), problem, 10, [0.06] * 4, free_price=0.2
            )
            lattices = [rational_lattice(b) for b in batch.basis.double().cpu().numpy()]
            relaxed, ends, _ = coloring.relax_many(
                SoftBatch.of(softs, device, dtype), problem, lattices, 10, free_price=0.05
            )
        answers[device] = (
            losses.cpu().numpy(),
            np.stack([s.basis for s in batch.softs()]),
            np.stack([s.logits for s in relaxed.softs()]),
            ends.cpu().numpy(),
        )
    # Adam divides by the size of the gradient, which magnifies rounding where that is near 0.
    tolerance = 2e-2 if dtype == "float32" else 1e-5
    for here, there in zip(answers["cpu"], answers["cuda"], strict=True):
        np.testing.assert_allclose(there, here, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize(
    "problem",
    [
        Problem.plane(5, free_color=True),
        Problem.type(1, 1, ("0.5", "0.8")),
        Problem.plane(3, 3),
        Problem.triangle(3, "0.9", "0.8"),
    ],
    ids=["free", "interval", "space", "triangle"],
)
def test_a_recorded_step_is_the_step(problem, count, monkeypatch):
    config = TrainConfig(steps=200, anchors=64, width=16, networks=count, device="cuda")
    graph = network.Stack(torch, problem, config, 0, None)
    replayed = torch.stack([graph.step(k) for k in range(20)]).cpu()
    assert graph.graph is not None
    monkeypatch.setattr(network, "WARM", 10**9)
    eager = network.Stack(torch, problem, config, 0, None)
    plain = torch.stack([eager.step(k) for k in range(20)]).cpu()
    assert eager.graph is None
    torch.testing.assert_close(replayed, plain, rtol=1e-3, atol=1e-5)
    assert plain[-1].mean() < plain[0].mean()


def test_halving_goes_on_after_each_recording():
    problem = Problem.plane(4, free_color=True)
    config = TrainConfig(steps=100, anchors=64, width=16, networks=8, device="cuda")
    found = coloring.train(problem, config, seed=0)
    assert len(found) == 2  # 8, then 4, then 2
    assert found[0].loss <= found[1].loss < 0.3
    values = found[0](np.zeros((1, 2)))
    assert values.sum() == pytest.approx(1)


def test_find_certifies_from_batches(tmp_path):
    run = coloring.find(
        Problem.plane(7), budget="60s", grid=24, device="cuda", starts=256, out=tmp_path / "seven"
    )
    assert run.status == "valid"
    assert verify.file(run.certificate).accepted


def test_finer_cells_are_annealed_on_the_device():
    problem = Problem.plane(4, free_color=True)
    found = coloring.batched_starts(problem, 0, 0, 256, math.inf, grid=48, keep=1, device="cuda")
    best = coloring.fill(found[0][1], problem, 20_000)
    finer = coloring.go_finer(best, problem, 2, iterations=2000, device="cuda")
    assert finer.residue == 0
    assert finer.colouring.grid == (96, 96)
    assert finer.colouring.free_density < best.free_density
