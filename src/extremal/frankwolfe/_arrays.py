"""The few array operations that NumPy and torch spell differently.

Regions are written once, over `namespace(x)`, which is the module `numpy` or `torch`; both accept
`axis=` and `keepdims=`. This file never imports torch: a tensor can only exist if somebody has.
Vectors are rows: a batch of b vectors of n entries is an array (b, n).
"""

import sys
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or torch.Tensor


def is_tensor(x: Any) -> bool:
    """Whether `x` is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def namespace(x: Array) -> Any:
    """Return the module whose functions take `x`."""
    return sys.modules["torch"] if is_tensor(x) else np


def is_real_float(x: Array) -> bool:
    """Whether the entries are real floating-point numbers."""
    if is_tensor(x):
        return bool(x.is_floating_point())
    return np.issubdtype(x.dtype, np.floating)


def upcast(x: Array, double: bool = False) -> Array:
    """Return `x` in float32 or better, in float64 with `double`."""
    if is_tensor(x):
        torch = namespace(x)
        return x.to(torch.float64) if double else x.float() if x.element_size() < 4 else x
    if double or x.dtype == np.float64:
        return x.astype(np.float64, copy=False)
    return x.astype(np.float32, copy=False) if x.dtype.itemsize <= 4 else x


def like(x: Array, pattern: Array) -> Array:
    """Return `x` in the type of `pattern`, on its device."""
    if is_tensor(pattern):
        torch = namespace(pattern)
        if not is_tensor(x):
            x = torch.from_numpy(np.array(x))  # a copy: torch wants memory that it may write
        return x.to(dtype=pattern.dtype, device=pattern.device)
    return np.asarray(x).astype(pattern.dtype, copy=False)


def on_cpu(x: Array) -> np.ndarray:
    """Return `x` as a float64 NumPy array."""
    if is_tensor(x):
        x = x.detach().cpu().double().numpy()
    return np.asarray(x, dtype=np.float64)


def constant(values: Any, pattern: Array) -> Array:
    """Return given numbers as an array of the type of `pattern`."""
    return like(np.asarray(values, dtype=np.float64), pattern)


def index(n: int, pattern: Array) -> Array:
    """Return 0, …, n-1 on the device of `pattern`."""
    xp = namespace(pattern)
    return xp.arange(n, device=pattern.device) if is_tensor(pattern) else np.arange(n)


def sgn(x: Array) -> Array:
    """Return +1 or -1; zero gives +1, so that a vertex has no zero entry by accident."""
    xp = namespace(x)
    one = xp.ones_like(x)
    return xp.where(x < 0, -one, one)


def first_argmax(a: Array) -> Array:
    """Return the lowest index of the largest entry of each row, (b, n) -> (b, 1)."""
    if is_tensor(a):  # torch promises no order among equals
        n = a.shape[-1]
        largest = a.amax(-1, keepdim=True)
        return namespace(a).where(a == largest, index(n, a), n - 1).amin(-1, keepdim=True)
    return np.argmax(a, axis=-1)[..., None]


def take(x: Array, at: Array) -> Array:
    """Return the entries of each row at the given indices."""
    return x.gather(-1, at) if is_tensor(x) else np.take_along_axis(x, at, axis=-1)


def put(x: Array, at: Array, values: Array) -> Array:
    """Return a copy with the entries of each row at the given indices replaced."""
    if is_tensor(x):
        return x.scatter(-1, at, values)
    out = x.copy()
    np.put_along_axis(out, at, values, axis=-1)
    return out


def sort_down(x: Array) -> Array:
    """Return each row in descending order."""
    if is_tensor(x):
        return namespace(x).sort(x, dim=-1, descending=True).values
    return np.flip(np.sort(x, axis=-1), axis=-1)


def order_down(x: Array) -> Array:
    """Return the indices that put each row in descending order; equals keep their order."""
    if is_tensor(x):
        return namespace(x).sort(x, dim=-1, descending=True, stable=True).indices
    return np.argsort(-x, axis=-1, kind="stable")


def kth_largest(a: Array, k: int) -> Array:
    """Return the k-th largest entry of each row, (b, n) -> (b, 1)."""
    if is_tensor(a):
        if a.shape[-1] == k:
            return a.amin(-1, keepdim=True)
        return namespace(a).topk(a, k, dim=-1, sorted=False).values.amin(-1, keepdim=True)
    n = a.shape[-1]
    return np.partition(a, n - k, axis=-1)[..., n - k : n - k + 1]


def top_mask(a: Array, k: int) -> Array:
    """Mark exactly k entries of each row, the largest; among equals the lowest index wins."""
    xp = namespace(a)
    threshold = kth_largest(a, k)
    above = a > threshold
    ties = a == threshold
    missing = k - xp.sum(above, axis=-1, keepdims=True)
    return above | (ties & (xp.cumsum(ties, axis=-1) <= missing))


def norm2(x: Array, axis: Any = -1) -> Array:
    """Return the Euclidean norm along axes that are kept with length 1."""
    return namespace(x).linalg.norm(x, axis=axis, keepdims=True)


def positive(x: Array) -> Array:
    """Return max(x, 0)."""
    return x.clamp(min=0) if is_tensor(x) else np.maximum(x, 0)


def clip(x: Array, low: Any, high: Any) -> Array:
    """Return x limited to [low, high]; the limits are numbers or arrays."""
    return x.clip(low, high) if not is_tensor(x) else namespace(x).clamp(x, low, high)


def nonzero_rows(g: Array) -> Array:
    """Replace a zero row by the first unit vector, so that every direction has a vertex.

    Rows are also divided by their largest entry, so that squares and powers cannot overflow.
    """
    xp = namespace(g)
    largest = xp.amax(xp.abs(g), axis=-1, keepdims=True)
    none = largest == 0
    first = (index(g.shape[-1], g) == 0) & none
    scaled = g / xp.where(none, xp.ones_like(largest), largest)
    return xp.where(first, xp.ones_like(g), scaled)


def svd(x: Array) -> tuple[Array, Array, Array]:
    """Return U, the descending singular values and V transposed of each matrix, thin."""
    return namespace(x).linalg.svd(x, full_matrices=False)


def transpose(x: Array) -> Array:
    """Swap the last two axes."""
    return x.mT if is_tensor(x) else np.swapaxes(x, -1, -2)
