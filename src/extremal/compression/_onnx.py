"""ONNX: the dense graph, for runtimes elsewhere."""

import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from extremal.lab import atomic_write, require


def write_onnx(path: Path, model: nn.Module, shape: tuple[int, ...]) -> int:
    """Write a network as ONNX with a free batch size; return the bytes.

    Zeros of masks stay numbers there: ONNX Runtime has no kernels for unstructured sparsity, so
    only sliced and thin layers are faster.

    Raises:
        MissingExtra: onnx is not installed.
    """
    require("onnx", "compression")
    buffer = io.BytesIO()
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        # The tracing exporter is the one that needs no package beside onnx; torch says that it
        # is the older of the two.
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            export: Any = torch.onnx.export  # its stub knows paths only, not buffers
            export(
                model.eval(),
                (torch.zeros(1, *shape),),
                buffer,
                dynamo=False,
                input_names=["input"],
                output_names=["output"],
                dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
            )
        finally:
            logger.setLevel(level)
    atomic_write(path, buffer.getvalue())
    return path.stat().st_size
