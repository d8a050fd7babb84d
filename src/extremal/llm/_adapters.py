"""Adapters on a pruned linear layer that keep its zeros, with a backward pass of their own.

Notation: W (outputs o, inputs d) frozen, M its mask, A (r, d), B (o, r), s = alpha / r.

    name        weight in training            at the start           merged
    lora        W + s BA                      A Kaiming, B = 0       loses the zeros
    lora_prune  W + s BA                      A Kaiming, B = 0       W + s M*(BA): another
    mask_lora   W + s M*(BA)                  A Kaiming, B = 0       the same
    scale_lora  W * (BA)                      all 1/sqrt(r)          the same
    spp         W * (1 + s diag(c) P)         A Kaiming, c = 0       the same
    hira        W * (1 + s BA)                A Kaiming, B = 0       the same

P repeats each of A's r rows o/r times; B holds c as one column there.
Sources: Zimmer et al. (PERP), arXiv:2312.15230; Lu et al. (SPP), arXiv:2405.16057; HiRA as in PEFT.
Differs from them: autograd would keep the effective weight and the mask for the backward pass; here
they are formed again, tile by tile of rows, so nothing per weight is kept. The mask itself is not
stored either: a weight is kept if it is not zero, or if it is on the short list of kept zeros.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn import functional

from extremal.pruning import ADAPTERS, adapter_start, effective

from ._entries import all_finite
from ._errors import LLMError

KINDS = ADAPTERS
_TILE = 1 << 24  # weights of a tile: 64 MB in float32


class _Adapted(torch.autograd.Function):
    """y = x W_eff^T + b with W_eff formed in tiles, forwards and again backwards."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, A: Tensor, B: Tensor,
        zeros: Tensor, kind: str, s: float, transposed: bool, tile: int,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, weight, A, B, zeros)
        ctx.how = (kind, s, transposed, tile, bias is not None)
        W = weight.T if transposed else weight
        rows = W.shape[0]
        y = x.new_empty(*x.shape[:-1], rows)
        for start, stop in _tiles(rows, W.shape[1], tile):
            M = _kept(W, zeros, start, stop)
            part = effective(kind, W[start:stop], M, A, B[start:stop], s, start, rows)
            piece = None if bias is None else bias[start:stop]
            if (start, stop) == (0, rows):
                return functional.linear(x, part.to(x.dtype), piece)
            y[..., start:stop] = functional.linear(x, part.to(x.dtype), piece)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight, A, B, zeros = ctx.saved_tensors
        kind, s, transposed, tile, has_bias = ctx.how
        dy = grads[0].reshape(-1, grads[0].shape[-1])
        flat = x.reshape(-1, x.shape[-1])
        W = weight.T if transposed else weight
        rows = W.shape[0]
        need_x, _, need_bias = ctx.needs_input_grad[:3]
        dx: Tensor | None = None
        dA, dB = torch.zeros_like(A), torch.empty_like(B)
        for start, stop in _tiles(rows, W.shape[1], tile):
            M = _kept(W, zeros, start, stop)
            G = dy[:, start:stop].T @ flat
            with torch.enable_grad():
                a = A.detach().requires_grad_()
                b = B[start:stop].detach().requires_grad_()
                part = effective(kind, W[start:stop], M, a, b, s, start, rows)
                ga, gb = torch.autograd.grad(part, (a, b), G.to(part.dtype))
            dA += ga
            dB[start:stop] = gb
            if need_x:
                step = dy[:, start:stop] @ part.detach().to(dy.dtype)
                dx = step if dx is None else dx.add_(step)
        db = dy.sum(0) if has_bias and need_bias else None
        return (
            None if dx is None else dx.reshape(x.shape),
            None, db, dA, dB, None, None, None, None, None,
        )  # fmt: skip


