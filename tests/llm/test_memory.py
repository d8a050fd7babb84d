"""Peak memory does not grow with depth: 6 and 24 blocks differ by less than one block."""

import os
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
        peaks[depth] = peak_of(model, tmp_path / f"out{depth}", text)
    assert peaks[24] - peaks[6] < BLOCK, peaks


def peak_of(model, out, text):
    words = [sys.executable, "-c", PROGRAM, str(model), str(out), text]
    # Large tensors outside the C library's heap, whose gaps differ from run to run by a block.
    fixed = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    found = subprocess.run(words, capture_output=True, text=True, check=False, env=fixed)
    assert found.returncode == 0, found.stderr[-2000:]
    return int(found.stdout.split()[-1])
