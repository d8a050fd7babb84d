"""Stochastic Frank-Wolfe as a `torch.optim.Optimizer`.

Notation: m the averaged gradient, v = LMO(m), g = step length in [0, 1]; x <- x + g (v - x).
Sources: arXiv:2010.07243, arXiv:2205.11921. Differs from them: m = 0 leaves a parameter as it is;
a parameter without gradient shifts nothing; regions belong to groups, and `step` takes no argument.
"""
# pyright: reportPrivateImportUsage=false
# The _foreach functions are torch's own way to treat many tensors at once.

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from ._newton_schulz import MODES, one_by_one, polar, polar_each, polar_stack
from ._optimizer import FREE, RegionOptimizer, apart, between, together
from ._region import Region
from ._subspace import BATCHED, Subspace, leading_vertices

RESCALES = ("none", "diameter", "gradient", "fast_gradient")
SEEDS = ("zero", "gradient")
_SPECTRAL = ("SpectralBall", "SpectralConv")
_LEADING = ("SpectralKSupport", "NuclearBall", "KyFanKSparse")


class SFW(RegionOptimizer):
    """Stochastic Frank-Wolfe with momentum.

    `lr` is the step length itself with `rescale="none"` (then at most 1); the Euclidean length of a
    step, at most, with "diameter"; a multiple of the averaged gradient's norm, so that rates of SGD
    carry over, with "gradient" and, without looking at the parameter, with "fast_gradient".

    Weight decay does not belong here: the region's size takes its place.

    Args:
        params: Groups of `regions_for`, or any groups with a `region`.
        lr: See above.
        momentum: In [0, 1).
        dampening: The share of each gradient that is left out; equal to `momentum`, the default,
            it makes m an average. 0 is the convention of the compression-aware papers.
        momentum_seed: "zero" starts m at 0, "gradient" at the first gradient.
        rescale: "none", "diameter", "gradient" or "fast_gradient".
        spectral: How spectral balls are solved: "fast", "accurate", "feasible" or "exact".
        start: What to do with a parameter outside its region: "refuse", "shrink" or "project".
        free: Companion of free parameters: "sgd" or "adamw".
        free_lr: Its learning rate; by default `lr`.
        free_momentum: Its momentum, for "sgd".
        free_weight_decay: Its weight decay.
        fused: Use compiled kernels; by default where numba is installed, on a GPU Triton.
        nesterov: Look ahead along the momentum, as Muon does.
        constrained: False adds lr v instead of moving towards v: the unconstrained form of Scion
            and of Muon without weight decay, which leaves the region.
        lr_factor: Multiplies `lr` for the steps over regions, so that schedulers may set `lr` in
            another optimizer's unit.

    Raises:
        ValueError: An option is out of range, or a group has no region.
        FrankWolfeError: A parameter starts outside its region, or a gradient is not finite.

    Example:
        >>> import torch
        >>> from extremal import frankwolfe as fw
        >>> layer = torch.nn.Linear(4, 2)
        >>> opt = fw.SFW(fw.regions_for(layer, weights=fw.L1Ball(diameter=20.0)), lr=0.1)
        >>> layer(torch.ones(4)).sum().backward()
        >>> opt.step()
    """

    def __init__(
        self,
        params: Any,
        lr: float | int = 0.1,
        *,
        momentum: float | int = 0.9,
        dampening: float | int | None = None,
        momentum_seed: str = "zero",
        rescale: str = "gradient",
        spectral: str = "accurate",
        start: str = "refuse",
        free: str = "sgd",
        free_lr: float | int | None = None,
        free_momentum: float | int = 0.9,
        free_weight_decay: float | int = 0.0,
        fused: bool | None = None,
        nesterov: bool = False,
        constrained: bool = True,
        lr_factor: float | int = 1.0,
    ) -> None:
        """See the class."""
        defaults: dict[str, Any] = {
            "lr": lr,
            "momentum": momentum,
            "dampening": momentum if dampening is None else dampening,
            "momentum_seed": momentum_seed,
            "rescale": rescale,
            "spectral": spectral,
            "free": free,
            "free_lr": free_lr,
            "free_momentum": free_momentum,
            "free_weight_decay": free_weight_decay,
            "fused": fused,
            "nesterov": nesterov,
            "constrained": constrained,
            "lr_factor": lr_factor,
        }
        super().__init__(params, defaults, start)
        if all(group["region"] is None for group in self.param_groups):
            raise ValueError(
                "no group has a region, so there is nothing for Frank-Wolfe to do; pass "
                "regions_for(model, weights=…), or groups with a region."
            )

    def _check_group(self, group: dict[str, Any]) -> None:
        for name, known in (
            ("rescale", RESCALES),
            ("momentum_seed", SEEDS),
            ("spectral", MODES),
            ("free", FREE),
        ):
            if name in group and group[name] not in known:
                raise ValueError(f"{name}={group[name]!r} is unknown; choose {', '.join(known)}.")
        between("lr", group["lr"], 0.0, float("inf"))
        between("momentum", group["momentum"], 0.0, 1.0)
        between("dampening", group.get("dampening", 0.0), 0.0, 1.0)
        whole = group["lr"] * group.get("lr_factor", 1.0)
        if (
            group["region"] is not None
            and group.get("rescale") == "none"
            and (whole > 1 and group.get("constrained", True))
        ):
            raise ValueError(
                f"lr={group['lr']} with rescale='none' would leave the region; choose at most 1, "
                "or another rescale."
            )

    def _region_step(self, group: dict[str, Any], places: list[int], grads: list[Tensor]) -> None:
        on_gpu = False
        if group["fused"] is not False and not group["joint"]:
            if self._fused(group, places, grads):
                return
            if grads[0].is_cuda:
                from ._cuda import on_gpu as ordinary

                on_gpu = ordinary([group["params"][i] for i in places])
        if not on_gpu:
            self._refuse_not_finite(group, places, list(torch._foreach_norm(grads)))
        buffers = self._averaged(group, places, grads)
        params = [group["params"][i] for i in places]
        if group["nesterov"]:
            ahead = [g.to(m.dtype) for g, m in zip(grads, buffers, strict=True)]
            buffers = list(torch._foreach_lerp(ahead, buffers, float(group["momentum"])))
        if group["joint"]:
            self._joint(group, params, buffers)
            return
        regions: list[Region] = [group["sized"][i] for i in places]
        units, factors = self._vertices(group, params, buffers, regions)
        if on_gpu:
            from ._cuda import move

            diameters = self._diameters(group, params, regions)
            move(self, group, places, buffers, units, factors, diameters)
            return
        vertices = units if set(factors) == {1.0} else list(torch._foreach_mul(units, factors))
        self._move(group, params, buffers, vertices, regions)

    def _fused(self, group: dict[str, Any], places: list[int], grads: list[Tensor]) -> bool:
        """Make the step in compiled kernels; False where none fits."""
        plain = group["constrained"] and not group["nesterov"]
        if not grads[0].is_cuda:
            from ._kernels import fused_step

            return plain and fused_step(self, group, places, grads)
        from ._cuda import fused_cuda_step
        from ._cuda_rows import fused_cuda_rows_step
        from ._cuda_spectral import fused_cuda_spectral_step

        if plain and fused_cuda_step(self, group, places, grads):
            return True
        if plain and fused_cuda_rows_step(self, group, places, grads):
            return True
        return fused_cuda_spectral_step(self, group, places, grads)

    def _averaged(
        self, group: dict[str, Any], places: list[int], grads: list[Tensor]
    ) -> list[Tensor]:
        """Update and return the averages m."""
        beta, take = group["momentum"], 1.0 - group["dampening"]
        buffers: list[Tensor] = []
        old: list[Tensor] = []
        new: list[Tensor] = []
        for i, g in zip(places, grads, strict=True):
            p = group["params"][i]
            state = self.state[p]
            if "momentum_buffer" not in state:
                dtype = torch.float32 if p.element_size() < 4 else p.dtype
                if group["momentum_seed"] == "gradient":
                    state["momentum_buffer"] = g.to(dtype).clone(
                        memory_format=torch.preserve_format
                    )
                    buffers.append(state["momentum_buffer"])
                    continue
                state["momentum_buffer"] = torch.zeros_like(p, dtype=dtype)
            buffers.append(state["momentum_buffer"])
            old.append(state["momentum_buffer"])
            new.append(g.to(state["momentum_buffer"].dtype))
        if old and old[0].is_cuda and take == 1.0 - beta:
            torch._foreach_lerp_(old, new, take)
        elif old:
            torch._foreach_mul_(old, beta)
            torch._foreach_add_(old, new, alpha=take)
        return buffers

    def _vertices(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        buffers: list[Tensor],
        regions: list[Region],
    ) -> tuple[list[Tensor], list[float]]:
        """Return a vertex for each parameter, up to a factor, and the factors.

        Equal shapes of one kind share their work.
        """
        out: list[Tensor | None] = [None] * len(params)
        factors = [1.0] * len(params)
        alike: defaultdict[Any, list[int]] = defaultdict(list)
        for i, (region, m) in enumerate(zip(regions, buffers, strict=True)):
            name = type(region).__name__
            warm = name in _LEADING and not (m.is_cuda and name in BATCHED)
            if warm and self._leading(m, region) is not None:
                out[i] = self._leading_vertex(params[i], m, region)
                continue
            if name in _SPECTRAL:
                rows = region._plain_shape(m.shape)
                key: Any = ("spectral", min(rows), max(rows), m.dtype, m.device)
                if m.is_cuda:  # a transposition is a copy there, and short batches cost nothing
                    key = (*key, rows[0] > rows[1])
            else:
                counts = getattr(region, "_k", None)
                key = (name, counts, tuple(m.shape), m.dtype, m.device)
                if not hasattr(region, "radius") or hasattr(region, "_weights"):
                    key = i
            alike[key].append(i)
        mode = group["spectral"]
        for key, members in alike.items():
            first = regions[members[0]]
            flats = [
                buffers[i].reshape((1, *regions[i]._plain_shape(buffers[i].shape or (1,))))
                for i in members
            ]
            spectral = isinstance(key, tuple) and key[0] == "spectral"
            if spectral and flats[0].is_cuda:
                found = list(polar_stack([f[0] for f in flats], mode))
            elif spectral and one_by_one(whole := [f[0] for f in flats], mode):
                found = [torch.empty_like(f) for f in whole]
                polar_each(whole, mode, found)
            elif spectral:
                short = [f.mT if f.shape[-2] > f.shape[-1] else f for f in flats]
                unit = polar(torch.cat(short), mode)
                found = [
                    u.mT if f.shape[-2] > f.shape[-1] else u
                    for u, f in zip(unit, (f[0] for f in flats), strict=True)
                ]
            elif flats[0].is_cuda and type(first).__name__ in BATCHED:
                k = getattr(first, "_k", None) or 1
                states = [self.state[params[i]] for i in members]
                found = list(leading_vertices(torch.cat(flats), states, k, self._steps))
            else:
                found = list(first._lmo(torch.cat(flats)))
            for i, v in zip(members, found, strict=True):
                size = regions[i]._size(tuple(buffers[i].shape) or (1,))
                factors[i] = -size if spectral else size
                out[i] = v.reshape(buffers[i].shape)
        return [v for v in out if v is not None], factors

    def _leading(self, m: Tensor, region: Region) -> int | None:
        """The number of leading directions, where following a subspace pays."""
        k = getattr(region, "_k", None) or 1
        rows = region._plain_shape(m.shape)
        return k if Subspace.pays((rows[0], rows[1]), k) else None

    def _leading_vertex(self, p: Tensor, m: Tensor, region: Region) -> Tensor:
        k = getattr(region, "_k", None) or 1
        rows = region._plain_shape(m.shape)
        g = m.reshape(rows)
        tall = rows[0] > rows[1]
        g = g.mT if tall else g
        top = g.abs().amax()
        g = g / torch.where(top > 0, top, torch.ones_like(top))
        state = self.state[p]
        if "basis" in state:
            state["basis"] = Subspace.follow(g, state["basis"], self._steps)
        else:
            state["basis"] = Subspace.cold(g, k)
        u, inner = Subspace.top(g, state["basis"], k)
        if type(region).__name__ == "KyFanKSparse":
            length = torch.linalg.vector_norm(inner, dim=1, keepdim=True)
            v = u @ (inner / torch.where(length > 0, length, torch.ones_like(length)))
        else:
            length = torch.linalg.vector_norm(inner)
            v = u @ (inner / torch.where(length > 0, length, torch.ones_like(length)))
        v = -region._size(tuple(m.shape)) * v
        return (v.mT if tall else v).reshape(m.shape)

    def _lengths(
        self,
        group: dict[str, Any],
        xs: list[Tensor],
        ms: list[Tensor],
        vs: list[Tensor],
        diameters: list[float],
    ) -> list[Tensor]:
        """Return the step length of each element, on its device, before clipping at 1."""
        rescale, lr = group["rescale"], float(group["lr"]) * float(group["lr_factor"])
        sizes = torch._foreach_norm(ms)
        kinds = {(type(s), s.dtype, s.device) for s in sizes}
        if rescale == "none" and kinds == {(Tensor, sizes[0].dtype, sizes[0].device)}:
            return list((torch.stack(sizes) > 0).to(sizes[0].dtype).mul_(lr).unbind())  # in one go
        alive = [(s > 0).to(s.dtype) for s in sizes]
        if rescale == "none":
            return [a * lr for a in alive]
        if rescale == "diameter":
            return [a * (lr / d if d > 0 else 0.0) for a, d in zip(alive, diameters, strict=True)]
        if rescale == "fast_gradient":
            return [
                s * (2 * lr / d if d > 0 else 0.0) for s, d in zip(sizes, diameters, strict=True)
            ]
        apart_by = torch._foreach_norm(
            torch._foreach_sub(vs, [x.to(v.dtype) for x, v in zip(xs, vs, strict=True)])
        )
        return [
            torch.where(
                d > 0, lr * s / torch.where(d > 0, d, torch.ones_like(d)), torch.zeros_like(d)
            )
            for s, d in zip(sizes, apart_by, strict=True)
        ]

    def _move(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        buffers: list[Tensor],
        vertices: list[Tensor],
        regions: list[Region],
    ) -> None:
        diameters = self._diameters(group, params, regions)
        lengths = self._lengths(group, params, buffers, vertices, diameters)
        self._count_clips(group, params, lengths)
        if not group["constrained"]:
            for p, v, s in zip(params, vertices, lengths, strict=True):
                p.add_((v * s).to(p.dtype))
            return
        lengths = list(torch._foreach_clamp_max(lengths, 1.0))
        if all(
            p.dtype == v.dtype == s.dtype for p, v, s in zip(params, vertices, lengths, strict=True)
        ):
            torch._foreach_lerp_(params, vertices, lengths)
            return
        for p, v, s in zip(params, vertices, lengths, strict=True):
            if p.dtype == v.dtype:
                p.lerp_(v, s.to(p.dtype))
            else:  # in bfloat16 the factor 1 - s would round to 1
                p.copy_(p.to(v.dtype).lerp(v, s))

    def _diameters(
        self, group: dict[str, Any], params: list[Tensor], regions: list[Region]
    ) -> list[float]:
        if group["rescale"] not in ("diameter", "fast_gradient"):
            return [0.0] * len(params)
        return [r.diameter(tuple(p.shape) or (1,)) for r, p in zip(regions, params, strict=True)]

    def _count_clips(
        self, group: dict[str, Any], params: list[Tensor], lengths: list[Tensor]
    ) -> None:
        if group["rescale"] in ("none", "diameter"):
            return
        for p, s in zip(params, lengths, strict=True):
            state = self.state[p]
            if "clipped" not in state:
                state["clipped"] = torch.zeros((), dtype=torch.float32, device=p.device)
            if hasattr(s, "full_tensor"):  # of a sharded parameter: the same on every rank
                s = s.full_tensor()  # type: ignore[attr-defined]
            state["clipped"] += (s > 1).float()

    def _joint(self, group: dict[str, Any], params: list[Tensor], buffers: list[Tensor]) -> None:
        region: Region = group["sized"][0]
        rows = region.matrix
        x, m = together(params, rows), together(buffers, rows)
        x, m = (t.reshape(region._plain_shape(t.shape)) for t in (x, m))
        v = region._lmo(m[None])[0] * region._size(tuple(m.shape))
        diameters = self._diameters(group, [x], [region])
        lengths = self._lengths(group, [x], [m], [v], diameters)
        self._count_clips(group, params[:1], lengths)
        apart(x.to(v.dtype).lerp(v, torch.clamp(lengths[0], max=1.0)), params, rows)
