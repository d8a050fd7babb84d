"""The layers and operations that a stored network may consist of, and how each is written.

The list is closed on purpose: a file can name nothing else, so reading one never runs code of its
own, and the checker of `compression/model` can follow every shape without torch.

A layer is its kind and the fields its constructor takes. An operation is a function here, called
by the names of its arguments; torch's spellings of the same thing (`x.flatten(1)`,
`torch.flatten(x, 1)`) are one entry.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from extremal.training import ChannelMap

_CONV = (
    "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups",
    "bias", "padding_mode",
)  # fmt: skip
_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
_MAX = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_AVG = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

LAYERS: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    "conv1d": (nn.Conv1d, _CONV),
    "conv2d": (nn.Conv2d, _CONV),
    "linear": (nn.Linear, ("in_features", "out_features", "bias")),
    "batchnorm1d": (nn.BatchNorm1d, _NORM),
    "batchnorm2d": (nn.BatchNorm2d, _NORM),
    "groupnorm": (nn.GroupNorm, ("num_groups", "num_channels", "eps", "affine")),
    "layernorm": (nn.LayerNorm, ("normalized_shape", "eps", "elementwise_affine", "bias")),
    "relu": (nn.ReLU, ()),
    "relu6": (nn.ReLU6, ()),
    "leakyrelu": (nn.LeakyReLU, ("negative_slope",)),
    "elu": (nn.ELU, ("alpha",)),
    "gelu": (nn.GELU, ("approximate",)),
    "silu": (nn.SiLU, ()),
    "sigmoid": (nn.Sigmoid, ()),
    "tanh": (nn.Tanh, ()),
    "hardswish": (nn.Hardswish, ()),
    "hardsigmoid": (nn.Hardsigmoid, ()),
    "softmax": (nn.Softmax, ("dim",)),
    "maxpool2d": (nn.MaxPool2d, _MAX),
    "avgpool2d": (nn.AvgPool2d, _AVG),
    "adaptiveavgpool2d": (nn.AdaptiveAvgPool2d, ("output_size",)),
    "flatten": (nn.Flatten, ("start_dim", "end_dim")),
    "dropout": (nn.Dropout, ("p",)),
    "identity": (nn.Identity, ()),
    "channelmap": (ChannelMap, ("in_channels", "out_channels")),
}


def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return torch.relu(x)


def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6)."""
    return F.relu6(x)


def leaky_relu(x: Tensor, negative_slope: float) -> Tensor:
    """Identity above 0, scaled below."""
    return F.leaky_relu(x, negative_slope)


def gelu(x: Tensor, approximate: str) -> Tensor:
    """X times the normal distribution's share below x."""
    return F.gelu(x, approximate=approximate)


def silu(x: Tensor) -> Tensor:
    """X times its sigmoid."""
    return F.silu(x)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return torch.tanh(x)


def hardswish(x: Tensor) -> Tensor:
    """X relu6(x + 3) / 6."""
    return F.hardswish(x)


def hardsigmoid(x: Tensor) -> Tensor:
    """relu6(x + 3) / 6."""
    return F.hardsigmoid(x)


def softmax(x: Tensor, dim: int) -> Tensor:
    """Exponentials over their sum."""
    return torch.softmax(x, dim)


def log_softmax(x: Tensor, dim: int) -> Tensor:
    """Logarithm of the softmax."""
    return torch.log_softmax(x, dim)


def add(x: Any, y: Any) -> Any:
    """Sum."""
    return x + y


def sub(x: Any, y: Any) -> Any:
    """Difference."""
    return x - y


def mul(x: Any, y: Any) -> Any:
    """Product."""
    return x * y


def div(x: Any, y: Any) -> Any:
    """Quotient."""
    return x / y


def cat(tensors: Sequence[Tensor], dim: int) -> Tensor:
    """Join along a dimension."""
    return torch.cat(list(tensors), dim)


def pad(x: Tensor, pad: Sequence[int], mode: str, value: float | None) -> Tensor:
    """Pad, the last dimension first."""
    return F.pad(x, tuple(pad), mode, value)


