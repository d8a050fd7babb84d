"""Retrain a pruned network three times and average: more accuracy, one inference.

Run:  python examples/pruning/02_soup.py
"""

import tempfile
from pathlib import Path

from extremal import pruning, training, verify

with tempfile.TemporaryDirectory() as folder:
    dense = training.fit(model="mlp", epochs=4, threads=1)
    soup = pruning.soup(
        dense, sparsity=0.9, phases=1, epochs=2, members=3, out=Path(folder) / "soup"
    )
    print(soup.table().as_text())
    assert soup.certificate is not None
    print(verify.file(soup.certificate).status)
