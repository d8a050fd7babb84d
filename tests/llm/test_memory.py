"""Peak memory does not grow with depth: 6 and 24 blocks differ by less than one block."""

import subprocess
import sys

import pytest

from .conftest import write_model

pytest.importorskip("transformers")

WIDTH = {"hidden_size": 512, "intermediate_size": 1408, "num_attention_heads": 8,
         "num_key_value_heads": 8}  # fmt: skip
BLOCK = 4 * (4 * 512 * 512 + 3 * 512 * 1408)  # bytes of one block: 12.8 MB
PROGRAM = """
import sys
from extremal import llm
from extremal.llm._usage import peak_bytes
llm.prune(sys.argv[1], out=sys.argv[2], calibration=sys.argv[3], samples=4, window=16,
          micro_batch=4, threads=1)
print(peak_bytes())
"""


@pytest.mark.slow
def test_peak_memory_does_not_depend_on_depth(tmp_path, text):
    peaks = {}
    for depth in (6, 24):
        model = write_model(tmp_path / str(depth), num_hidden_layers=depth, shard="50MB", **WIDTH)
        words = [sys.executable, "-c", PROGRAM, str(model), str(tmp_path / f"out{depth}"), text]
        found = subprocess.run(words, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr[-2000:]
        peaks[depth] = int(found.stdout.split()[-1])
    assert peaks[24] - peaks[6] < BLOCK, peaks
