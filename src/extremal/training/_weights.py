"""Putting stored weights into a network."""

from pathlib import Path

from torch import nn

from ._errors import TrainingError
from ._tensors import load_tensors


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a state dictionary from a safetensors file into a module, in place.

    Args:
        model: Its names and shapes must be those of the file.
        path: A safetensors file of any origin. Where it carries a hash, that is checked.

    Raises:
        TrainingError: The file is damaged or belongs to another network; the first names that
            differ are given. The module is unchanged then.
        ValueError: There is no such file.
    """
    if not Path(path).is_file():
        raise ValueError(f"There is no file of weights {path}; give a .safetensors file.")
    tensors = load_tensors(path, foreign=True)
    own = model.state_dict()
    problems = [f"{name} is missing" for name in own if name not in tensors]
    problems += [f"{name} is not in the network" for name in tensors if name not in own]
    problems += [
        f"{name} is {tuple(tensors[name].shape)} and the network's {tuple(own[name].shape)}"
        for name in own
        if name in tensors and own[name].shape != tensors[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise TrainingError(
            f"{path} does not fit the network: {'; '.join(problems[:3])}{more}. "
            "Name the network that these weights come from."
        )
    model.load_state_dict(tensors)
