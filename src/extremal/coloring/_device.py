"""torch on a device that is there."""

from typing import Any

from extremal.lab import require

from ._errors import ColoringError


def torch_on(device: str = "cpu") -> Any:
    """Return the module torch.

    Raises:
        MissingExtra: torch is not installed.
        ColoringError: torch cannot use the device.
    """
    torch: Any = require("torch", "coloring")
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ColoringError(f"{device!r} is no device of torch; use cpu or cuda.") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ColoringError(f"device {device!r} was asked for, but torch sees no GPU; use cpu.")
    return torch
