"""Which weights of a network may be pruned.

By default the weights of Linear and Conv1d/2d/3d. Never a bias, never a normalisation layer. A
weight that an embedding also uses (a tied output layer) is left alone unless named; a weight used
in several places is counted once, under its first name.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

_DEFAULT = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def prunable_weights(
    model: nn.Module, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> dict[str, nn.Parameter]:
    """Return the prunable weights of `model` by name, in parameter order.

    Args:
        model: Any network.
        include: Names or globs of parameters or modules (`"*"`, `"layer1.*"`, `"head"`). When
            given, exactly the matching tensors of two or more dimensions are prunable, embeddings
            among them; when empty, the weights of linear and convolutional layers.
        exclude: Names or globs to leave dense; applied last.

    Returns:
        Parameter name to parameter; tied parameters appear once.

    Raises:
        ValueError: A pattern matches nothing, or nothing is left to prune.
    """
    first_names = dict(model.named_parameters())  # removes duplicates, keeps the first name
    name_of = {id(parameter): name for name, parameter in first_names.items()}
    aliases: dict[str, list[str]] = {name: [] for name in first_names}
    for alias, parameter in model.named_parameters(remove_duplicate=False):
        aliases[name_of[id(parameter)]].append(alias)

    default: set[str] = set()
    embedded: set[str] = set()
    for module in model.modules():
        weight = module._parameters.get("weight")
        if weight is not None and isinstance(module, _DEFAULT):
            default.add(name_of[id(weight)])
        if weight is not None and isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
            embedded.add(name_of[id(weight)])

    def matches(name: str, pattern: str) -> bool:
        spellings = [s for alias in aliases[name] for s in (alias, alias.rpartition(".")[0])]
        return any(fnmatchcase(s, pattern) for s in spellings)

    allowed = [name for name, parameter in first_names.items() if parameter.dim() >= 2]
    for pattern in (*include, *exclude):
        if not any(matches(name, pattern) for name in allowed):
            raise ValueError(
                f"The pattern {pattern!r} matches no weight of the network (biases and "
                "normalisation layers are never prunable). Its weights are: "
                f"{', '.join(allowed) or 'none'}."
            )
    chosen = {
        name: parameter
        for name, parameter in first_names.items()
        if name in allowed
        and (
            any(matches(name, pattern) for pattern in include)
            if include
            else name in default and name not in embedded
        )
        and not any(matches(name, pattern) for pattern in exclude)
    }
    if not chosen:
        raise ValueError(
            f"{type(model).__name__} has no prunable weight: no linear or convolutional layer is "
            "left after include and exclude. Name the tensors to prune with include=."
        )
    return chosen
