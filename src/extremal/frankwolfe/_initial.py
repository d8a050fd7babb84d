"""Expected norms of freshly initialised tensors, in closed form.

No layer is initialised again to measure them: that would change weights and random state.
"""

import math
from collections.abc import Sequence


def uniform_norm(n: int, bound: float) -> float:
    """Return E|W| for n entries uniform on [-bound, bound].

    The square has mean n bound^2 / 3 and each entry's square a variance of 4 bound^4 / 45; the
    second-order term of the root gives the factor 1 - 0.1 / n.
    """
    return bound * math.sqrt(n / 3.0) * (1.0 - 0.1 / n)


def expected_norm(shape: Sequence[int], fan_in: int | None = None) -> float:
    """Return E|W| for torch's default Linear and Conv initialisation.

    Args:
        shape: Of the tensor.
        fan_in: Inputs of an output; for a weight the product of all but the first dimension.

    Raises:
        ValueError: The tensor is one-dimensional and no `fan_in` is given.

    Example:
        >>> round(expected_norm((64, 32)), 3)
        4.619
    """
    n = math.prod(shape)
    if fan_in is None:
        if len(shape) < 2:
            raise ValueError(
                f"the expected norm of a tensor of shape {tuple(shape)} depends on its layer's "
                "inputs; give radius= or diameter=, or let regions_for find it."
            )
        fan_in = n // shape[0]
    return uniform_norm(n, 1.0 / math.sqrt(fan_in))
