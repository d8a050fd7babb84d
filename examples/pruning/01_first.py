"""Train a small network, prune 90 % of its weights, retrain it, and check what came out.

Run: python examples/pruning/01_first.py
"""

import tempfile
from pathlib import Path

from extremal import pruning, training, verify

with tempfile.TemporaryDirectory() as folder:
    runs = Path(folder)
    dense = training.fit(model="mlp", data="digits", epochs=5, out=runs / "dense")
    result = pruning.prune(
        dense,
        sparsity=0.9,
        phases=2,
        schedule="allr",  # the adaptive linear schedule needs no tuning
        epochs=4,  # over both phases
        min_keep_per_layer=1,
        out=runs / "p90",
    )
    print(result.table().as_text())
    print(f"dense {dense.accuracy:.1%}, pruned {result.accuracy:.1%}")
    for layer in result.per_layer:
        print(f"{layer.name}: {layer.pruned} of {layer.size} pruned")
    verdict = verify.file(runs / "p90" / "certificate.json")
    print(verdict.as_text())
    assert verdict.status == "accepted"
