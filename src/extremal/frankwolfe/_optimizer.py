"""What all optimizers over regions share: groups, sizes, checks, state, metrics.

A parameter group holds parameters and one region for all of them (`region`), sized for each by its
shape; `joint=True` makes it one region for their concatenation: of all entries, or for regions of
matrices of the columns of tensors with one first dimension, so that a row runs through all of them
(the filters that a network can only lose together). `region=None` marks free parameters, which a
companion SGD or AdamW inside the same object updates.
"""
# pyright: reportPrivateImportUsage=false
# The _foreach functions are torch's own way to treat many tensors at once.

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor

from ._errors import FrankWolfeError, StartWarning
from ._region import Region, from_plain

STARTS = ("refuse", "shrink", "project")
FREE = ("sgd", "adamw")
# Regions whose LMO looks at one entry at a time: a shard of a tensor is as good as the whole.
LOCAL = ("LinfBall", "Sign")


def between(name: str, value: float, low: float, high: float, closed: bool = False) -> None:
    """Refuse a number outside [low, high), or [low, high] with `closed`."""
    if isinstance(value, bool) or not (low <= value < high or (closed and value == high)):
        end = "]" if closed else ")"
        raise ValueError(f"{name}={value!r} is out of range; choose one in [{low}, {high}{end}.")


