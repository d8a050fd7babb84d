"""Steps over regions on a GPU: a few launches for a whole group, and no waiting for the device.

Vector regions take three launches (six where k entries are chosen), for everything else oracles
run on stacks of equal shape and one launch moves all parameters. Without Triton the general code
of `SFW` does the same, tensor by tensor.

A gradient that is not finite is seen on the device, where it stops the moves of its group; the host
learns of it at one of the next steps, because asking at once would wait.
"""
# pyright: reportPrivateImportUsage=false
# The _foreach functions are torch's own way to treat many tensors at once.

import functools
import importlib.util
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._errors import FrankWolfeError
from ._kernels import KINDS

CHUNK, BLOCK, WARPS = 1 << 14, 2048, 8
RESCALES = ("none", "diameter", "gradient", "fast_gradient")
_PLANS: weakref.WeakKeyDictionary[Any, dict[int, "_Plan"]] = weakref.WeakKeyDictionary()
_MOVES: weakref.WeakKeyDictionary[Any, dict[int, "_Move"]] = weakref.WeakKeyDictionary()
_WATCHES: weakref.WeakKeyDictionary[Any, dict[int, "Watch"]] = weakref.WeakKeyDictionary()


@functools.cache
def _kernels() -> Any:
    """The module of kernels, which Triton compiles at their first use and keeps on disk."""
    from . import _triton

    return _triton


@functools.cache
def available() -> bool:
    """Whether Triton is there; on a GPU that it does not know, kernels fail to compile aloud."""
    return importlib.util.find_spec("triton") is not None


def on_gpu(tensors: Sequence[Tensor]) -> bool:
    """Whether all are ordinary CUDA tensors that the kernels here may take."""
    return available() and all(t.is_cuda and type(t.data) is Tensor for t in tensors)


def fused_cuda_step(
    optimizer: Any, group: dict[str, Any], places: list[int], grads: list[Tensor]
) -> bool:
    """Make the step of one group over a vector region; False if it needs the general code."""
    kind = KINDS.get(type(group["region"]).__name__)
    if kind is None or not grads[0].is_cuda or not available():
        return False
    plans = _PLANS.setdefault(optimizer, {})
    plan = plans.get(id(group))
    if plan is None or not plan.fits(optimizer, group, places, grads):
        params = [group["params"][i] for i in places]
        if not all(plain(p, g) for p, g in zip(params, grads, strict=True)):
            return False
        if group["momentum"] == 0 and group["dampening"] and group["momentum_seed"] == "gradient":
            return False
        made = _Plan(optimizer, group, kind, places, grads)
        if any(m.stride() != p.stride() for m, p in zip(made.buffers, params, strict=True)):
            return False
        plan = plans[id(group)] = made
    plan.run(optimizer, group)
    return True


def plain(p: Tensor, g: Tensor) -> bool:
    """Whether both are float32 on one GPU and filled without gaps in the same order."""
    if p.dtype != torch.float32 or g.dtype != torch.float32 or type(p.data) is not Tensor:
        return False
    if not p.is_cuda or p.device != g.device or p.numel() == 0 or p.stride() != g.stride():
        return False
    return p.is_contiguous() or (p.ndim == 4 and p.is_contiguous(memory_format=torch.channels_last))


class Cut:
    """How tensors are cut into chunks, as tables on the device."""

    def __init__(self, sizes: Sequence[int], device: torch.device) -> None:
        """Cut tensors of so many entries."""
        rows: list[tuple[int, int]] = []
        ranges = [0]
        for j, n in enumerate(sizes):
            rows += [(j, start) for start in range(0, n, CHUNK)]
            ranges.append(len(rows))
        self.count, self.tensors = len(rows), len(sizes)
        self.chunks = torch.tensor(rows, dtype=torch.int64, device=device)
        self.sizes = torch.tensor(list(sizes), dtype=torch.int64, device=device)
        self.ranges = torch.tensor(ranges, dtype=torch.int32, device=device)


