"""What is measured on a GPU agrees with the CPU; a network that was trained there can be cut."""

import pytest
import torch

from extremal import compression, training

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


def test_a_sweep_of_a_network_on_the_gpu_measures_as_the_cpu_does():
    dense = training.fit(model="resnet20", epochs=2, device="cuda")
    options = {"kinds": ("unstructured", "filters", "lowrank"), "ratios": (0.5, 0.9)}
    there = compression.sweep(dense, device="cuda", **options)
    assert next(dense.model.parameters()).is_cuda  # the caller's network stays where it was
    here = compression.sweep(dense, **options)
    for a, b in zip(here.points, there.points, strict=True):
        assert (a.kind, a.ratio, a.parameters, a.macs) == (b.kind, b.ratio, b.parameters, b.macs)
        # TF32 convolutions change scores by 1e-3, which turns few of 360 answers
        assert abs(a.accuracy - b.accuracy) < 0.03