def _tiles(rows: int, columns: int, tile: int) -> list[tuple[int, int]]:
    step = max(1, tile // columns)
    return [(i, min(i + step, rows)) for i in range(0, rows, step)]


def _kept(W: Tensor, zeros: Tensor, start: int, stop: int) -> Tensor:
    M = W[start:stop] != 0
    if zeros.numel():
        here = zeros[(zeros[:, 0] >= start) & (zeros[:, 0] < stop)]
        M[here[:, 0] - start, here[:, 1]] = True
    return M


class AdaptedLinear(nn.Module):
    """A frozen, pruned linear layer with a trainable adapter; a drop-in for the layer.

    Attributes:
        weight: The frozen weight as stored.
        bias: The layer's bias or None; frozen unless it is set to train.
        A: See the module's text, float32.
        B: See the module's text, float32.
        kind: Which adapter.
        scaling: s.
    """

    def __init__(
        self,
        layer: nn.Module,
        kind: str,
        mask: Bool[Tensor, "o d"] | None,
        *,
        transposed: bool = False,
        rank: int = 16,
        alpha: float | int = 32,
        generator: torch.Generator | None = None,
        tile: int = _TILE,
    ) -> None:
        """Wrap a layer; nothing changes until it is trained.

        Args:
            layer: A Linear, or a layer that stores (inputs, outputs).
            kind: One of `KINDS`.
            mask: True = kept, as (outputs, inputs); where it is False the weight must be 0.
            transposed: Whether the layer stores (inputs, outputs).
            rank: r.
            alpha: s = alpha / r.
            generator: Of the start of A.
            tile: Weights of a tile in the forward and backward pass.

        Raises:
            LLMError: There is no mask for a kind that needs one, or it does not fit.
            ValueError: There is no such kind, or the rank is not positive.
        """
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"there is no adapter {kind!r}; there are {', '.join(KINDS)}.")
        if rank < 1:
            raise ValueError(f"an adapter of rank {rank} has no weights; give 1 or more.")
        stored: Any = layer.weight
        W = stored.detach().T if transposed else stored.detach()
        if mask is None and kind != "lora":
            raise LLMError(
                f"the adapter {kind} keeps a mask, but the layer {list(W.shape)} has none; prune "
                "it first, or use lora."
            )
        if mask is not None and (mask.shape != W.shape or bool((W[~mask] != 0).any())):
            raise LLMError(
                f"the mask {list(mask.shape)} does not fit the weight {list(W.shape)}: a pruned "
                "weight is not zero. Masks belong to the model they were made for."
            )
        self.weight: nn.Parameter = stored
        self.weight.requires_grad_(False)
        self.bias: nn.Parameter | None = getattr(layer, "bias", None)
        self.kind, self.transposed, self.scaling = kind, transposed, alpha / rank
        self.rank, self.alpha, self.tile = rank, alpha, tile
        self.pruned = mask is not None
        kept_zeros = (W == 0) & mask if mask is not None else W == 0
        self.register_buffer("zeros", kept_zeros.nonzero(), persistent=False)
        o, d = W.shape
        device = W.device
        a, b = adapter_start(kind, o, d, rank, generator)
        self.A = nn.Parameter(a.to(device))
        self.B = nn.Parameter(b.to(device))

    def mask(self) -> Bool[Tensor, "o d"]:
        """Return the mask as (outputs, inputs)."""
        W = self.weight.T if self.transposed else self.weight
        zeros: Any = self.zeros
        return _kept(W, zeros, 0, W.shape[0])

    def forward(self, x: Tensor) -> Tensor:
        """Apply the adapted layer."""
        if self.kind in ("lora", "lora_prune"):
            W = self.weight.T if self.transposed else self.weight
            base = functional.linear(x, W, self.bias)
            return base + self.scaling * (x.to(self.A.dtype) @ self.A.T @ self.B.T).to(x.dtype)
        return _Adapted.apply(
            x, self.weight, self.bias, self.A, self.B, self.zeros, self.kind, self.scaling,
            self.transposed, self.tile,
        )  # pyright: ignore[reportReturnType]  # fmt: skip

    @torch.no_grad()
    def merged(self, *, allow_dense: bool = False) -> Tensor:
        """Return the weight with the adapter in it, as the layer stores it.

        Merged in float32, cast once, masked again; then two checks: no weight outside the mask, and
        the merged layer does what the adapted one did, within the type's tolerance (but for
        "lora_prune", whose training differs by design).

        Raises:
            LLMError: A plain "lora" on a pruned layer would lose the zeros and `allow_dense` is
                False, or a check fails.
        """
        if self.kind == "lora" and self.pruned and not allow_dense:
            raise LLMError(
                "merging a plain LoRA makes the layer dense again. Train mask_lora instead, use "
                "lora_prune, or say allow_dense=True."
            )
        W = self.weight.T if self.transposed else self.weight
        M = self.mask()
        new = effective(self.kind, W, M, self.A, self.B, self.scaling).to(W.dtype)
        keeps = self.pruned and self.kind != "lora"
        if keeps:
            new = new.masked_fill(~M, 0)
        if not all_finite(new):
            raise LLMError("the adapter has diverged: its merged weight is not finite.")
        if keeps and bool((new[~M] != 0).any()):
            raise LLMError("a merged weight lies outside the mask.")
        if self.kind != "lora_prune":
            self._check(new)
        return new.T.contiguous() if self.transposed else new

    def _check(self, new: Tensor) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(8, new.shape[1], generator=generator).to(new.device, new.dtype)
        one, two = self(x).float(), functional.linear(x, new, self.bias).float()
        # Rounding of sums of d products of that size, and of the weights' own type.
        size = float((x.float().abs() @ new.float().abs().T).max()) + float(one.abs().max())
        tolerance = 8 * torch.finfo(new.dtype).eps * size
        if float((one - two).abs().max()) > tolerance:
            raise LLMError(
                f"the merged layer differs from the adapted one by {float((one - two).abs().max())}"
                f", more than rounding explains ({tolerance})."
            )


