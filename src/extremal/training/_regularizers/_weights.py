"""The weights that the regularizers of this package act on."""

from torch import Tensor, nn


def convolutions(model: nn.Module) -> dict[str, Tensor]:
    """Weights of convolutions by name; of linear layers where there is no convolution."""
    found = _of(model, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    return found or _of(model, (nn.Linear,))


def matrices(model: nn.Module) -> dict[str, Tensor]:
    """Weights of convolutions and linear layers by name, read as (outputs, all others)."""
    return _of(model, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear))


def _of(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, kinds) and isinstance(weight, Tensor):
            found[name] = weight
    return found
