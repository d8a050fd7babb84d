"""Which layers get 2:4 kernels; the kernels themselves need a GPU."""

import pytest
import torch
from torch import nn

from extremal import llm
from extremal.llm import LLMError, _kernels


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.Linear(64, 10))
    with torch.no_grad():
        model[0].weight *= torch.tensor([1.0, 0, 1, 0]).repeat(16)
    return model


def test_only_layers_that_are_2_4_are_tried_and_the_faster_stays(monkeypatch):
    tried = []

    def convert(weight):
        tried.append(tuple(weight.shape))
        return 2 * weight  # marked, so that it is seen which one stays

    times = iter([1.0, 0.5, 0.5, 1.0])  # dense, sparse; dense, sparse
    monkeypatch.setattr(_kernels, "_median", lambda *_: next(times))
    model = network()
    before = model[0].weight.detach().clone()
    (one,) = llm.use_2_4(model, 32, convert=convert)
    assert tried == [(128, 64)]
    assert (one.name, one.used, one.dense, one.sparse) == ("0", True, 1.0, 0.5)
    assert torch.equal(model[0].weight, 2 * before)
    (two,) = llm.use_2_4(model, 1, convert=convert)
    assert not two.used
    assert torch.equal(model[0].weight, 2 * before)


def test_refuses_cpus_and_models_that_are_not_2_4():
    with pytest.raises(LLMError, match="CUDA only"):
        llm.use_2_4(network(), 8)
    with pytest.raises(LLMError, match="is 2:4"):
        llm.use_2_4(nn.Sequential(nn.Linear(64, 64)), 8, convert=lambda w: w)


@pytest.mark.gpu
@pytest.mark.parametrize("graphs", [False, True])
def test_torchs_kernels_compute_the_same(monkeypatch, graphs):
    times = iter([1.0, 0.5])  # the sparse form stays, whatever is measured
    measure = _kernels._median_in_graphs if graphs else _kernels._median
    measured = []

    def timed(*given):
        measured.append(measure(*given))
        return next(times)

    monkeypatch.setattr(_kernels, measure.__name__, timed)
    model = network().half().cuda()
    x = torch.randn(256, 64, device="cuda").half()
    with torch.no_grad():
        wanted = model(x)
        (one,) = llm.use_2_4(model, 256, graphs=graphs)
        assert one.used
        assert all(t > 0 for t in measured)
        torch.testing.assert_close(model(x), wanted, rtol=1e-2, atol=1e-2)  # half precision