class RegionOptimizer(torch.optim.Optimizer):
    """Base of the optimizers here; see `SFW`."""

    def __init__(self, params: Any, defaults: dict[str, Any], start: str = "refuse") -> None:
        """Take parameters or groups; `defaults` hold what a group does not say itself."""
        if start not in STARTS:
            raise ValueError(f"start={start!r} is unknown; choose {', '.join(STARTS)}.")
        self._start = start
        self._steps = 0
        base: dict[str, Any] = {"region": None, "joint": False, "names": None, "init_norms": None}
        groups = list(params)
        if not groups:
            raise ValueError("the optimizer got no parameters; pass regions_for(model, …).")
        super().__init__(groups, {**base, **defaults})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as `torch.optim.Optimizer`; its region is sized and its start checked."""
        group = dict(param_group)
        given = group.get("params")
        group["params"] = [given] if isinstance(given, Tensor) else list(given or [])
        if not group["params"]:
            raise ValueError("a parameter group is empty; leave it out.")
        if group["params"] and isinstance(group["params"][0], tuple):
            group["names"] = [name for name, _ in group["params"]]
            group["params"] = [p for _, p in group["params"]]
        if isinstance(group.get("region"), dict):
            group["region"] = from_plain(group["region"])
        names = group.pop("names", None)
        super().add_param_group(group)
        added = self.param_groups[-1]
        added["names"] = names
        self._complete(added)
        try:
            self._check_group(added)
            if added["region"] is not None and added.get("constrained", True):
                self._make_feasible(added)
        except Exception:
            self.param_groups.pop()
            raise

    def _check_group(self, group: dict[str, Any]) -> None:
        """Refuse senseless options; each optimizer adds its own."""

    def _complete(self, group: dict[str, Any]) -> None:
        """Fill in what follows from the parameters: names, and a sized region for each."""
        params, region = group["params"], group["region"]
        if group["names"] is None:
            first = sum(len(g["params"]) for g in self.param_groups[:-1])
            group["names"] = [f"parameter {first + i}" for i in range(len(params))]
        for p, name in zip(params, group["names"], strict=True):
            if not p.is_floating_point():
                raise ValueError(f"{name} is {p.dtype}; only real floating-point tensors move.")
        if region is None:
            group["sized"] = [None] * len(params)
            return
        for p, name in zip(params, group["names"], strict=True):
            if type(p).__name__ == "DTensor" and type(region).__name__ not in LOCAL:
                raise FrankWolfeError(
                    f"{name} is sharded and {region} needs the whole tensor, so steps on shards "
                    f"would be wrong; use {' or '.join(LOCAL)} for it, or do not shard it."
                )
        if group["joint"]:
            shape: tuple[int, ...] = (sum(p.numel() for p in params),)
            if region.matrix:
                rows = {p.shape[0] if p.ndim > 1 else 0 for p in params}
                if len(rows) > 1 or 0 in rows:
                    raise ValueError(
                        f"{region} is a set of matrices, so it can be joint only for tensors with "
                        f"one and the same first dimension, not for "
                        f"{', '.join(str(tuple(p.shape)) for p in params[:4])}."
                    )
                first = rows.pop()
                shape = (first, shape[0] // first)
            norms = group["init_norms"]
            norm = None if norms is None else math.sqrt(sum(x * x for x in norms))
            group["sized"] = [region.sized(shape, norm)]
            return
        norms = group["init_norms"] or [None] * len(params)
        sized: list[Region] = []
        for p, name, norm in zip(params, group["names"], norms, strict=True):
            try:
                sized.append(region.sized(tuple(p.shape) or (1,), norm))
            except ValueError as error:
                raise ValueError(f"{name} of shape {tuple(p.shape)}: {error}") from error
        group["sized"] = sized

    @torch.no_grad()
    def _make_feasible(self, group: dict[str, Any]) -> None:
        for name, region, tensors in self._elements(group, [p.data for p in group["params"]]):
            x = together(tensors, region.matrix)
            if bool(region.contains(x, 1e-5)):
                continue
            if self._start == "refuse":
                raise FrankWolfeError(
                    f"{name} lies outside {region}, and Frank-Wolfe steps need a start inside; "
                    "pass start='shrink' (towards 0) or start='project' (to the nearest point), "
                    "or choose a larger region."
                )
            try:
                y = region.shrink(x) if self._start == "shrink" else region.project(x)
            except ValueError:  # a region without a gauge
                y = region.project(x)
            before, after = float(x.norm()), float(y.norm())
            if after < 0.1 * before:
                warnings.warn(
                    f"the start of {name} shrinks to {after / before:.3g} of its norm to fit in "
                    f"{region}; a signal may no longer pass. A larger width= keeps it.",
                    StartWarning,
                    stacklevel=4,
                )
            apart(y, tensors, region.matrix)

    def _elements(
        self, group: dict[str, Any], tensors: list[Tensor]
    ) -> list[tuple[str, Region, list[Tensor]]]:
        """Each element of the group's regions: name, region, and the tensors that make it."""
        if group["joint"]:
            return [("the joint group", group["sized"][0], tensors)]
        return [
            (name, region, [t])
            for name, region, t in zip(group["names"], group["sized"], tensors, strict=True)
        ]

    def _with_gradients(self, group: dict[str, Any]) -> tuple[list[int], list[Tensor]]:
        """Places in the group, and gradients, of the parameters that have one."""
        places, gradients = list[int](), list[Tensor]()
        for i, p in enumerate(group["params"]):
            if p.grad is None:
                continue
            if p.grad.is_sparse:
                raise ValueError(
                    f"the gradient of {group['names'][i]} is sparse; use sparse=False there."
                )
            places.append(i)
            gradients.append(p.grad)
        if group["joint"] and places and len(places) < len(group["params"]):
            missing = sorted(set(range(len(group["params"]))) - set(places))
            raise FrankWolfeError(
                f"{group['names'][missing[0]]} of a joint group has no gradient; leave it out of "
                "the group."
            )
        return places, gradients

    def _refuse_not_finite(self, group: dict[str, Any], places: list[int], sizes: Any) -> None:
        """Name the first parameter whose gradient's norm is not finite.

        On a GPU the answer comes at one of the next steps: to wait for it would hold up the host.
        """
        if isinstance(sizes, list):
            if sizes and sizes[0].is_cuda and type(sizes[0]) is Tensor:
                from ._cuda import refuse, watch

                late = watch(self, group).take(~torch.isfinite(torch.stack(sizes)))
                if late is not None:
                    refuse(group, places[late], [], still=False)
                return
            sizes = torch.stack([s.float() for s in sizes]) if sizes else torch.zeros(1)
        if bool(torch.isfinite(sizes).all()):
            return
        bad = int((~torch.isfinite(sizes)).nonzero()[0])
        raise FrankWolfeError(
            f"the gradient of {group['names'][places[bad]]} holds NaN or infinity; nothing in its "
            "group was moved. Use a smaller lr, rescale='diameter', or a GradScaler with float16."
        )

    def _free_step(self, group: dict[str, Any], places: list[int], grads: list[Tensor]) -> None:
        """Update free parameters as SGD with momentum or AdamW do."""
        params = [group["params"][i] for i in places]
        lr = group["lr"] if group.get("free_lr") is None else group["free_lr"]
        decay = group.get("free_weight_decay", 0.0)
        states = [self.state[p] for p in params]
        if group.get("free", "sgd") == "adamw":
            one, two = 0.9, 0.999
            for s, p in zip(states, params, strict=True):
                if not s:
                    s["step"] = torch.zeros(())
                    s["exp_avg"], s["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
                s["step"] += 1
            if decay:
                torch._foreach_mul_(params, 1 - lr * decay)
            first = [s["exp_avg"] for s in states]
            second = [s["exp_avg_sq"] for s in states]
            torch._foreach_lerp_(first, grads, 1 - one)
            torch._foreach_mul_(second, two)
            torch._foreach_addcmul_(second, grads, grads, 1 - two)
            t = float(states[0]["step"])
            root = torch._foreach_sqrt(second)
            torch._foreach_div_(root, math.sqrt(1 - two**t))
            torch._foreach_add_(root, 1e-8)
            torch._foreach_addcdiv_(params, first, root, -lr / (1 - one**t))
            return
        if decay:
            grads = list(torch._foreach_add(grads, params, alpha=decay))
        beta = group.get("free_momentum", 0.9)
        if beta:
            known = [(s, g) for s, g in zip(states, grads, strict=True) if "momentum_buffer" in s]
            if known:
                old = [s["momentum_buffer"] for s, _ in known]
                torch._foreach_mul_(old, beta)
                torch._foreach_add_(old, [g for _, g in known])
            for s, g in zip(states, grads, strict=True):
                if "momentum_buffer" not in s:
                    s["momentum_buffer"] = g.clone()
            grads = [s["momentum_buffer"] for s in states]
        torch._foreach_add_(params, grads, alpha=-lr)

    @torch._disable_dynamo  # compiled loops run it as it is: its kernels take addresses
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Make one step; a closure computes the loss and gradients first, and its loss returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                places, grads = self._with_gradients(group)
                if not places:
                    continue
                if group["region"] is None:
                    self._refuse_not_finite(group, places, list(torch._foreach_norm(grads)))
                    self._free_step(group, places, grads)
                else:
                    self._region_step(group, places, grads)
            self._steps += 1
        return loss

    def _region_step(self, group: dict[str, Any], places: list[int], grads: list[Tensor]) -> None:
        raise NotImplementedError

    # State: regions travel as plain values, so that a file needs no pickle.

    def state_dict(self) -> dict[str, Any]:
        """Return the state; regions are in it, as plain values."""
        state = super().state_dict()
        for group in state["param_groups"]:
            group.pop("sized", None)
            region = group["region"]
            group["region"] = None if region is None else region.as_plain()
        state["steps"] = self._steps
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a state back.

        Raises:
            FrankWolfeError: It was saved with other regions.
        """
        state_dict = dict(state_dict)
        self._steps = int(state_dict.pop("steps", 0))
        saved = state_dict["param_groups"]
        for number, (group, old) in enumerate(zip(self.param_groups, saved, strict=False)):
            now = None if group["region"] is None else group["region"].as_plain()
            if old.get("region") != now:
                raise FrankWolfeError(
                    f"the state was saved with {old.get('region')} for group {number}, which now "
                    f"has {now}; make the optimizer with the same regions."
                )
        kept = [(g["region"], g["sized"]) for g in self.param_groups]
        super().load_state_dict(state_dict)
        for group, (region, sized) in zip(self.param_groups, kept, strict=True):
            group["region"], group["sized"] = region, sized

    @torch.no_grad()
    def metrics(self) -> list[dict[str, Any]]:
        """Return what is worth watching, a row for each constrained tensor (or joint group).

        `gap` is the Frank-Wolfe gap at the momentum, `size` gauge over radius (at most 1 inside;
        None where the region has no gauge), `sparsity` the share of entries below 1e-3 in absolute
        value, `rank` the number of singular values over 1e-3 of the largest, `norm` the Euclidean
        one, `clipped` the share of steps whose length was cut at 1. Waits for the device.
        """
        rows: list[dict[str, Any]] = []
        for group in self.param_groups:
            if group["region"] is None:
                continue
            buffers = [self.state[p].get("momentum_buffer") for p in group["params"]]
            elements = self._elements(group, [p.data for p in group["params"]])
            for place, (name, region, tensors) in enumerate(elements):
                x = together(tensors, region.matrix)
                held = buffers if group["joint"] else [buffers[place]]
                row: dict[str, Any] = {"name": name, "region": str(region), "gap": None}
                if all(b is not None for b in held):
                    m = together(cast("list[Tensor]", held), region.matrix)
                    row["gap"] = float(region.gap(m, x))
                try:
                    row["size"] = float(region.gauge(x))
                except ValueError:
                    row["size"] = None
                row["norm"] = float(x.norm())
                row["sparsity"] = float((x.abs() < 1e-3).float().mean())
                if region.matrix:
                    s = torch.linalg.svdvals(x.float().reshape(x.shape[0], -1))
                    row["rank"] = int((s > 1e-3 * s[0]).sum())
                state = self.state[group["params"][place]]
                if "clipped" in state:
                    row["clipped"] = float(state["clipped"]) / max(1, self._steps)
                rows.append(row)
        return rows


def together(tensors: Iterable[Tensor], rows: bool = False) -> Tensor:
    """One tensor as it is, several as the concatenation of their entries, or within their rows."""
    parts = [t.detach() for t in tensors]
    if len(parts) == 1:
        return parts[0] if parts[0].ndim else parts[0].reshape(1)
    if rows:
        return torch.cat([t.reshape(t.shape[0], -1) for t in parts], dim=1)
    return torch.cat([t.reshape(-1) for t in parts])


def apart(x: Tensor, tensors: Iterable[Tensor], rows: bool = False) -> None:
    """Write the entries of `x`, made by `together`, into the tensors."""
    parts = list(tensors)
    if len(parts) == 1:
        parts[0].copy_(x.reshape(parts[0].shape))
        return
    sizes = [t.numel() // (t.shape[0] if rows else 1) for t in parts]
    for part, value in zip(parts, x.split(sizes, dim=1 if rows else 0), strict=True):
        part.copy_(value.reshape(part.shape))