class Watch:
    """Learns without waiting whether anything was not finite."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._flags: Tensor | None = None
        self._event: torch.cuda.Event | None = None
        self._since: Tensor | None = None  # flags of steps during which a copy was under way

    def take(self, bad: Tensor) -> int | None:
        """Send the flags of this step on their way; return the first place of an earlier one."""
        if torch.cuda.is_current_stream_capturing():
            return None
        if self._since is not None and self._since.shape == bad.shape:
            bad = torch.maximum(self._since, bad)
        if self._event is not None:
            if not self._event.query():
                self._since = bad.clone()
                return None
            assert self._flags is not None
            if bool(self._flags.any()):
                self._event = self._since = None  # reported; the next step begins anew
                return int(self._flags.nonzero()[0])
        self._since = None
        if self._flags is None or self._flags.shape != bad.shape:
            self._flags = torch.empty(bad.shape, dtype=bad.dtype, pin_memory=True)
        self._flags.copy_(bad, non_blocking=True)
        self._event = torch.cuda.Event()
        self._event.record()
        return None


def watch(optimizer: Any, group: dict[str, Any]) -> Watch:
    """The watch over the gradients of a group."""
    return _WATCHES.setdefault(optimizer, {}).setdefault(id(group), Watch())


class Listed:
    """What a plan for the tensors of a group remembers, and whether it still holds."""

    def __init__(self, optimizer: Any, group: dict[str, Any], kind: int, places: list[int]) -> None:
        """Take the parameters."""
        self.kind, self.places = kind, list(places)
        self.params: list[Tensor] = [group["params"][i] for i in places]
        self.sized, self.state = group["sized"], optimizer.state
        self.watch = Watch()
        self.n = len(self.params)
        self.cut = Cut([p.numel() for p in self.params], self.params[0].device)

    @staticmethod
    def average(optimizer: Any, p: Tensor) -> Tensor:
        """The average of a parameter's gradients, made at its first step."""
        held = optimizer.state[p]
        if "momentum_buffer" not in held:
            held["momentum_buffer"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        return held["momentum_buffer"]

    def seeded(self, optimizer: Any, group: dict[str, Any], p: Tensor, g: Tensor) -> Tensor:
        """The average, made so that the first update keep m + take g gives g where it should."""
        new = "momentum_buffer" not in optimizer.state[p]
        m = self.average(optimizer, p)
        keep, take = float(group["momentum"]), 1.0 - float(group["dampening"])
        if new and group["momentum_seed"] == "gradient" and keep:
            m.copy_(g).mul_((1.0 - take) / keep)
        return m

    def counters(self, optimizer: Any) -> list[Tensor]:
        """The counters of clipped steps."""
        for p in self.params:
            if "clipped" not in optimizer.state[p]:
                optimizer.state[p]["clipped"] = torch.zeros((), device=p.device)
        return [optimizer.state[p]["clipped"] for p in self.params]

    def rows(self) -> list[list[Tensor]]:
        """The tensors, beside parameters and gradients, whose addresses the kernels read."""
        raise NotImplementedError

    def point(self, grads: list[Tensor]) -> None:
        """Write the addresses; the copy to the device waits for nothing."""
        self.grads = [(g.data_ptr(), g.stride(), g.dtype) for g in grads]
        self.at = [p.data_ptr() for p in self.params]
        table = [self.at, [g[0] for g in self.grads]]
        table += [[t.data_ptr() for t in row] for row in self.rows()]
        self.wide = all(a % 16 == 0 for row in table for a in row)
        self.where = torch.tensor(table, dtype=torch.int64).to(
            self.params[0].device, non_blocking=True
        )

    def fits(
        self, optimizer: Any, group: dict[str, Any], places: list[int], grads: list[Tensor]
    ) -> bool:
        """Whether nothing has changed but, perhaps, where the gradients lie."""
        if self.sized is not group["sized"] or self.state is not optimizer.state:
            return False
        if self.places != places or self.at != [p.data_ptr() for p in self.params]:
            return False
        first = optimizer.state[self.params[0]].get("momentum_buffer")
        if first is None or first.data_ptr() != self.rows()[0][0].data_ptr():
            return False
        now = [(g.data_ptr(), g.stride(), g.dtype) for g in grads]
        if now == self.grads:
            return True
        if any(a[1:] != b[1:] for a, b in zip(now, self.grads, strict=True)):
            return False
        self.point(grads)
        return True


class _Plan(Listed):
    """What stays the same from step to step for the tensors of a group."""

    def __init__(
        self, optimizer: Any, group: dict[str, Any], kind: int, places: list[int],
        grads: list[Tensor],
    ) -> None:  # fmt: skip
        """Make the state of new parameters, the tables and the room for sums."""
        super().__init__(optimizer, group, kind, places)
        regions = [group["sized"][i] for i in places]
        self.buffers = [self.seeded(optimizer, group, p, g)
                        for p, g in zip(self.params, grads, strict=True)]  # fmt: skip
        self.clipped = self.counters(optimizer)
        device = self.params[0].device
        sizes = [p.numel() for p in self.params]
        shapes = [tuple(p.shape) or (1,) for p in self.params]
        self.counts = torch.tensor(
            [getattr(r, "k", 0) if kind >= 3 else 0 for r in regions],
            dtype=torch.int32, device=device,
        )  # fmt: skip
        long = {1: [s**0.5 for s in sizes], 3: [float(c) ** 0.5 for c in self.counts.tolist()]}
        self.about = torch.tensor(
            [
                [r._size(s), r.diameter(s), v]
                for r, s, v in zip(regions, shapes, long.get(kind, [1.0] * self.n), strict=True)
            ],
            dtype=torch.float64, device=device,
        )  # fmt: skip
        count = self.cut.count
        self.sums = torch.zeros(count, 8, device=device)
        self.tops = torch.zeros(count, 2, dtype=torch.int64, device=device)
        few = self.n if kind >= 3 else 1
        self.histogram = torch.zeros(few, 4, 256, dtype=torch.int32, device=device)
        self.found = torch.zeros(few, 8, dtype=torch.int32, device=device)
        self.ties = torch.zeros(count, dtype=torch.int32, device=device)
        self.quotas = torch.zeros(count, dtype=torch.int32, device=device)
        self.moves = torch.zeros(self.n, 4, device=device)
        self.bad = torch.zeros(self.n, dtype=torch.int8, device=device)
        self.point(grads)

    def rows(self) -> list[list[Tensor]]:
        """See `Listed`."""
        return [self.buffers, self.clipped]

    def run(self, optimizer: Any, group: dict[str, Any]) -> None:
        """Update averages, choose lengths, move."""
        kernels = _kernels()
        kind, cut, n = self.kind, self.cut, self.n
        rescale = RESCALES.index(group["rescale"])
        needs_x = rescale == 2
        keep, take = float(group["momentum"]), 1.0 - float(group["dampening"])
        whole = float(group["lr"]) * float(group["lr_factor"])
        shape: dict[str, Any] = {"CHUNK": CHUNK, "BLOCK": BLOCK, "num_warps": WARPS}
        grid = (cut.count,)
        with torch.cuda.device(self.params[0].device):
            if kind >= 3:
                self.histogram.zero_()
            kernels.first[grid](
                self.where, cut.chunks, cut.sizes, self.sums, self.tops, self.histogram, n, keep,
                take, KIND=kind, NEEDS_X=needs_x, WIDE=self.wide, **shape,
            )  # fmt: skip
            if kind >= 3:
                for level in (1, 2, 3):
                    kernels.refine[grid](
                        self.where, cut.chunks, cut.sizes, self.counts, self.histogram,
                        self.found, n, LEVEL=level, WIDE=self.wide, **shape,
                    )  # fmt: skip
                kernels.tally[grid](
                    self.where, cut.chunks, cut.sizes, self.histogram, self.found, self.sums,
                    self.ties, n, KIND=kind, NEEDS_X=needs_x, WIDE=self.wide, **shape,
                )  # fmt: skip
            kernels.lengths[(n,)](
                self.where, cut.chunks, cut.sizes, cut.ranges, self.histogram, self.found,
                self.sums, self.tops, self.ties, self.about, self.moves, self.quotas, self.bad, n,
                whole, KIND=kind, RESCALE=rescale, MANY=256, **shape,
            )  # fmt: skip
            kernels.second[grid](
                self.where, cut.chunks, cut.sizes, cut.ranges, self.moves, self.tops, self.quotas,
                self.bad, n, KIND=kind, WIDE=self.wide, TENSORS=power(n), **shape,
            )  # fmt: skip
            bad = self.watch.take(self.bad)
        if bad is not None:
            refuse(group, self.places[bad], self.buffers)


class _Move:
    """Where the parameters of a group lie, for the one launch that moves them."""

    def __init__(self, params: list[Tensor], factors: list[float], diameters: list[float]) -> None:
        device = params[0].device
        self.at = [p.data_ptr() for p in params]
        self.sizes = [p.numel() for p in params]
        self.given, self.across = factors, diameters
        self.cut = Cut(self.sizes, device)
        self.factors = torch.tensor(factors, dtype=torch.float32, device=device)
        self.inverse = torch.tensor(
            [1.0 / d if d > 0 else 0.0 for d in diameters], dtype=torch.float32, device=device
        )
        self.watch = Watch()
        self.kept: list[Tensor] = []  # tables that a captured graph reads again

    def fits(self, params: list[Tensor], factors: list[float], diameters: list[float]) -> bool:
        return (
            self.at == [p.data_ptr() for p in params]
            and self.sizes == [p.numel() for p in params]
            and self.given == factors
            and self.across == diameters
        )


def move(
    optimizer: Any,
    group: dict[str, Any],
    places: list[int],
    buffers: list[Tensor],
    vertices: list[Tensor],
    factors: list[float],
    diameters: list[float],
) -> None:
    """Move all parameters of a group towards their vertices, factors times `vertices`."""
    params = [group["params"][i] for i in places]
    moves = _MOVES.setdefault(optimizer, {})
    held = moves.get(id(group))
    if held is None or not held.fits(params, factors, diameters):
        held = moves[id(group)] = _Move(params, factors, diameters)
    rescale, lr = group["rescale"], float(group["lr"]) * float(group["lr_factor"])
    norms = torch.stack(torch._foreach_norm(buffers)).float()
    if rescale == "none":
        raw = (norms > 0) * lr
    elif rescale == "diameter":
        raw = (norms > 0) * (held.inverse * lr)
    elif rescale == "fast_gradient":
        raw = norms * (held.inverse * (2 * lr))
    else:
        vertices = list(torch._foreach_mul(vertices, factors))
        apart = torch._foreach_sub(
            vertices, [p.to(v.dtype) for p, v in zip(params, vertices, strict=True)]
        )
        away = torch.stack(torch._foreach_norm(apart)).float()
        raw = torch.where(away > 0, lr * norms / torch.where(away > 0, away, 1.0), 0.0)
    finite = torch.isfinite(norms)
    if rescale in ("gradient", "fast_gradient"):
        for p in params:
            if "clipped" not in optimizer.state[p]:
                optimizer.state[p]["clipped"] = torch.zeros((), device=p.device)
        clipped = [optimizer.state[p]["clipped"] for p in params]
        torch._foreach_add_(clipped, list((raw > 1).float().unbind()))
    raw = raw if not group["constrained"] else raw.clamp(max=1.0)
    steps = raw.float()
    flags = (~finite).view(torch.int8)
    _blend(held, params, vertices, steps, flags, rescale == "gradient", not group["constrained"])
    bad = held.watch.take(flags)
    if bad is not None:
        refuse(group, places[bad], buffers)


def _blend(
    held: _Move, params: list[Tensor], vertices: list[Tensor], steps: Tensor, bad: Tensor,
    scaled: bool, add: bool,
) -> None:  # fmt: skip
    kernels = _kernels()
    names = kernels.TYPES
    kinds = {(p.dtype, v.dtype) for p, v in zip(params, vertices, strict=True)}
    dense = all(
        p.is_contiguous() and v.is_contiguous() for p, v in zip(params, vertices, strict=True)
    )
    if len(kinds) > 1 or not dense or not {d for pair in kinds for d in pair} <= names.keys():
        factors = torch.ones_like(held.factors) if scaled else held.factors
        steps = torch.where(bad.any(), 0.0, steps)
        for p, v, s, f in zip(params, vertices, steps.unbind(), factors.unbind(), strict=True):
            now = p.to(torch.promote_types(p.dtype, torch.float32))
            moved = now + s * (f * v - (0.0 if add else now))
            p.copy_(torch.where(s != 0, moved, now))
        return
    at = [held.at, [v.data_ptr() for v in vertices]]
    where = torch.tensor(at, dtype=torch.int64)
    if torch.cuda.is_current_stream_capturing():
        where = where.pin_memory()
        held.kept.append(where)
    where = where.to(params[0].device, non_blocking=True)
    ((x, v),) = kinds
    with torch.cuda.device(params[0].device):
        kernels.blend[(held.cut.count,)](
            where, held.cut.chunks, held.cut.sizes, steps,
            torch.ones_like(held.factors) if scaled else held.factors, bad, len(params),
            X=names[x], V=names[v], ADD=add, TENSORS=power(len(params)),
            WIDE=all(a % 16 == 0 for row in at for a in row),
            CHUNK=CHUNK, BLOCK=BLOCK, num_warps=WARPS,
        )  # fmt: skip


def refuse(group: dict[str, Any], place: int, buffers: list[Tensor], still: bool = True) -> None:
    """Name a parameter whose gradient was not finite, and clear the averages that took it in."""
    if buffers:
        torch._foreach_zero_(buffers)
    since = "; nothing in its group has moved since" if still else ""
    raise FrankWolfeError(
        f"the gradient of {group['names'][place]} held NaN or infinity in one of the last steps"
        f"{since}. Load a checkpoint from before, or use a smaller lr, rescale='diameter', or a "
        "GradScaler with float16."
    )


def power(n: int) -> int:
    """The least power of 2 that is at least n."""
    return 1 << max(0, n - 1).bit_length()
