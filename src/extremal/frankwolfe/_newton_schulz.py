"""The polar factor U V' of matrices, mostly by matrix products, in four grades.

`fast` is Muon's five quintic steps: singular values land in about [0.68, 1.20], so up to a fifth
outside the unit ball. `accurate` is five steps of Polar Express and one Taylor step: within 1 % for
singular values over a thousandth of the Frobenius norm. `feasible` divides that by the largest
value the polynomial takes, so that no singular value exceeds 1. `exact` is an SVD.

On a CPU `fast` takes the same polynomial of the eigenvalues of X X' where that is faster; in
float32 its singular values are then within 2 % of those of the products, mostly within 0.1 %.
`accurate` and `feasible` take a rational function of large matrices there: it needs a third of the
operations and keeps singular values over a thousandth of the Frobenius norm within 0.3 %.

Notation: A = X X'; a step is X <- a X + (b A + c A^2) X, on the side where A is small.
Sources: Jordan et al. 2024 (Muon's coefficients); Amsel et al., arXiv:2505.16932 (Polar Express);
Nakatsukasa, Bai and Gygi 2010 (weighted Halley steps).
"""

# pyright: reportPrivateImportUsage=false
# The _foreach functions are torch's own way to treat many tensors at once.

import math
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._threads import each

MUON = ((3.4445, -4.7750, 2.0315),) * 5
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
TAYLOR = ((15 / 8, -10 / 8, 3 / 8),)
_LEAST = 1e-3  # singular values from here on, of a Frobenius norm of 1, are promised to be about 1
_STRIP = 256  # rows of a symmetric product made at a time
_CACHED = 1 << 18  # float32 entries in a megabyte
_KEPT = 1 << 20  # entries of a scratch matrix that stays
_SCRATCH = threading.local()
MODES = ("fast", "accurate", "feasible", "exact")
# Largest value on [0, 1] of Polar Express after division by 1.02, then the Taylor step, found on a
# grid of 10^7 points; the margin covers float32 rounding. A test repeats it.
_HIGHEST = 1.0078375
_MARGIN = 2e-6
HIGHEST = _HIGHEST + _MARGIN


