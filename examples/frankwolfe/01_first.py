"""An optimum with its proof, and a network that never leaves its regions.

Run: python examples/frankwolfe/01_first.py
"""

import tempfile

import torch
from sklearn.datasets import load_digits

from extremal import frankwolfe as fw
from extremal import verify

# The best sparse classifier of a size, and a bound on how much better any other could be.
with tempfile.TemporaryDirectory() as folder:
    best = fw.minimize("breast-cancer", fw.L1Ball(5.0), gap=1e-8, out=f"{folder}/opt")
    print(best.table().as_text())
    print(verify.file(best.certificate).as_text(), "\n")

# A linear classifier of digits over four regions: the region decides what the weights look like.
digits = load_digits()
images = torch.tensor(digits.data / 16, dtype=torch.float32)
labels = torch.tensor(digits.target)
for region in (
    fw.L2Ball(width=10),
    fw.L1Ball(width=100),
    fw.KSparse(width=50, fraction=0.1),
    fw.NuclearBall(width=20),
    fw.SpectralBall(width=10),
):
    torch.manual_seed(0)
    model = torch.nn.Linear(64, 10)
    optimizer = fw.SFW(fw.regions_for(model, weights=region), lr=0.5)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.5 * (1 - step / 200)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    row = optimizer.metrics()[0]
    print(
        f"{type(region).__name__:13} loss {float(loss.detach()):.3f}  inside {row['size']:.3f}  "
        f"below 1e-3 {row['sparsity']:.0%}  rank {row.get('rank', '-')}"
    )
