"""The GPU evaluator: the kernels in numba's simulator here, on a device where there is one."""

import os
import subprocess
import sys

import pytest

from extremal import tcurves

CODE = """
import numpy as np
from extremal import tcurves
from extremal.tcurves._gpu import exhaust
for d, seed in ((2, 0), (3, 1), (4, 2), (5, 3)):
    t = tcurves.random_triangulation(d, seed, steps=40)
    signs = np.random.default_rng(seed).integers(0, 2, (9, t.n), dtype=np.uint8)
    one, two = tcurves.schemes(t, signs), tcurves.schemes(t, signs, device="cuda")
    assert one.types == two.types, (one.types, two.types)
    assert (one.index == two.index).all()
t = tcurves.honeycomb(2)
found = exhaust(t)
assert {str(s): n for s, n in found.counts.items()} == {"<1>": 8}, found
big = tcurves.strip_fan(10)
signs = np.random.default_rng(0).integers(0, 2, (1, big.n), dtype=np.uint8)
assert tcurves.schemes(big, signs, device="cuda")[0] == tcurves.schemes(big, signs)[0]
print("equal")
"""


def test_the_kernels_agree_with_the_cpu_in_the_simulator():
    ended = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout == "equal\n"


def test_without_a_device_it_says_so():
    from numba import cuda

    if cuda.is_available():
        assert tcurves.schemes(tcurves.honeycomb(2), ["000000"], device="cuda")[0].ovals == 1
        return
    with pytest.raises(tcurves.TCurveError, match="no CUDA device"):
        tcurves.schemes(tcurves.honeycomb(2), ["000000"], device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["bat", "moth", "honeycomb-6"])
def test_exhaustive_histograms_equal_the_census(name):
    from extremal.tcurves._gpu import exhaust

    found = exhaust(tcurves.named(name))
    census = tcurves.census(name)
    assert found.counts == {e.scheme: e.count for e in census.entries}
    for scheme, signs in found.witnesses.items():
        assert tcurves.scheme(name, signs) == scheme
