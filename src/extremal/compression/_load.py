"""Opens what `compress` and `export` wrote, without the class the network came from."""

import json
from pathlib import Path

from torch import nn

from ._architecture import load_network
from ._errors import CompressionError
from ._sparse_linear import SparseLinear

KERNELS = "kernels.json"


def load(folder: str | Path, *, kernels: bool = True, prefix: str = "") -> nn.Module:
    """Open a network from its folder.

    Args:
        folder: Of `compress` or `export`.
        kernels: Use the sparse kernels that `export` found faster; without, layers are dense.
        prefix: "parent-" opens the network before.

    Returns:
        The network in eval mode, on the CPU.

    Raises:
        CompressionError: A file is missing or of another form.
        TrainingError: The weights are damaged.

    Example:
        >>> load("nowhere")
        Traceback (most recent call last):
        extremal.compression._errors.CompressionError: nowhere holds no network (there is no ...
    """
    model, _ = load_network(folder, prefix)
    file = Path(folder) / KERNELS
    if prefix or not kernels or not file.is_file():
        return model
    try:
        names = [str(name) for name in json.loads(file.read_text())["sparse"]]
        layers = {name: model.get_submodule(name) for name in names}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CompressionError(
            f"{file} is damaged ({type(error).__name__}: {error}); export the network again."
        ) from error
    for name, layer in layers.items():
        if not isinstance(layer, nn.Linear):
            raise CompressionError(f"{file} names {name}, which is no linear layer.")
        model.set_submodule(name, SparseLinear(layer))
    return model
