"""Gives each parameter of a network its region, by what it is."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from ._errors import SizeWarning
from ._initial import expected_norm, uniform_norm
from ._region import Region

ROLES = ("weights", "biases", "norms", "embeddings", "heads")
Rule = Callable[[str, nn.Module, Tensor], Region | None]
_NORMS = (
    nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm,
)  # fmt: skip


def regions_for(
    model: nn.Module,
    rule: Rule | None = None,
    *,
    weights: Region | None = None,
    biases: Region | None = None,
    norms: Region | None = None,
    embeddings: Region | None = None,
    heads: Region | None = None,
    joint: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Return parameter groups for the optimizers here.

    Weights, the last layer included, share `weights` unless `heads` is given. Everything without
    a region is free. Neither weights nor random state are touched.

    Args:
        model: Any module.
        rule: Of (name, module, parameter), returns a region or None for free; replaces the roles.
        weights: Region of tensors with two dimensions or more.
        biases: Region of biases and other vectors.
        norms: Region of scales and shifts of normalisation layers.
        embeddings: Region of embedding tables.
        heads: Region of the last linear or convolutional layer's weight.
        joint: Roles whose parameters share one region as if they were one vector.

    Returns:
        Groups with `params`, `names`, `region` (None: free), `init_norms` and `joint`.

    Raises:
        ValueError: The model has no parameters, no region was given, or a role is unknown.

    Example:
        >>> from extremal.frankwolfe import L2Ball
        >>> groups = regions_for(nn.Linear(4, 2), weights=L2Ball(width=10))
        >>> [(group["names"], str(group["region"])) for group in groups]
        [(['weight'], 'L2Ball(width=10)'), (['bias'], 'None')]
    """
    unknown = sorted(set(joint) - set(ROLES))
    if unknown:
        raise ValueError(f"there is no role {unknown[0]!r}; there are {', '.join(ROLES)}.")
    given = {
        "weights": weights,
        "biases": biases,
        "norms": norms,
        "embeddings": embeddings,
        "heads": heads if heads is not None else weights,
    }
    if rule is None and all(region is None for region in given.values()):
        raise ValueError("give at least one region, for instance weights=L2Ball(width=10).")
    last = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.modules.conv._ConvNd))][-1:]
    groups: dict[Any, dict[str, Any]] = {}
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for own, p in module.named_parameters(recurse=False):
            if id(p) in seen:
                continue
            seen.add(id(p))
            name = f"{prefix}.{own}" if prefix else own
            role = _role(module, own, p, bool(last) and module is last[0])
            region = given[role] if rule is None else rule(name, module, p)
            together = role in joint and rule is None
            region, key = _fitting(region, p, name, together), role if together else None
            group = groups.setdefault(
                (region, key),
                {
                    "params": [],
                    "names": [],
                    "region": region,
                    "init_norms": [],
                    "joint": together and region is not None,
                },
            )
            group["params"].append(p)
            group["names"].append(name)
            group["init_norms"].append(_init_norm(module, own, p))
    if not groups:
        raise ValueError("the model has no parameters.")
    return list(groups.values())


def _role(module: nn.Module, own: str, p: Tensor, last: bool) -> str:
    if isinstance(module, _NORMS) or "norm" in type(module).__name__.lower():
        return "norms"
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "embeddings"
    if p.ndim < 2 or own == "bias":
        return "biases"
    return "heads" if last and own == "weight" else "weights"


def _fitting(region: Region | None, p: Tensor, name: str, together: bool) -> Region | None:
    """Lower an absolute k to what the parameter has, with a warning."""
    k = getattr(region, "_k", None)
    if region is None or k is None or together or not hasattr(region, "_countable"):
        return region
    most = region._countable(tuple(p.shape))  # type: ignore[attr-defined]
    if k <= most:
        return region
    warnings.warn(
        f"{name} has {most} entries to choose k={k} from; k={most} there.",
        SizeWarning,
        stacklevel=3,
    )
    return region._replaced(k=most)


def _init_norm(module: nn.Module, own: str, p: Tensor) -> float:
    """The expected norm at torch's default initialisation, without drawing anything."""
    n = p.numel()
    fan_in = None
    weight = getattr(module, "weight", None)
    if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)) and isinstance(weight, Tensor):
        fan_in = weight.numel() // weight.shape[0]
    if own == "bias" and fan_in:
        return uniform_norm(n, fan_in**-0.5)
    if own == "bias":
        return 0.0
    if isinstance(module, (*_NORMS, nn.Embedding, nn.EmbeddingBag)):
        return float(n) ** 0.5  # ones, or standard normal
    if fan_in or p.ndim >= 2:
        return expected_norm(tuple(p.shape), fan_in)
    return float(p.detach().norm())