def attach(
    model: nn.Module,
    layers: Mapping[str, bool],
    kind: str,
    masks: Mapping[str, Tensor],
    *,
    rank: int = 16,
    alpha: float | int = 32,
    seed: int = 0,
    tile: int = _TILE,
) -> dict[str, AdaptedLinear]:
    """Put an adapter on each named layer of a model, in place.

    Args:
        model: Any module.
        layers: Module name to whether it stores (inputs, outputs).
        kind: One of `KINDS`.
        masks: Module name to mask as (outputs, inputs); "lora" needs none.
        rank: r.
        alpha: s = alpha / r.
        seed: Of the starts; each layer has a stream of its own.
        tile: Weights of a tile.

    Returns:
        The adapters by module name.
    """
    from extremal.lab import derive_seed

    found: dict[str, AdaptedLinear] = {}
    for name, transposed in layers.items():
        parent, leaf = _parent(model, name)
        random = torch.Generator().manual_seed(derive_seed(seed, "adapter", name))
        adapted = AdaptedLinear(
            getattr(parent, leaf), kind, masks.get(name), transposed=transposed, rank=rank,
            alpha=alpha, generator=random, tile=tile,
        )  # fmt: skip
        found[name] = adapted
    for name, adapted in found.items():  # only when all of them fit
        parent, leaf = _parent(model, name)
        adapted.__dict__["replaced"] = getattr(parent, leaf)
        setattr(parent, leaf, adapted)
    return found


def merge(
    model: nn.Module, adapters: Mapping[str, AdaptedLinear], *, allow_dense: bool = False
) -> None:
    """Merge every adapter and put the plain layers back, in place.

    Raises:
        LLMError: As `AdaptedLinear.merged`; then nothing was changed.
    """
    merged = {n: a.merged(allow_dense=allow_dense) for n, a in adapters.items()}
    for name, adapted in adapters.items():
        with torch.no_grad():
            adapted.weight.copy_(merged[name])
    detach(model, adapters)


def detach(model: nn.Module, adapters: Mapping[str, AdaptedLinear]) -> None:
    """Put the plain layers back without merging."""
    for name, adapted in adapters.items():
        parent, leaf = _parent(model, name)
        setattr(parent, leaf, adapted.__dict__["replaced"])


def _parent(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    above, _, leaf = name.rpartition(".")
    return model.get_submodule(above), leaf
