"""AdaSFW and AdamSFW: adaptive projection-free gradients (arXiv:2009.14114).

Notation: d the direction, H a diagonal metric from past gradients, K inner Frank-Wolfe steps with
exact line search on <d, y - x> + |y - x|_H^2 / (2 eta).
"""
# pyright: reportPrivateImportUsage=false
# The _foreach functions are torch's own way to treat many tensors at once.

import math
from typing import Any

import torch
from torch import Tensor

from ._optimizer import FREE, RegionOptimizer, apart, between, together
from ._region import Region


class AdaSFW(RegionOptimizer):
    """Stochastic Frank-Wolfe with AdaGrad's metric.

    Args:
        params: Groups of `regions_for`, or any groups with a `region`.
        lr: The eta of the inner problem: the length of a step in the metric.
        inner_steps: K, at least 1; each costs one oracle call.
        delta: Added to the metric.
        clip: Lower and upper bound of the metric, or None.
        cap: Largest inner step length, at most 1.
        start: What to do with a parameter outside its region: "refuse", "shrink" or "project".
        free: Companion of free parameters: "sgd" or "adamw".
        free_lr: Its learning rate; by default `lr`.
        free_momentum: Its momentum, for "sgd".
        free_weight_decay: Its weight decay.
        fused: False never uses the compiled step, which serves L2, maximum-norm and L1 balls.
        betas: Of the averages of `AdamSFW`; None for AdaGrad's sum.
    """

    def __init__(
        self,
        params: Any,
        lr: float | int = 0.1,
        *,
        inner_steps: int = 5,
        delta: float | int = 1e-8,
        clip: tuple[float, float] | None = None,
        cap: float | int = 1.0,
        start: str = "refuse",
        free: str = "sgd",
        free_lr: float | int | None = None,
        free_momentum: float | int = 0.9,
        free_weight_decay: float | int = 0.0,
        fused: bool | None = None,
        betas: tuple[float, float] | None = None,
    ) -> None:
        """See the class."""
        super().__init__(
            params,
            {
                "lr": lr,
                "inner_steps": inner_steps,
                "delta": delta,
                "clip": clip,
                "cap": cap,
                "betas": betas,
                "fused": fused,
                "free": free,
                "free_lr": free_lr,
                "free_momentum": free_momentum,
                "free_weight_decay": free_weight_decay,
            },
            start,
        )

    def _check_group(self, group: dict[str, Any]) -> None:
        steps = group.get("inner_steps", 1)
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(f"inner_steps={steps!r} is out of range; choose 1 or more.")
        if not 0 < group["lr"] < math.inf:
            raise ValueError(f"lr={group['lr']!r} is out of range; choose a finite number > 0.")
        between("cap", group.get("cap", 1.0), 0.0, 1.0, closed=True)
        between("delta", group.get("delta", 0.0), 0.0, math.inf)
        clip = group.get("clip")
        if clip is not None and not 0 < clip[0] <= clip[1]:
            raise ValueError(f"clip={clip!r} is out of order; choose 0 < lower <= upper.")
        for beta in group.get("betas") or ():
            between("betas", beta, 0.0, 1.0)
        if group.get("free", "sgd") not in FREE:
            raise ValueError(f"free={group['free']!r} is unknown; choose {', '.join(FREE)}.")

    def _region_step(self, group: dict[str, Any], places: list[int], grads: list[Tensor]) -> None:
        if group["fused"] is not False and not group["joint"] and group["lr"] > 0:
            from ._cuda_adaptive import fused_cuda_adaptive_step
            from ._kernels import fused_adaptive_step

            fused = fused_cuda_adaptive_step if grads[0].is_cuda else fused_adaptive_step
            if fused(self, group, places, grads):
                return
        self._refuse_not_finite(group, places, list(torch._foreach_norm(grads)))
        params = [group["params"][i] for i in places]
        directions = [self._direction(group, p, g) for p, g in zip(params, grads, strict=True)]
        if group["lr"] == 0:  # where a schedule ends
            return
        metrics = [self._metric(group, p) for p in params]
        if group["joint"]:
            x = together(params)
            region = group["sized"][0]
            apart(_inner(group, region, x, together(directions), together(metrics)), params)
            return
        for i, p, d, h in zip(places, params, directions, metrics, strict=True):
            p.copy_(_inner(group, group["sized"][i], p, d, h))

    def _memory(self, group: dict[str, Any], p: Tensor) -> dict[str, Any]:
        """The state of a parameter; made at its first step."""
        state = self.state[p]
        if "sum" not in state:
            dtype = torch.float32 if p.element_size() < 4 else p.dtype
            state["sum"] = torch.zeros_like(p, dtype=dtype)
            state["momentum_buffer"] = torch.zeros_like(p, dtype=dtype)
            if group["betas"] is not None:
                state["most"] = torch.zeros_like(p, dtype=dtype)
        return state

    def _direction(self, group: dict[str, Any], p: Tensor, g: Tensor) -> Tensor:
        state = self._memory(group, p)
        g = g.to(state["sum"].dtype)
        if group["betas"] is None:
            state["sum"].addcmul_(g, g)
            return state["momentum_buffer"].copy_(g)
        one, two = group["betas"]
        state["momentum_buffer"].lerp_(g, 1 - one)
        state["sum"].mul_(two).addcmul_(g, g, value=1 - two)
        torch.maximum(state["most"], state["sum"], out=state["most"])
        return state["momentum_buffer"]

    def _metric(self, group: dict[str, Any], p: Tensor) -> Tensor:
        state = self.state[p]
        h = (state["sum"] if group["betas"] is None else state["most"]).sqrt().add_(group["delta"])
        return h if group["clip"] is None else h.clamp_(*group["clip"])


class AdamSFW(AdaSFW):
    """AdaSFW with exponential averages of gradients and squares, without bias correction.

    Args:
        params: Groups of `regions_for`, or any groups with a `region`.
        lr: The eta of the inner problem.
        betas: Of the averages, each in [0, 1).
        **options: As for `AdaSFW`.
    """

    def __init__(
        self,
        params: Any,
        lr: float | int = 0.01,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        **options: Any,
    ) -> None:
        """See the class."""
        super().__init__(params, lr, betas=betas, **options)


def _inner(group: dict[str, Any], region: Region, x: Tensor, d: Tensor, h: Tensor) -> Tensor:
    """Return the point after K steps; all decisions stay on the device."""
    eta = float(group["lr"])
    start = x.to(d.dtype)
    shape = tuple(x.shape) or (1,)
    rows = (1, *region._plain_shape(shape))
    size = region._size(shape)
    alive = torch.linalg.vector_norm(d) > 0
    y = start.clone()
    q, away = torch.empty_like(d), torch.empty_like(d)  # fresh memory every time costs most
    for _ in range(group["inner_steps"]):
        torch.sub(y, start, out=away)
        torch.mul(h, away, out=q)
        q.mul_(1 / eta).add_(d)
        v = region._lmo(q.reshape(rows)).reshape(x.shape)
        if size != 1.0:
            v.mul_(size)
        torch.sub(y, v, out=away)
        gain = eta * torch.dot(q.reshape(-1), away.reshape(-1))
        torch.mul(h, away, out=q)
        below = torch.dot(q.reshape(-1), away.reshape(-1))
        moving = (below > 0) & alive
        step = torch.where(moving, gain / torch.where(moving, below, torch.ones_like(below)), 0.0)
        y.lerp_(v, step.clamp(0.0, float(group["cap"])).to(y.dtype))
    return y
