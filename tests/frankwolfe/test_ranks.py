"""Two real processes: sharded parameters, and DistributedDataParallel."""

import subprocess
import sys

import pytest

pytest.importorskip("torch")

SHARDED = """
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

from extremal import frankwolfe as fw

dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (2,))
generator = torch.Generator().manual_seed(0)
start = 0.1 * torch.randn(6, 4, generator=generator)
grads = [torch.randn(6, 4, generator=generator) for _ in range(3)]
for rescale in ("none", "diameter", "gradient"):
    whole = nn.Parameter(start.clone())
    shards = nn.Parameter(distribute_tensor(start, mesh, [Shard(0)]))
    for p in (whole, shards):
        region = fw.LinfBall(1.0)
        opt = fw.SFW([{"params": [p], "region": region}], lr=0.3, rescale=rescale, fused=False)
        for g in grads:
            p.grad = g.clone() if p is whole else distribute_tensor(g, mesh, [Shard(0)])
            opt.step()
    torch.testing.assert_close(shards.detach().full_tensor(), whole.detach())
for region in (fw.L2Ball(9.0), fw.KSparse(9.0, k=2), fw.SpectralBall(9.0)):
    shards = nn.Parameter(distribute_tensor(start, mesh, [Shard(0)]))
    try:
        fw.SFW([{"params": [shards], "region": region}])
    except fw.FrankWolfeError as error:
        assert "sharded" in str(error)
    else:
        raise AssertionError(region)
dist.destroy_process_group()
"""

PARALLEL = """
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from extremal import frankwolfe as fw

dist.init_process_group("gloo")
rank = dist.get_rank()
x = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
y = torch.arange(16) % 3
weights = []
for parallel in (False, True):
    torch.manual_seed(1)
    model = nn.Linear(6, 3)
    run = DistributedDataParallel(model) if parallel else model
    opt = fw.SFW(fw.regions_for(model, weights=fw.KSupport(width=20, fraction=0.3)), lr=0.1)
    for _ in range(4):
        opt.zero_grad()
        half = slice(8 * rank, 8 * rank + 8) if parallel else slice(None)
        nn.functional.cross_entropy(run(x[half]), y[half]).backward()
        opt.step()
    weights.append(model.weight.detach())
torch.testing.assert_close(*weights)
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("script", [SHARDED, PARALLEL], ids=["sharded", "data-parallel"])
def test_two_ranks(script, tmp_path):
    file = tmp_path / "ranks.py"
    file.write_text(script)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, str(file)], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