def max_pool2d(
    x: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Tensor:
    """Largest value of each window."""
    return F.max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool2d(
    x: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool
) -> Tensor:
    """Mean of each window."""
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Tensor:
    """Means over as many windows as wanted."""
    return F.adaptive_avg_pool2d(x, output_size)


def flatten(x: Tensor, start_dim: int, end_dim: int) -> Tensor:
    """Join dimensions."""
    return torch.flatten(x, start_dim, end_dim)


def reshape(x: Tensor, shape: Sequence[Any]) -> Tensor:
    """Read the same entries in another shape."""
    return x.reshape(tuple(shape))


def size(x: Tensor, dim: int | None) -> Any:
    """The shape, or one entry of it."""
    return x.size() if dim is None else x.size(dim)


def getitem(x: Any, index: Any) -> Any:
    """Entries by position or slice."""
    return x[index]


def mean(x: Tensor, dim: Any, keepdim: bool) -> Tensor:
    """Mean over dimensions."""
    return torch.mean(x, dim, keepdim)


def chunk(x: Tensor, chunks: int, dim: int) -> Sequence[Tensor]:
    """Cut into equal parts."""
    return torch.chunk(x, chunks, dim)


def transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    """Swap two dimensions."""
    return torch.transpose(x, dim0, dim1)


def permute(x: Tensor, dims: Sequence[int]) -> Tensor:
    """Reorder dimensions."""
    return torch.permute(x, tuple(dims))


def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """Add a dimension of size 1."""
    return torch.unsqueeze(x, dim)


def identity(x: Tensor) -> Tensor:
    """The same; dropout outside training, or a copy in another memory layout."""
    return x


@dataclass(frozen=True)
class Operation:
    """A function here, the names of its arguments, and their defaults in torch."""

    run: Callable[..., Any]
    names: tuple[str, ...]
    defaults: dict[str, Any]


def _operation(run: Callable[..., Any], names: str, **defaults: Any) -> Operation:
    return Operation(run, tuple(names.split()), defaults)


OPERATIONS: dict[str, Operation] = {
    "relu": _operation(relu, "x"),
    "relu6": _operation(relu6, "x"),
    "leaky_relu": _operation(leaky_relu, "x negative_slope", negative_slope=0.01),
    "gelu": _operation(gelu, "x approximate", approximate="none"),
    "silu": _operation(silu, "x"),
    "sigmoid": _operation(sigmoid, "x"),
    "tanh": _operation(tanh, "x"),
    "hardswish": _operation(hardswish, "x"),
    "hardsigmoid": _operation(hardsigmoid, "x"),
    "softmax": _operation(softmax, "x dim"),
    "log_softmax": _operation(log_softmax, "x dim"),
    "add": _operation(add, "x y"),
    "sub": _operation(sub, "x y"),
    "mul": _operation(mul, "x y"),
    "div": _operation(div, "x y"),
    "cat": _operation(cat, "tensors dim", dim=0),
    "pad": _operation(pad, "x pad mode value", mode="constant", value=None),
    "max_pool2d": _operation(
        max_pool2d, "x kernel_size stride padding dilation ceil_mode",
        stride=None, padding=0, dilation=1, ceil_mode=False,
    ),
    "avg_pool2d": _operation(
        avg_pool2d, "x kernel_size stride padding ceil_mode count_include_pad",
        stride=None, padding=0, ceil_mode=False, count_include_pad=True,
    ),
    "adaptive_avg_pool2d": _operation(adaptive_avg_pool2d, "x output_size"),
    "flatten": _operation(flatten, "x start_dim end_dim", start_dim=0, end_dim=-1),
    "reshape": _operation(reshape, "x shape"),
    "size": _operation(size, "x dim", dim=None),
    "getitem": _operation(getitem, "x index"),
    "mean": _operation(mean, "x dim keepdim", keepdim=False),
    "chunk": _operation(chunk, "x chunks dim", dim=0),
    "transpose": _operation(transpose, "x dim0 dim1"),
    "permute": _operation(permute, "x dims"),
    "unsqueeze": _operation(unsqueeze, "x dim"),
    "identity": _operation(identity, "x"),
}  # fmt: skip

# What torch.fx finds in a forward pass, and the operation that it is.
FUNCTIONS: dict[Any, str] = {
    F.relu: "relu", torch.relu: "relu", F.relu6: "relu6", F.leaky_relu: "leaky_relu",
    F.gelu: "gelu", F.silu: "silu", F.sigmoid: "sigmoid", torch.sigmoid: "sigmoid",
    F.tanh: "tanh", torch.tanh: "tanh", F.hardswish: "hardswish", F.hardsigmoid: "hardsigmoid",
    F.softmax: "softmax", torch.softmax: "softmax", F.log_softmax: "log_softmax",
    torch.log_softmax: "log_softmax",
    operator.add: "add", torch.add: "add", operator.iadd: "add",
    operator.sub: "sub", torch.sub: "sub",
    operator.mul: "mul", torch.mul: "mul", operator.imul: "mul",
    operator.truediv: "div", torch.div: "div",
    torch.cat: "cat", torch.concat: "cat", F.pad: "pad",
    F.max_pool2d: "max_pool2d", torch.max_pool2d: "max_pool2d",
    F.avg_pool2d: "avg_pool2d", F.adaptive_avg_pool2d: "adaptive_avg_pool2d",
    torch.flatten: "flatten", torch.reshape: "reshape", operator.getitem: "getitem",
    torch.mean: "mean", torch.chunk: "chunk", torch.transpose: "transpose",
    torch.permute: "permute", torch.unsqueeze: "unsqueeze", F.dropout: "identity",
}  # fmt: skip
FUNCTIONS.update({operation.run: name for name, operation in OPERATIONS.items()})
METHODS = {
    "relu": "relu", "sigmoid": "sigmoid", "tanh": "tanh", "softmax": "softmax",
    "log_softmax": "log_softmax", "add": "add", "add_": "add", "sub": "sub", "mul": "mul",
    "div": "div", "flatten": "flatten", "view": "reshape", "reshape": "reshape", "size": "size",
    "mean": "mean", "chunk": "chunk", "transpose": "transpose", "permute": "permute",
    "unsqueeze": "unsqueeze", "contiguous": "identity", "detach": "identity",
}  # fmt: skip
SPELLINGS = {"input": "x", "other": "y", "self": "x", "p": "pad"}
IGNORED = ("inplace", "training", "_stacklevel", "return_indices", "dtype")
