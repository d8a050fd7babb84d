"""Baselines that step as usual and then project onto the region."""
# pyright: reportPrivateImportUsage=false
# The _foreach functions are torch's own way to treat many tensors at once.

from typing import Any

import torch
from torch import Tensor

from ._optimizer import FREE, RegionOptimizer, apart, between, together

KINDS = ("sgd", "adam", "amsgrad", "adagrad")


class ProjectedSGD(RegionOptimizer):
    """SGD with momentum, each step followed by the Euclidean projection on the region.

    Args:
        params: Groups of `regions_for`, or any groups with a `region`.
        lr: Learning rate.
        momentum: In [0, 1).
        nesterov: Nesterov's momentum.
        weight_decay: Coupled, as in `torch.optim.SGD`.
        decoupled: Multiply weights by 1 - lr weight_decay instead.
        normalize: Divide the gradient of each parameter by its norm.
        start: What to do with a parameter outside its region.
        **free: `free`, `free_lr`, `free_momentum`, `free_weight_decay`, as for `SFW`.
    """

    def __init__(
        self,
        params: Any,
        lr: float | int = 0.1,
        *,
        momentum: float | int = 0.9,
        nesterov: bool = False,
        weight_decay: float | int = 0.0,
        decoupled: bool = False,
        normalize: bool = False,
        start: str = "project",
        **free: Any,
    ) -> None:
        """See the class."""
        own = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "normalize": normalize,
        }
        super().__init__(params, {**own, **_free_options(free)}, start)

    def _check_group(self, group: dict[str, Any]) -> None:
        between("lr", group["lr"], 0.0, float("inf"))
        between("momentum", group.get("momentum", 0.0), 0.0, 1.0)
        between("weight_decay", group.get("weight_decay", 0.0), 0.0, float("inf"))
        if group.get("nesterov") and not group["momentum"]:
            raise ValueError("nesterov=True with momentum=0 has nothing to look ahead along.")

    def _region_step(self, group: dict[str, Any], places: list[int], grads: list[Tensor]) -> None:
        sizes = list(torch._foreach_norm(grads))
        self._refuse_not_finite(group, places, sizes)
        params = [group["params"][i] for i in places]
        lr, decay = group["lr"], group["weight_decay"]
        if group["normalize"]:
            ones = [torch.where(s > 0, s, torch.ones_like(s)) for s in sizes]
            grads = [g / s for g, s in zip(grads, ones, strict=True)]
        if decay and group["decoupled"]:
            torch._foreach_mul_(params, 1 - lr * decay)
        elif decay:
            grads = list(torch._foreach_add(grads, params, alpha=decay))
        for p, g in zip(params, grads, strict=True):
            state = self.state[p]
            if "momentum_buffer" in state:
                state["momentum_buffer"].mul_(group["momentum"]).add_(g)
            else:
                state["momentum_buffer"] = g.clone()
            m = state["momentum_buffer"]
            p.add_(g.add(m, alpha=group["momentum"]) if group["nesterov"] else m, alpha=-lr)
        self._project(group, places)

    def _project(self, group: dict[str, Any], places: list[int]) -> None:
        if group["joint"]:
            params = group["params"]
            apart(group["sized"][0].project(together(params)), params)
            return
        for i in places:
            p, region = group["params"][i], group["sized"][i]
            p.copy_(region.project(p.reshape(tuple(p.shape) or (1,))).reshape(p.shape))


class ProjectedAdam(ProjectedSGD):
    """Adam, AMSGrad or AdaGrad, each step followed by the Euclidean projection on the region.

    Args:
        params: Groups of `regions_for`, or any groups with a `region`.
        lr: Learning rate.
        kind: "adam", "amsgrad" or "adagrad".
        betas: Of the averages, each in [0, 1).
        eps: Added to the root of the second average.
        start: What to do with a parameter outside its region.
        **free: `free`, `free_lr`, `free_momentum`, `free_weight_decay`, as for `SFW`.
    """

    def __init__(
        self,
        params: Any,
        lr: float | int = 1e-3,
        *,
        kind: str = "adam",
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float | int = 1e-8,
        start: str = "project",
        **free: Any,
    ) -> None:
        """See the class."""
        if kind not in KINDS[1:]:
            raise ValueError(f"kind={kind!r} is unknown; choose {', '.join(KINDS[1:])}.")
        own = {"lr": lr, "kind": kind, "betas": betas, "eps": eps}
        RegionOptimizer.__init__(self, params, {**own, **_free_options(free)}, start)

    def _check_group(self, group: dict[str, Any]) -> None:
        between("lr", group["lr"], 0.0, float("inf"))
        for beta in group["betas"]:
            between("betas", beta, 0.0, 1.0)

    def _region_step(self, group: dict[str, Any], places: list[int], grads: list[Tensor]) -> None:
        self._refuse_not_finite(group, places, list(torch._foreach_norm(grads)))
        one, two = group["betas"]
        lr, eps, kind = group["lr"], group["eps"], group["kind"]
        for i, g in zip(places, grads, strict=True):
            p = group["params"][i]
            state = self.state[p]
            if not state:
                state["step"] = torch.zeros(())
                state["momentum_buffer"] = torch.zeros_like(p)
                state["square"], state["most"] = torch.zeros_like(p), torch.zeros_like(p)
            state["step"] += 1
            if kind == "adagrad":
                state["square"].addcmul_(g, g)
                state["momentum_buffer"].copy_(g)
                p.addcdiv_(g, state["square"].sqrt().add_(eps), value=-lr)
                continue
            t = float(state["step"])
            m = state["momentum_buffer"].lerp_(g, 1 - one)
            second = state["square"].mul_(two).addcmul_(g, g, value=1 - two)
            if kind == "amsgrad":
                second = torch.maximum(state["most"], second, out=state["most"])
            root = (second.sqrt() / (1 - two**t) ** 0.5).add_(eps)
            p.addcdiv_(m, root, value=-lr / (1 - one**t))
        self._project(group, places)


def _free_options(given: dict[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "free": "sgd",
        "free_lr": None,
        "free_momentum": 0.9,
        "free_weight_decay": 0.0,
    }
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise TypeError(f"no such option: {', '.join(unknown)}.")
    if given.get("free", "sgd") not in FREE:
        raise ValueError(f"free={given['free']!r} is unknown; choose {', '.join(FREE)}.")
    return {**defaults, **given}