def quintic(x: Tensor, steps: Sequence[tuple[float, float, float]]) -> Tensor:
    """Apply odd quintics to the singular values of a batch of matrices, (b, m, n) with m <= n.

    On a CPU all steps are made for a few matrices at a time, which then stay in the cache.
    """
    rows, columns = x.shape[-2:]
    few = len(x)
    if x.device.type == "cpu":
        few = max(1, _CACHED // (2 * rows * columns + 2 * rows * rows))
    out = torch.empty_like(x)
    for start in range(0, len(x), few):
        products(x[start : start + few], steps, out[start : start + few])
    return out


def products(x: Tensor, steps: Sequence[tuple[float, float, float]], out: Tensor) -> None:
    """Apply odd quintics to some matrices by matrix products."""
    spare = torch.empty_like(out)
    if in_stages(x, steps):
        half = (len(steps) + 1) // 2
        stage(x, steps[:half], spare)
        stage(spare, steps[half:], out)
        return
    gram = x.new_empty(len(x), x.shape[1], x.shape[1])
    inner = torch.empty_like(gram)
    # The last of the alternating buffers is the result; x itself is only read.
    for i, (a, b, c) in enumerate(steps):
        target = out if (len(steps) - i) % 2 else spare
        if x.device.type == "cpu" and x.shape[1] >= 2 * _STRIP:
            for j in range(len(x)):
                symmetric(x[j], x[j].mT, gram[j])
                symmetric(gram[j], gram[j], inner[j], beta=b, alpha=c)
        else:
            torch.bmm(x, x.mT, out=gram)
            torch.baddbmm(gram, gram, gram, beta=b, alpha=c, out=inner)
        torch.baddbmm(x, inner, x, beta=a, out=target)
        x = target


def symmetric(x: Tensor, y: Tensor, out: Tensor, beta: float = 0.0, alpha: float = 1.0) -> None:
    """Store alpha x y + beta x, which is known to be symmetric, in strips: what mirrors is copied.

    x is (m, n) and y (n, m); with beta, n is m.
    """
    for start in range(0, len(x), _STRIP):
        stop = min(start + _STRIP, len(x))
        right = out[start:stop, start:]
        if beta:
            own = x[start:stop, start:]
            torch.addmm(own, x[start:stop], y[:, start:], beta=beta, alpha=alpha, out=right)
        else:
            torch.mm(x[start:stop], y[:, start:], out=right)
        out[stop:, start:stop] = out[start:stop, stop:].mT


def one_by_one(matrices: Sequence[Tensor], mode: str) -> bool:
    """Whether matrices of one shape are best treated one at a time, by `polar_each`.

    In `accurate` and `feasible` where LAPACK is no slower than products. In `fast` from larger
    ones on, and not where threads outnumber the matrices: one goes to each, and products gain
    nothing by that.
    """
    first = matrices[0]
    if first.device.type != "cpu" or mode == "exact" or first.requires_grad:
        return False
    if mode == "fast":
        return len(matrices) >= torch.get_num_threads() and first.numel() >= 1 << 17
    return min(first.shape) >= 192


@torch.no_grad()
def polar_each(
    matrices: Sequence[Tensor], mode: str, outs: Sequence[Tensor], eps: float = 1e-7
) -> None:
    """Store the polar factors of large matrices of one shape, a matrix a thread.

    Args:
        matrices: Each (m, n), floating point, on a CPU.
        mode: "fast", "accurate" or "feasible".
        outs: Of the same shapes and types.
        eps: As for `polar`.
    """

    def one(i: int) -> None:
        x, out = matrices[i], outs[i]
        if x.shape[0] > x.shape[1]:
            x, out = x.mT, out.mT
        x = x.float() if x.element_size() < 4 else x
        found = out if out.dtype == x.dtype else torch.empty_like(x)
        size = norms(x[None])[0]
        size = size + eps if mode == "fast" else torch.where(size > 0, size, torch.ones_like(size))
        x = torch.div(x, size, out=scratch(5, x.shape[0], x.shape[1], x))
        if mode == "fast":
            spectrum(x, MUON, found)
        else:
            halley(x, found, 1 / (1 + _MARGIN) if mode == "feasible" else 1.0)
        if found is not out:
            out.copy_(found)

    each(one, len(matrices))


def spectrum(x: Tensor, steps: Sequence[tuple[float, float, float]], out: Tensor) -> None:
    """Apply quintics to one matrix through the eigenvalues of A = X X'.

    With A = Q L Q' the result is Q f(L) Q' X, where f is a polynomial in numbers. An
    eigendecomposition on one thread costs five to ten products of its size, five steps fifteen.

    An eigenvalue is wrong by eps times the largest, while the polynomial bends on the scale of
    1 / gain^2, where gain is the product of the leading coefficients: 485 for Muon's steps, but
    1847 for Polar Express, whose promise of 1 % would not hold.
    """
    gram, vectors, scaled = (scratch(i, len(x), len(x), x) for i in range(3))
    symmetric(x, x.mT, gram)
    values, q = torch.linalg.eigh(gram, out=(x.new_empty(len(x)), vectors.mT))
    rest = values.double().clamp(min=0)
    factor = torch.ones_like(rest)
    for a, b, c in steps:
        step = a + b * rest + c * rest**2
        factor, rest = factor * step, rest * step**2
    symmetric(torch.mul(q, factor.to(x.dtype), out=scaled.mT), q.mT, gram)
    torch.mm(gram, x, out=out)


def halley_weights(least: float, steps: int) -> list[tuple[float, float, float]]:
    """Return (a, b, c) of Halley steps x <- x (a + b x^2) / (1 + c x^2) for [least, 1].

    Each maps [0, 1] to itself and raises the least value as far as such a step can.
    """
    out: list[tuple[float, float, float]] = []
    for _ in range(steps):
        root = math.sqrt(1 + (4 * (1 - least**2) / least**4) ** (1 / 3))
        a = root + math.sqrt(8 - 4 * (root**2 - 1) + 8 * (2 - least**2) / (least**2 * root)) / 2
        b = (a - 1) ** 2 / 4
        c = a + b - 1
        out.append((a, b, c))
        least = least * (a + b * least**2) / (1 + c * least**2)
    return out


# To [0.963, 1]; the last step, x (3 - x^2) / 2, ends in [0.9979, 1].
_HALLEY = halley_weights(_LEAST, 2)


def halley(x: Tensor, out: Tensor, factor: float = 1.0) -> None:
    """Send the singular values of a matrix, (m, n) with m <= n and a norm of 1, to about `factor`.

    With Z = I + c A a step is X <- (b / c + (a - b / c) Z^-1) X: Z is positive definite and its
    condition at most 1 + c, 16,001 in the first step.
    """
    first, second = _HALLEY
    beta, alpha = 1.5 * factor, -0.5 * factor
    gram, half = scratch(0, len(x), len(x), x), scratch(1, len(x), len(x), x)
    symmetric(x, x.mT, gram)
    x = torch.mm(resolvent(gram, *first), x, out=scratch(4, x.shape[0], x.shape[1], x))
    symmetric(x, x.mT, gram)
    move = resolvent(gram, *second)
    if x.shape[1] >= 2 * x.shape[0]:  # the last two steps through A alone, which saves reading X
        torch.mm(move, gram, out=half)
        torch.mm(half, move, out=gram)
        torch.addmm(move, gram, move, beta=beta, alpha=alpha, out=half)
        torch.mm(half, x, out=out)
        return
    x = torch.mm(move, x, out=scratch(5, x.shape[0], x.shape[1], x))
    symmetric(x, x.mT, gram)
    torch.addmm(x, gram, x, beta=beta, alpha=alpha, out=out)


def resolvent(gram: Tensor, a: float, b: float, c: float) -> Tensor:
    """Return b / c + (a - b / c) (1 + c A)^-1, in this thread's scratch 2."""
    z, factor, inverse = (scratch(i, len(gram), len(gram), gram) for i in (1, 3, 2))
    torch.mul(gram, c, out=z).diagonal().add_(1)
    info = torch.empty((), dtype=torch.int32)
    torch.linalg.cholesky_ex(z, out=(factor.mT, info))
    torch.cholesky_inverse(factor.mT, out=inverse.mT)
    inverse.mul_(a - b / c).diagonal().add_(b / c)
    return inverse


def scratch(number: int, rows: int, columns: int, like: Tensor) -> Tensor:
    """Return a matrix of this thread, not initialised, that is kept for the next call if small.

    Fresh pages cost more than arithmetic on them, the more so with several threads.
    """
    size = rows * columns
    key = (number, like.dtype, torch.is_inference_mode_enabled())
    kept: dict[Any, Tensor] = _SCRATCH.__dict__.setdefault("kept", {})
    flat = kept.get(key)
    if flat is None or flat.numel() < size:
        flat = like.new_empty(size)
        if size <= _KEPT:
            kept[key] = flat
    return flat[:size].view(rows, columns)


def in_stages(x: Tensor, steps: Sequence[Any]) -> bool:
    """Whether `stage` is worth while: for long matrices, and not in half precision."""
    return x.shape[-1] >= 2 * x.shape[-2] and x.element_size() >= 4 and len(steps) >= 4


def stage(x: Tensor, steps: Sequence[tuple[float, float, float]], out: Tensor) -> None:
    """Apply some quintics to long matrices, through A = X X' alone.

    With P = a + b A + c A^2 a step is X <- P X and A <- P A P, so a stage reads X twice, however
    many steps it has: k steps cost 4 m^2 n + (8 k - 6) m^3 operations in place of
    k (4 m^2 n + 2 m^3). Rounding of A hides singular values below its square root, so stages are
    short: of three steps, in which such values only grow by the leading coefficients.
    """
    gram = x @ x.mT
    product: Tensor | None = None
    for i, (a, b, c) in enumerate(steps):
        p = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        p.diagonal(dim1=-2, dim2=-1).add_(a)
        if i + 1 < len(steps):
            gram = p @ gram @ p
        product = p if product is None else p @ product
    assert product is not None
    torch.bmm(product, x, out=out)


def polar(g: Tensor, mode: str = "accurate", eps: float = 1e-7) -> Tensor:
    """Return the polar factors of a batch of matrices.

    Args:
        g: (b, m, n), floating point.
        mode: One of `MODES`.
        eps: Added to the norm that `fast` divides by, as in Muon.

    Returns:
        Matrices of the same shape and type; singular values about 1.

    Raises:
        ValueError: There is no such mode.
    """
    if mode not in MODES:
        raise ValueError(f"there is no spectral mode {mode!r}; there are {', '.join(MODES)}.")
    if mode == "exact":
        u, _, vt = torch.linalg.svd(g.float() if g.element_size() < 4 else g, full_matrices=False)
        return (u @ vt).to(g.dtype)
    if len(g) and one_by_one(g.unbind(), mode):
        out = torch.empty_like(g)
        polar_each(g.unbind(), mode, out.unbind(), eps)
        return out
    tall = g.shape[-2] > g.shape[-1]
    x = g.mT if tall else g
    if mode == "fast":
        # bfloat16 halves the time on a GPU; a CPU emulates it and would only lose.
        x = x.bfloat16() if g.is_cuda else x.float() if x.element_size() < 4 else x
        x = quintic(x / (norms(x) + eps), MUON)
    else:
        x = x.float() if x.element_size() < 4 else x
        size = norms(x)
        x = x / (1.02 * torch.where(size > 0, size, torch.ones_like(size)))
        x = quintic(x, POLAR_EXPRESS + TAYLOR)
        if mode == "feasible":
            x = x / HIGHEST
    return (x.mT if tall else x).to(g.dtype)


def polar_stack(matrices: Sequence[Tensor], mode: str, eps: float = 1e-7) -> Tensor:
    """Return the polar factors of matrices of one shape on a GPU, as one stack.

    `fast` stays in bfloat16 from the first copy to the result, which halves the bytes.
    """
    if mode != "fast":
        return polar(torch.stack(list(matrices)), mode)
    first = matrices[0]
    x = torch.empty((len(matrices), *first.shape), dtype=torch.bfloat16, device=first.device)
    torch._foreach_copy_(list(x.unbind()), list(matrices))
    x.div_(torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True, dtype=torch.float32) + eps)
    if first.shape[0] > first.shape[1]:
        return quintic(x.mT, MUON).mT
    return quintic(x, MUON)


def norms(x: Tensor) -> Tensor:
    """Frobenius norms, (b, 1, 1), also where squares are too small or too large for the type."""
    if x.device.type == "cpu" and x.element_size() >= 4:
        plain = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True)
        if bool(((plain > 1e-15) & (plain < 1e15)).all()):
            return plain
    top = x.abs().amax((-2, -1), keepdim=True)
    safe = torch.where(top > 0, top, torch.ones_like(top))
    return top * torch.linalg.vector_norm(x / safe, dim=(-2, -1), keepdim=True)
