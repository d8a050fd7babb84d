"""SFW over spectral balls on a GPU: stacks of matrices of one shape, by matrix products.

Three launches serve all matrices, and each shape adds fifteen calls (eighteen for the accurate
modes) however many matrices have it; torch's Muon makes some thirty-five for every matrix. Stacks
are kept from step to step: 4 bytes a parameter for the fast mode, 8 for the others.
"""

import weakref
from typing import Any

import torch
from torch import Tensor

from ._cuda import BLOCK, CHUNK, RESCALES, WARPS, Listed, available, plain, power, refuse
from ._newton_schulz import HIGHEST, MUON, POLAR_EXPRESS, TAYLOR, in_stages, stage

_REGIONS = ("SpectralBall", "SpectralConv")
_PLANS: weakref.WeakKeyDictionary[Any, dict[int, "_SpectralPlan"]] = weakref.WeakKeyDictionary()


def fused_cuda_spectral_step(
    optimizer: Any, group: dict[str, Any], places: list[int], grads: list[Tensor]
) -> bool:
    """Make the step of one group over spectral balls; False if it needs the general code."""
    if type(group["region"]).__name__ not in _REGIONS or not grads[0].is_cuda or not available():
        return False
    # With gradient rescaling the step depends on |v - x|, which the general code measures.
    if group["spectral"] == "exact" or group["rescale"] == "gradient":
        return False
    plans = _PLANS.setdefault(optimizer, {})
    plan = plans.get(id(group))
    if (
        plan is None
        or plan.mode != group["spectral"]
        or not plan.fits(optimizer, group, places, grads)
    ):
        params = [group["params"][i] for i in places]
        fine = all(plain(p, g) and p.is_contiguous() for p, g in zip(params, grads, strict=True))
        if not fine or group["momentum_seed"] == "gradient":
            return False
        plan = plans[id(group)] = _SpectralPlan(optimizer, group, places, grads)
    plan.run(group)
    return True


class _SpectralPlan(Listed):
    """What stays the same from step to step for the matrices of a group."""

    def __init__(
        self, optimizer: Any, group: dict[str, Any], places: list[int], grads: list[Tensor]
    ) -> None:
        """Make the state of new parameters, the tables and the stacks."""
        super().__init__(optimizer, group, 0, places)
        self.mode = group["spectral"]
        regions = [group["sized"][i] for i in places]
        self.buffers = [self.average(optimizer, p) for p in self.params]
        self.clipped = self.counters(optimizer)
        device = self.params[0].device
        self.kind_of = torch.bfloat16 if self.mode == "fast" else torch.float32
        shapes = [r._plain_shape(p.shape) for r, p in zip(regions, self.params, strict=True)]
        alike: dict[tuple[int, ...], list[int]] = {}
        for i, shape in enumerate(shapes):
            alike.setdefault(shape, []).append(i)
        self.stacks: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self.matrices: list[Tensor] = list(self.params)
        self.results: list[Tensor] = list(self.params)
        self.coefficients = MUON if self.mode == "fast" else POLAR_EXPRESS + TAYLOR
        for (rows, columns), members in alike.items():
            x = torch.empty(len(members), rows, columns, dtype=self.kind_of, device=device)
            spare = torch.empty_like(x)
            side = min(rows, columns)
            gram = torch.empty(len(members), side, side, dtype=self.kind_of, device=device)
            last = spare if len(self.coefficients) % 2 else x
            for place, i in enumerate(members):
                self.matrices[i], self.results[i] = x[place], last[place]
            if rows > columns:
                x, spare = x.mT, spare.mT
            self.stacks.append((x, spare, gram, torch.empty_like(gram)))
        shown = [tuple(p.shape) for p in self.params]
        sizes = [r._size(s) for r, s in zip(regions, shown, strict=True)]
        across = [r.diameter(s) for r, s in zip(regions, shown, strict=True)]
        self.factors = torch.tensor([-s for s in sizes], dtype=torch.float32, device=device)
        if self.mode == "feasible":
            self.factors /= HIGHEST
        self.inverse = torch.tensor([1.0 / d for d in across], dtype=torch.float32, device=device)
        self.sums = torch.zeros(self.cut.count, device=device)
        self.steps = torch.zeros(self.n, device=device)
        self.bad = torch.zeros(self.n, dtype=torch.int8, device=device)
        self.moves = torch.tensor(
            [[p.data_ptr() for p in self.params], [v.data_ptr() for v in self.results]],
            dtype=torch.int64,
        ).to(device, non_blocking=True)
        self.point(grads)

    def rows(self) -> list[list[Tensor]]:
        """See `Listed`."""
        return [self.buffers, self.matrices, self.clipped]

    def run(self, group: dict[str, Any]) -> None:
        """Update the averages, find their polar factors, move."""
        from . import _triton, _triton_spectral

        kernels: Any = _triton_spectral
        others: Any = _triton
        cut, n = self.cut, self.n
        keep, take = float(group["momentum"]), 1.0 - float(group["dampening"])
        lr = float(group["lr"]) * float(group["lr_factor"])
        shape: dict[str, Any] = {"CHUNK": CHUNK, "BLOCK": BLOCK, "num_warps": WARPS}
        grid = (cut.count,)
        kind = others.TYPES[self.kind_of]
        fast = self.mode == "fast"
        with torch.cuda.device(self.params[0].device):
            kernels.gather[grid](
                self.where, cut.chunks, cut.sizes, self.sums, n, keep, take, keep, W=kind,
                NESTEROV=bool(group["nesterov"]), WIDE=self.wide, **shape,
            )  # fmt: skip
            kernels.normalise[grid](
                self.where, cut.chunks, cut.sizes, cut.ranges, self.sums, self.inverse, self.steps,
                self.bad, n, lr, 1.0 if fast else 1.02, 1e-7 if fast else 0.0, W=kind,
                RESCALE=RESCALES.index(group["rescale"]), CLIP=bool(group["constrained"]),
                WIDE=self.wide, MANY=256, **shape,
            )  # fmt: skip
            for stack in self.stacks:
                _quintics(*stack, self.coefficients)
            others.blend[grid](
                self.moves, cut.chunks, cut.sizes, self.steps, self.factors, self.bad, n,
                X=others.TYPES[torch.float32], V=kind, ADD=not group["constrained"],
                WIDE=self.wide, TENSORS=power(n), **shape,
            )  # fmt: skip
            late = self.watch.take(self.bad)
        if late is not None:
            refuse(group, self.places[late], self.buffers)


def _quintics(
    now: Tensor, spare: Tensor, gram: Tensor, inner: Tensor,
    coefficients: tuple[tuple[float, float, float], ...],
) -> None:  # fmt: skip
    """Apply the quintics to a stack; the result is in `spare` after an odd number of them."""
    if in_stages(now, coefficients):
        half = (len(coefficients) + 1) // 2
        stage(now, coefficients[:half], spare)
        stage(spare, coefficients[half:], now)
        return
    for a, b, c in coefficients:
        torch.bmm(now, now.mT, out=gram)
        torch.baddbmm(gram, gram, gram, beta=b, alpha=c, out=inner)
        torch.baddbmm(now, inner, now, beta=a, out=spare)
        now, spare = spare, now
