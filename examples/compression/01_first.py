"""Train once over a region, cut to a third of the cost, export, and check what came out.

Run: python examples/compression/01_first.py
"""

import tempfile
from pathlib import Path

import torch

from extremal import compression, training, verify

with tempfile.TemporaryDirectory() as folder:
    runs = Path(folder)
    aware = training.fit(
        model="cnn",
        data="digits",
        epochs=4,
        optimizer="sfw",
        region="k-support",
        fraction=0.1,
        width=10,
        dampening=0.0,
        momentum_seed="gradient",
        out=runs / "aware",
    )
    curve = compression.sweep(aware, ratios=(0.3, 0.5, 0.9))
    print(curve.table().as_text())
    small = compression.compress(aware, kind="filters", target="3x macs", out=runs / "small")
    print(small.table().as_text())
    network = compression.load(runs / "small")  # no class of the network is needed
    with torch.no_grad():
        print(network(torch.zeros(1, 1, 8, 8)).shape)
    verdict = verify.file(runs / "small")
    print(verdict.as_text())
    assert verdict.status == "accepted"
