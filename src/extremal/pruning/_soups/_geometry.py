"""Where the members of a soup lie, and what is between them.

Notation: x_j the masked prunable weights of the j-th member as one vector, b their barycentre,
o the pruned network that all retrainings started from.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

STEPS = 10  # of the line between two members


def geometry(
    members: Sequence[Mapping[str, Tensor]],
    masks: Mapping[str, Tensor],
    origin: Mapping[str, Tensor],
) -> dict[str, Any]:
    """Distances and angles over kept prunable weights only; never over counters or statistics.

    Args:
        members: State dicts of one or more members.
        masks: The mask that all share; it names the prunable weights.
        origin: The pruned network before retraining.

    Returns:
        Pairwise distances (least, mean, greatest), angles in degrees, distances to the barycentre,
        the mean norm of a member, and the mean distance that a member moved from `origin`.
    """
    vectors = [_vector(member, masks) for member in members]
    start = _vector(origin, masks)
    centre = torch.stack(vectors).mean(0)
    pairs = list(itertools.combinations(vectors, 2))
    distances = [float((a - b).norm()) for a, b in pairs]
    angles = [_angle(a, b) for a, b in pairs]
    to_centre = [float((v - centre).norm()) for v in vectors]
    moved = [float((v - start).norm()) for v in vectors]
    norm = math.fsum(float(v.norm()) for v in vectors) / len(vectors)
    travelled = math.fsum(moved) / len(moved)
    mean = math.fsum(distances) / len(distances) if distances else 0.0
    return {
        "distance": _spread(distances),
        "angle": _spread(angles),
        "to_barycentre": _spread(to_centre),
        "norm": norm,
        "moved": travelled,
        "distance_over_norm": mean / norm if norm else 0.0,
        "distance_over_moved": mean / travelled if travelled else 0.0,
    }


def basin(error: Callable[[Fraction], float]) -> dict[str, Any]:
    """Walk from one network to another: error at 11 points, and the barrier.

    Args:
        error: Of the mixture with this share of the first network.

    Returns:
        `alpha`, `error`, and the barrier: the largest error above the straight line between the
        two ends; 0 or less where averaging does no harm anywhere.

    Example:
        >>> basin(lambda a: float(a * (1 - a)))["barrier"]
        0.25
    """
    shares = [Fraction(i, STEPS) for i in range(STEPS + 1)]
    errors = [error(share) for share in shares]
    above = [
        e - float(a) * errors[-1] - (1 - float(a)) * errors[0]
        for a, e in zip(shares, errors, strict=True)
    ]
    return {"alpha": [float(a) for a in shares], "error": errors, "barrier": max(above)}


def _vector(state: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensor:
    return torch.cat(
        [state[name].detach().cpu().double()[mask.cpu()] for name, mask in masks.items()]
    )


def _angle(a: Tensor, b: Tensor) -> float:
    """In degrees; from half-sums, which keeps small angles exact where acos loses them."""
    a, b = a / a.norm().clamp_min(1e-300), b / b.norm().clamp_min(1e-300)
    return math.degrees(2 * math.atan2(float((a - b).norm()), float((a + b).norm())))


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"min": min(values), "mean": math.fsum(values) / len(values), "max": max(values)}
