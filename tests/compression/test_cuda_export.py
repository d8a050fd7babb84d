"""Export for a GPU: 2:4 layers in torch's own storage, measured there, files that open anywhere."""

import copy

import pytest
import torch
from torch import nn

from extremal import compression, verify
from extremal.compression._n_to_m import project

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(),
        nn.Linear(1024, 10),
    )  # fmt: skip


def test_a_projection_does_not_depend_on_the_device():
    here, there = network(), network().cuda()
    one, two = project(here, "2:4"), project(there, "2:4")
    assert one == two
    for a, b in zip(here.parameters(), there.parameters(), strict=True):
        assert a.equal(b.cpu())


def test_export_for_a_gpu_keeps_2_4_layers_and_opens_on_the_cpu(tmp_path):
    given = network()
    before = copy.deepcopy(given.state_dict())
    found = compression.export(
        given, shape=(1, 16, 16), target="cuda", pattern="2:4", batches=(1, 64), repeats=3,
        out=tmp_path / "there",
    )  # fmt: skip
    assert all(a.equal(before[n]) for n, a in given.state_dict().items())
    kinds = [
        type(m.weight.data).__name__ for m in found.model.modules() if isinstance(m, nn.Linear)
    ]
    assert sum("SemiStructured" in kind for kind in kinds) == 2
    assert set(found.latency) == {"before", "after"}
    assert all(s > 0 for times in found.latency.values() for s in times.values())
    assert verify.file(tmp_path / "there").status == "accepted"
    x = torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    opened = compression.load(tmp_path / "there")
    with torch.no_grad():
        here, there = opened(x), found.model(x.half().cuda()).float().cpu()
    # half precision: sums of 1024 products of size 1 / 32
    assert float((here - there).abs().max()) < 1e-2


def test_a_network_without_the_pattern_is_refused_for_a_gpu(tmp_path):
    with pytest.raises(compression.CompressionError, match="multiples of 64"):
        compression.export(network(), shape=(1, 16, 16), target="cuda", out=tmp_path / "there")
