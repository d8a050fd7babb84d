"""AdaSFW and AdamSFW over L2, maximum-norm and L1 balls on a GPU: 2 K + 1 launches a group."""
# pyright: reportPrivateImportUsage=false
# The _foreach functions are torch's own way to treat many tensors at once.

import weakref
from typing import Any

import torch
from torch import Tensor

from ._cuda import BLOCK, CHUNK, WARPS, Listed, available, plain, power, refuse
from ._kernels import KINDS

_PLANS: weakref.WeakKeyDictionary[Any, dict[int, "_AdaptivePlan"]] = weakref.WeakKeyDictionary()


def fused_cuda_adaptive_step(
    optimizer: Any, group: dict[str, Any], places: list[int], grads: list[Tensor]
) -> bool:
    """Make the AdaSFW or AdamSFW step of one group; False if it needs the general code."""
    kind = KINDS.get(type(group["region"]).__name__, len(KINDS))
    if kind > 2 or not grads[0].is_cuda or not available():
        return False
    plans = _PLANS.setdefault(optimizer, {})
    plan = plans.get(id(group))
    if plan is None or not plan.fits(optimizer, group, places, grads):
        params = [group["params"][i] for i in places]
        if not all(plain(p, g) for p, g in zip(params, grads, strict=True)):
            return False
        plan = plans[id(group)] = _AdaptivePlan(optimizer, group, kind, places, grads)
    plan.run(group, grads)
    return True


class _AdaptivePlan(Listed):
    """What stays the same from step to step for the tensors of a group."""

    def __init__(
        self, optimizer: Any, group: dict[str, Any], kind: int, places: list[int],
        grads: list[Tensor],
    ) -> None:  # fmt: skip
        """Make the state of new parameters, the tables and the room for sums and inner points."""
        super().__init__(optimizer, group, kind, places)
        held = [optimizer._memory(group, p) for p in self.params]
        device = self.params[0].device
        sizes = [p.numel() for p in self.params]
        inner = [torch.empty(n, device=device) for n in sizes]
        names = ("momentum_buffer", "sum")
        self.kept = [[h[name] for h in held] for name in names]
        self.kept += [[h.get("most", h["sum"]) for h in held], inner]
        radii = [
            group["sized"][i]._size(tuple(p.shape) or (1,))
            for i, p in zip(places, self.params, strict=True)
        ]
        self.radii = torch.tensor(radii, dtype=torch.float32, device=device)
        self.sums = torch.zeros(self.cut.count, 8, device=device)
        self.tops = torch.zeros(self.cut.count, 2, dtype=torch.int64, device=device)
        self.corners = torch.zeros(self.n, dtype=torch.int64, device=device)
        self.moves = torch.zeros(self.n, 4, device=device)
        self.point(grads)

    def rows(self) -> list[list[Tensor]]:
        """See `Listed`."""
        return self.kept

    def run(self, group: dict[str, Any], grads: list[Tensor]) -> None:
        """Make the inner steps."""
        from . import _triton_adaptive

        kernels: Any = _triton_adaptive
        cut, n, rounds = self.cut, self.n, int(group["inner_steps"])
        betas = group["betas"] or (0.0, 0.0)
        least, largest = group["clip"] or (0.0, 3e38)
        eta, delta = float(group["lr"]), float(group["delta"])
        shared: dict[str, Any] = {"KIND": self.kind, "ADAM": group["betas"] is not None}
        bad = ~torch.isfinite(torch.stack(torch._foreach_norm(grads)))
        with torch.cuda.device(self.params[0].device):
            for number in range(rounds + 1):
                kernels.adapt[(cut.count,)](
                    self.where, cut.chunks, cut.sizes, self.corners, self.radii, self.sums,
                    self.tops, self.moves, bad.view(torch.int8), n, 1.0 / eta, delta, float(least),
                    float(largest), float(betas[0]), float(betas[1]),
                    ROUND=min(number, 2), LAST=number == rounds, WIDE=self.wide, CHUNK=CHUNK,
                    BLOCK=BLOCK, TENSORS=power(n), num_warps=WARPS, **shared,
                )  # fmt: skip
                if number < rounds:
                    kernels.pace[(n,)](
                        self.where, cut.ranges, self.corners, self.radii, self.sums, self.tops,
                        self.moves, n, eta, 1.0 / eta, delta, float(least), float(largest),
                        float(group["cap"]),
                        ROUND=min(number, 1), MANY=256, **shared,
                    )  # fmt: skip
            late = self.watch.take(bad)
        if late is not None:
            refuse(group, self.places[late], [], still=True)
