"""SFW over balls of groups on a GPU: three launches for a whole list of tensors."""

import weakref
from typing import Any

import torch
from torch import Tensor

from ._cuda import RESCALES, Listed, available, plain, power, refuse

_MOST = 1 << 14  # groups of a tensor that one program can rank
_PLANS: weakref.WeakKeyDictionary[Any, dict[int, "_RowsPlan"]] = weakref.WeakKeyDictionary()


def fused_cuda_rows_step(
    optimizer: Any, group: dict[str, Any], places: list[int], grads: list[Tensor]
) -> bool:
    """Make the step of one group over GroupKSupport or GroupL1; False elsewhere."""
    names = ("GroupKSupport", "GroupL1")
    if type(group["region"]).__name__ not in names or not grads[0].is_cuda or not available():
        return False
    plans = _PLANS.setdefault(optimizer, {})
    plan = plans.get(id(group))
    if plan is None or not plan.fits(optimizer, group, places, grads):
        params = [group["params"][i] for i in places]
        fine = all(plain(p, g) and p.shape[0] <= _MOST for p, g in zip(params, grads, strict=True))
        if not fine or (group["momentum"] == 0 and group["momentum_seed"] == "gradient"):
            return False
        plan = plans[id(group)] = _RowsPlan(optimizer, group, places, grads)
    plan.run(group)
    return True


class _RowsPlan(Listed):
    """What stays the same from step to step for the tensors of a group."""

    def __init__(
        self, optimizer: Any, group: dict[str, Any], places: list[int], grads: list[Tensor]
    ) -> None:
        """Make the state of new parameters, the tables and the room for sums."""
        super().__init__(optimizer, group, 0, places)
        regions = [group["sized"][i] for i in places]
        self.buffers = [
            self.seeded(optimizer, group, p, g) for p, g in zip(self.params, grads, strict=True)
        ]
        self.clipped = self.counters(optimizer)
        device = self.params[0].device
        rows: list[tuple[int, int, int]] = []
        ranges = [0]
        for j, p in enumerate(self.params):
            length = p.numel() // p.shape[0]
            rows += [(j, r * length, length) for r in range(p.shape[0])]
            ranges.append(len(rows))
        self.count = len(rows)
        self.groups = torch.tensor(rows, dtype=torch.int64, device=device)
        self.ranges = torch.tensor(ranges, dtype=torch.int32, device=device)
        # The ball of the group norm with weight on one group at a time is that of k = 1.
        counts = [getattr(r, "_k", None) or 1 for r in regions]
        self.counts = torch.tensor(counts, dtype=torch.int32, device=device)
        shapes = [tuple(p.shape) for p in self.params]
        about = [[r._size(s), r.diameter(s)] for r, s in zip(regions, shapes, strict=True)]
        self.about = torch.tensor(about, dtype=torch.float64, device=device)
        self.sums = torch.zeros(self.count, 3, device=device)
        self.factors = torch.zeros(self.count, device=device)
        self.keeps = torch.zeros(self.n, device=device)
        self.bad = torch.zeros(self.n, dtype=torch.int8, device=device)
        self.most = power(max(p.shape[0] for p in self.params))
        self.point(grads)

    def rows(self) -> list[list[Tensor]]:
        """See `Listed`."""
        return [self.buffers, self.clipped]

    def run(self, group: dict[str, Any]) -> None:
        """Update averages, choose groups and lengths, move."""
        from . import _triton_rows

        kernels: Any = _triton_rows
        n, rescale = self.n, RESCALES.index(group["rescale"])
        keep, take = float(group["momentum"]), 1.0 - float(group["dampening"])
        with torch.cuda.device(self.params[0].device):
            kernels.first[(self.count,)](
                self.where, self.groups, self.sums, n, keep, take, NEEDS_X=rescale == 2, BLOCK=1024
            )
            kernels.choose[(n,)](
                self.where, self.ranges, self.sums, self.counts, self.about, self.keeps,
                self.factors, self.bad, n, float(group["lr"]) * float(group["lr_factor"]),
                RESCALE=rescale, GROUPS=self.most,
            )  # fmt: skip
            kernels.second[(self.count,)](
                self.where, self.groups, self.keeps, self.factors, self.bad, n, BLOCK=1024,
                TENSORS=power(n),
            )  # fmt: skip
            late = self.watch.take(self.bad)
        if late is not None:
            refuse(group, self.places[late], self.buffers)
