"""Learned oracles: equivariance, exact resume, refusals, and answers that stay right."""

import numpy as np
import pytest

from extremal import sos

torch = pytest.importorskip("torch")

SMALL = {
    "variables": (3,), "degrees": (4,), "bases": (4,), "steps": 6, "batch": 4, "width": 16,
    "rounds": 1, "checkpoint": 2,
}  # fmt: skip


@pytest.fixture(scope="module", params=["scorer", "transformer"])
def trained(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("oracle") / request.param
    return sos.train(network=request.param, **SMALL, out=out)


def test_training_writes_a_network_that_proves(trained):
    assert np.isfinite(trained.losses).all()
    p = sos.planted("dense", 3, 4, 4, seed=9).p
    result = sos.certify(p, oracle=str(trained.path))
    assert result.verdict.name == "CERTIFIED_SOS"
    assert result.certificate.check().accepted


def test_an_oracle_never_changes_a_refutation(trained):
    p = "x^4*y^2 + x^2*y^4 + z^6 - 3*x^2*y^2*z^2"
    if trained.config.network == "transformer":
        from extremal.sos._oracle import read_network
        from extremal.sos._transformer import predict

        network, _ = read_network(trained.path)
        with pytest.raises(ValueError, match="trained for 3 variables"):
            predict(network, sos.parse("x^2"))
    result = sos.certify(p, oracle=str(trained.path)) if trained.config.network == "scorer" else (
        sos.certify("x^4 + y^4 + z^4 - 4*x^2*y*z", oracle=str(trained.path))
    )  # fmt: skip
    assert result.verdict.name in {"CERTIFIED_NOT_SOS", "NEGATIVE"}
    assert result.certificate.check().accepted


def test_a_resumed_run_ends_with_the_same_weights(trained, tmp_path, monkeypatch):
    import sys

    module = sys.modules["extremal.sos._train"]
    real, calls = module.draw, []

    def stopping(config, *names):
        calls.append(names)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(config, *names)

    monkeypatch.setattr(module, "draw", stopping)
    options = {"network": trained.config.network, **SMALL}
    with pytest.raises(KeyboardInterrupt):
        sos.train(**options, out=tmp_path / "again")
    monkeypatch.setattr(module, "draw", real)
    again = sos.train(**options, out=tmp_path / "again", resume=True)
    assert (again.path / "model.safetensors").read_bytes() == (
        trained.path / "model.safetensors"
    ).read_bytes()
    assert again.losses == trained.losses


def test_scores_do_not_depend_on_the_order_of_variables():
    from extremal.sos._graph import candidates, graph
    from extremal.sos._scorer import Scorer, probabilities

    torch.manual_seed(0)
    network = Scorer(16, 2)
    p = sos.planted("dense", 3, 6, 6, seed=2).p
    order = (2, 0, 1)
    q = sos.from_terms({tuple(m[k] for k in order): c for m, c in p.terms.items()}, p.variables)
    first, second = candidates(p), candidates(q)
    a = dict(zip(map(tuple, first.tolist()), probabilities(network, graph(p, first)), strict=True))
    b = dict(
        zip(map(tuple, second.tolist()), probabilities(network, graph(q, second)), strict=True)
    )
    assert b.keys() == {tuple(m[k] for k in order) for m in a}
    for m, value in a.items():
        # float32 sums in another order
        assert b[tuple(m[k] for k in order)] == pytest.approx(value, abs=1e-5)


def test_the_support_only_input_hides_coefficients():
    from extremal.sos._graph import candidates, graph

    p = sos.parse("2*x^4 - 3*x^3*y + 5*x^2*y^2 + y^4")
    q = sos.parse("7*x^4 + 3*x^3*y + 1/5*x^2*y^2 + 9*y^4")
    rows = candidates(p)
    a, b = graph(p, rows, True), graph(q, rows, True)
    assert np.array_equal(a.nodes, b.nodes)
    assert np.array_equal(a.edges, b.edges)
    assert not np.array_equal(graph(p, rows).nodes, graph(q, rows).nodes)


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="one number of variables"):
        sos.train(network="transformer", variables=(2, 3), out=tmp_path / "x")
    with pytest.raises(ValueError, match="no structures"):
        sos.train(structures=("round",), out=tmp_path / "x")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "model.json").write_text('{"network": "scorer"}')
    with pytest.raises(sos.SosError, match="cannot be read"):
        sos.certify("x^2+1", oracle=str(tmp_path / "bad"))


def test_without_torch_the_rest_works():
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from extremal import sos\n"
        "assert sos.certify('x^4-2*x^2+1').verdict.name == 'CERTIFIED_SOS'\n"
        "assert sos.bound('x^2-2*x').value == -1\n"
        "try:\n    sos.train(out='nowhere')\n"
        "except ImportError as error:\n    print(error)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert "pip install 'extremal[" in found.stdout
