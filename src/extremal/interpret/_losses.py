"""The losses of the game, in forms that stay finite for any scores.

Scores z have n + 1 columns, don't know last; p = softmax(z).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def merlin_loss(z: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return -log p_y: Merlin and Arthur want the class named.

    Example:
        >>> merlin_loss(torch.zeros(1, 3), torch.tensor([0])).round(decimals=4)
        tensor([1.0986])
    """
    return functional.cross_entropy(z, labels, reduction="none")


def morgana_loss(z: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return -log(p_y + p_dont_know), which Morgana maximises and Arthur minimises.

    Example:
        >>> morgana_loss(torch.zeros(1, 3), torch.tensor([0])).round(decimals=4)
        tensor([0.4055])
    """
    safe = torch.stack([z.gather(1, labels[:, None])[:, 0], z[:, -1]], 1)
    return torch.logsumexp(z, 1) - torch.logsumexp(safe, 1)


def aimed_loss(z: Float[Tensor, "b c"], targets: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return -log(1 - p_target), which a Morgana who aims at one class maximises.

    With two classes and the other class as target it is `morgana_loss`.

    Example:
        >>> aimed_loss(torch.zeros(1, 4), torch.tensor([2])).round(decimals=4)
        tensor([0.2877])
    """
    others = torch.arange(z.shape[1], device=z.device) != targets[:, None]
    return torch.logsumexp(z, 1) - torch.logsumexp(z[others].unflatten(0, (len(z), -1)), 1)


def one_sided_losses(
    z: Float[Tensor, "b c"], labels: Int[Tensor, " b"], target: int
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Return what Merlin and Morgana minimise when one class alone is argued for.

    With s = sigmoid(z_target - z_dont_know), Merlin on members of the class and Morgana on all
    others both minimise 1 - s; on the other rows each loss is 0. Arthur minimises Merlin's loss
    minus gamma times Morgana's. Rejecting is don't know, so soundness means rejected.
    """
    refused = 1 - torch.sigmoid(z[:, target] - z[:, -1])
    member = labels == target
    zero = torch.zeros_like(refused)
    return torch.where(member, refused, zero), torch.where(member, zero, refused)
