"""Muon and Scion: Frank-Wolfe over spectral balls under other names.

Muon with weight decay w and learning rate lr is stochastic Frank-Wolfe with step lr w over the
spectral ball of radius s / w, s its shape factor; a test repeats this. Scion is the same with one
region for each kind of layer. Sources: Jordan et al. 2024; Pethick et al., arXiv:2502.07529.
"""
# pyright: reportPrivateImportUsage=false
# The _foreach functions are torch's own way to treat many tensors at once.

import math
from typing import Any

import torch
from torch import Tensor, nn

from ._region import Region
from ._regions import ColNorm, L2Ball, Sign, SpectralBall, SpectralConv
from ._regions_for import regions_for
from ._sfw import SFW

ADJUST = {"original": "max", "match_rms_adamw": "rms"}


class Muon(SFW):
    """Muon for the weights of a network, with a companion for everything else.

    Weights of convolutions are read as (outputs, all others); the matrices of equal shape, up to
    transposition, are orthogonalised together.

    Args:
        model: A module; or groups with `params` (matrices) and, for free parameters,
            `region=None`.
        lr: Muon's learning rate.
        weight_decay: Decoupled; 0 drops the constraint.
        momentum: In [0, 1).
        nesterov: Look ahead along the momentum.
        adjust: "original" or "match_rms_adamw".
        spectral: "fast" is Muon's own; "accurate", "feasible" and "exact" as for `SFW`.
        **free: `free` ("adamw" by default), `free_lr`, `free_weight_decay`, `free_momentum`.
    """

    def __init__(
        self,
        model: Any,
        lr: float | int = 1e-3,
        *,
        weight_decay: float | int = 0.1,
        momentum: float | int = 0.95,
        nesterov: bool = True,
        adjust: str = "original",
        spectral: str = "fast",
        start: str = "shrink",
        **free: Any,
    ) -> None:
        """See the class."""
        if adjust not in ADJUST:
            raise ValueError(f"adjust={adjust!r} is unknown; choose {', '.join(ADJUST)}.")
        if not 0 <= weight_decay < math.inf:
            raise ValueError(f"weight_decay={weight_decay!r} is out of range; choose 0 or more.")
        radius = 1.0 / weight_decay if weight_decay else 1.0
        region = SpectralBall(radius, scaling=ADJUST[adjust])
        if isinstance(model, nn.Module):
            groups = regions_for(model, rule=lambda _, m, p: _hidden(m, p, region))
        else:
            groups = [{"region": region, **g} if isinstance(g, dict) else g for g in model]
            if groups and isinstance(groups[0], Tensor):
                groups = [{"params": groups, "region": region}]
        companion: dict[str, Any] = {"free": "adamw", **free}
        super().__init__(
            groups,
            lr,
            momentum=momentum,
            nesterov=nesterov,
            rescale="none",
            spectral=spectral,
            start=start,
            constrained=weight_decay > 0,
            lr_factor=weight_decay or 1.0,
            **companion,
        )


def _hidden(module: nn.Module, p: Tensor, region: Region) -> Region | None:
    matrix = p.ndim >= 2 and not isinstance(module, (nn.Embedding, nn.EmbeddingBag))
    return region if matrix else None


class Scion(SFW):
    """Scion: hidden layers in spectral balls, the output layer in a maximum-norm ball.

    Args:
        model: A module.
        lr: The step length gamma; 2^-12 to 2^-4 is usual.
        momentum: 1 - alpha; 0.9 by default, 0.5 for short runs.
        hidden: Radius of hidden layers; 50 for language models, 8 for small CNNs.
        head: Radius of the output layer; 3000 and 128.
        vectors: Radius, per root of the size, of biases and norms; None leaves them free.
        constrained: False is the unconstrained form.
        spectral: As for `SFW`.
        start: What to do with a parameter outside its region; `scion_init_` puts all inside.
        **free: `free`, `free_lr`, `free_momentum`, `free_weight_decay`, as for `SFW`.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float | int = 2**-8,
        *,
        momentum: float | int = 0.9,
        hidden: float | int = 50.0,
        head: float | int = 3000.0,
        vectors: float | int | None = 1.0,
        constrained: bool = True,
        spectral: str = "accurate",
        start: str = "shrink",
        **free: Any,
    ) -> None:
        """See the class."""
        super().__init__(
            scion_regions(model, hidden=hidden, head=head, vectors=vectors),
            lr,
            momentum=momentum,
            rescale="none",
            spectral=spectral,
            start=start,
            constrained=constrained,
            **free,
        )


class ScionLight(Scion):
    """Scion without a buffer of its own: the gradients themselves are the running sums.

    After a step every gradient of a constrained parameter is multiplied by `momentum`, and
    `zero_grad` leaves it, so that the next backward pass adds to it. Oracles do not see the scale,
    so the steps are those of `Scion`. Do not set gradients to zero or None in another way, and do
    not clip or unscale them: what they hold is the sum. They are part of `state_dict`.
    """

    def __init__(
        self, model: nn.Module, lr: float | int = 2**-8, *, momentum: float | int = 0.9, **rest: Any
    ) -> None:
        """See `Scion`."""
        super().__init__(model, lr, momentum=momentum, **rest)
        for group in self.param_groups:
            group["fused"] = False

    def _averaged(
        self, group: dict[str, Any], places: list[int], grads: list[Tensor]
    ) -> list[Tensor]:
        return grads

    def _region_step(self, group: dict[str, Any], places: list[int], grads: list[Tensor]) -> None:
        super()._region_step(group, places, grads)
        torch._foreach_mul_(grads, float(group["momentum"]))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of free parameters only."""
        for group in self.param_groups:
            if group["region"] is not None:
                continue
            for p in group["params"]:
                if p.grad is not None and set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Return the state; the gradients of constrained parameters are in it."""
        sums = [
            None if p.grad is None or group["region"] is None else p.grad.detach().clone()
            for group in self.param_groups
            for p in group["params"]
        ]
        return {**super().state_dict(), "gradients": sums}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a state back, gradients included."""
        rest = dict(state_dict)
        sums = rest.pop("gradients")
        super().load_state_dict(rest)
        params = [p for group in self.param_groups for p in group["params"]]
        for p, kept in zip(params, sums, strict=True):
            p.grad = None if kept is None else kept.to(device=p.device, dtype=p.dtype).clone()


def scion_regions(
    model: nn.Module,
    *,
    hidden: float | int = 50.0,
    head: float | int = 3000.0,
    vectors: float | int | None = 1.0,
) -> list[dict[str, Any]]:
    """Return Scion's groups: spectral, spectral for kernels, sign for the last layer, columns."""
    layers = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.modules.conv._ConvNd))]
    last = layers[-1] if layers else None

    def rule(_: str, module: nn.Module, p: Tensor) -> Region | None:
        if p.ndim < 2:
            return None if vectors is None else L2Ball(float(vectors) * math.sqrt(p.numel()))
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
            return ColNorm(hidden)
        if module is last:
            return Sign(head)
        if p.ndim > 2:
            return SpectralConv(hidden)
        return SpectralBall(hidden, scaling="ratio")

    return regions_for(model, rule)


@torch.no_grad()
def scion_init_(model: nn.Module, *, hidden: float = 50.0, head: float = 3000.0) -> None:
    """Initialise a model on the boundary of Scion's regions: orthogonal, random signs, zeros."""
    for group in scion_regions(model, hidden=hidden, head=head):
        for p in group["params"]:
            region = group["region"].sized(tuple(p.shape) or (1,))
            if p.ndim < 2:
                p.zero_()
            elif isinstance(region, Sign):
                p.copy_(torch.randint(0, 2, p.shape, device=p.device) * 2.0 - 1.0)
                p.mul_(region._size(tuple(p.shape)))
            elif isinstance(region, (SpectralBall, SpectralConv)):
                flat = torch.empty(p.shape[0], p[0].numel(), device=p.device)
                nn.init.orthogonal_(flat)
                p.copy_(flat.reshape(p.shape)).mul_(region._size(tuple(p.shape)))
            else:
                p.normal_()
                p.copy_(region.lmo(p))
