"""Follows the shapes of a stored network, step by step, for one input: no framework, no weights.

An architecture has layers by name and steps in the order of running. A step is the input, a layer
or an operation; its value here is a shape (of one example, batch dimension 1 included), a number,
or a list of these. What is not known is rejected, so a count of multiply-accumulates can rest on
every output shape.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

Shape = tuple[int, ...]

_SAME_LAYERS = {
    "relu", "relu6", "leakyrelu", "elu", "gelu", "silu", "sigmoid", "tanh", "hardswish",
    "hardsigmoid", "softmax", "dropout", "identity",
}  # fmt: skip
_SAME = {
    "relu", "relu6", "leaky_relu", "gelu", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid",
    "softmax", "log_softmax", "identity",
}  # fmt: skip


@dataclass
class Network:
    """What an architecture says, once followed.

    Attributes:
        tensors: Shape of every parameter and buffer by name.
        parameters: The names that are parameters.
        macs: Of each convolution and linear layer, for one example.
        kinds: The kind of each of those layers.
        output: The shape of the output for one example.
    """

    tensors: dict[str, Shape] = field(default_factory=dict[str, Shape])
    parameters: set[str] = field(default_factory=set[str])
    macs: dict[str, int] = field(default_factory=dict[str, int])
    kinds: dict[str, str] = field(default_factory=dict[str, str])
    output: Shape = ()


def follow(architecture: Mapping[str, Any]) -> Network:
    """Return what an architecture amounts to.

    Raises:
        Rejected: It is malformed, uses something unknown, or its shapes do not fit together.
    """
    if architecture.get("format") != "extremal/architecture" or architecture.get("version") != 1:
        raise Rejected("an architecture file is not of the form extremal/architecture 1.")
    found = Network()
    layers = fields.mapping(architecture, "layers")
    for name, layer in layers.items():
        _declare(found, name, fields.mapping({name: layer}, name))
    values: dict[str, Any] = {}
    used: set[str] = set()
    for step in fields.items(architecture, "steps"):
        name, op = fields.text(step, "name"), fields.text(step, "op")
        if name in values:
            raise Rejected(f"the step {name} stands twice.")
        if op == "input":
            sides = fields.items(architecture, "input")
            values[name] = (1, *(_natural(n, "an input side") for n in sides))
        elif op == "layer":
            layer = fields.text(step, "layer")
            if layer not in layers:
                raise Rejected(f"the step {name} uses the layer {layer}, which is not there.")
            used.add(layer)
            values[name] = _through(found, layer, layers[layer], _shape(values, step["x"]))
        else:
            values[name] = _operation(op, step, values)
    if used != set(layers):
        raise Rejected(f"the layer {min(set(layers) - used)} is never used.")
    found.output = _shape(values, fields.text(architecture, "output"))
    return found


def _declare(found: Network, name: str, layer: dict[str, Any]) -> None:
    kind = fields.text(layer, "kind")
    shapes: dict[str, Shape] = {}
    buffers: dict[str, Shape] = {}
    if kind in ("conv1d", "conv2d"):
        out, into, groups = (
            fields.natural(layer, f) for f in ("out_channels", "in_channels", "groups")
        )
        if not groups or into % groups or out % groups:
            raise Rejected(f"layer {name}: {into} to {out} channels do not fit {groups} groups.")
        kernel = _several(layer["kernel_size"], 1 if kind == "conv1d" else 2)
        shapes["weight"] = (out, into // groups, *kernel)
        if layer["bias"]:
            shapes["bias"] = (out,)
    elif kind == "linear":
        out, into = fields.natural(layer, "out_features"), fields.natural(layer, "in_features")
        shapes["weight"] = (out, into)
        if layer["bias"]:
            shapes["bias"] = (out,)
    elif kind in ("batchnorm1d", "batchnorm2d"):
        n = fields.natural(layer, "num_features")
        if layer["affine"]:
            shapes = {"weight": (n,), "bias": (n,)}
        if layer["track_running_stats"]:
            buffers = {"running_mean": (n,), "running_var": (n,), "num_batches_tracked": ()}
    elif kind == "groupnorm":
        n = fields.natural(layer, "num_channels")
        if layer["affine"]:
            shapes = {"weight": (n,), "bias": (n,)}
    elif kind == "layernorm":
        sides = tuple(_natural(n, "a side") for n in _list(layer["normalized_shape"]))
        if layer["elementwise_affine"]:
            shapes = {"weight": sides} | ({"bias": sides} if layer["bias"] else {})
    elif kind == "channelmap":
        buffers = {"source": (fields.natural(layer, "out_channels"),)}
    elif kind not in _SAME_LAYERS | {"maxpool2d", "avgpool2d", "adaptiveavgpool2d", "flatten"}:
        raise Rejected(f"layer {name} is of the unknown kind {kind!r}.")
    found.tensors |= {f"{name}.{own}": shape for own, shape in (shapes | buffers).items()}
    found.parameters |= {f"{name}.{own}" for own in shapes}
    if kind in ("conv1d", "conv2d", "linear"):
        found.kinds[name], found.macs[name] = kind, 0


def _through(found: Network, name: str, layer: dict[str, Any], x: Shape) -> Shape:
    kind = layer["kind"]
    if kind in _SAME_LAYERS:
        return x
    if kind in ("conv1d", "conv2d"):
        _expect(name, x, 1, layer["in_channels"], 3 if kind == "conv1d" else 4)
        space = _windows(
            x[2:], layer["kernel_size"], layer["stride"], layer["padding"], layer["dilation"]
        )
        found.macs[name] += math.prod(found.tensors[f"{name}.weight"]) * math.prod(space)
        return (x[0], layer["out_channels"], *space)
    if kind == "linear":
        _expect(name, x, len(x) - 1, layer["in_features"])
        found.macs[name] += math.prod(found.tensors[f"{name}.weight"]) * math.prod(x[:-1])
        return (*x[:-1], layer["out_features"])
    if kind in ("batchnorm1d", "batchnorm2d"):
        _expect(name, x, 1, layer["num_features"])
        return x
    if kind == "groupnorm":
        _expect(name, x, 1, layer["num_channels"])
        return x
    if kind == "layernorm":
        sides = tuple(_list(layer["normalized_shape"]))
        if x[-len(sides) :] != sides:
            raise Rejected(f"layer {name} normalises {sides} and gets {x}.")
        return x
    if kind == "channelmap":
        _expect(name, x, 1, layer["in_channels"], 4)
        return (x[0], layer["out_channels"], *x[2:])
    if kind == "flatten":
        return _flat(x, layer["start_dim"], layer["end_dim"])
    if kind == "adaptiveavgpool2d":
        return _adaptive(x, layer["output_size"])
    return _pooled(x, layer)


def _operation(op: str, step: dict[str, Any], values: Mapping[str, Any]) -> Any:
    get = {k: _value(v, values) for k, v in step.items() if k not in ("name", "op")}
    if op in _SAME:
        return _is_shape(get["x"])
    if op in ("add", "sub", "mul", "div"):
        return _broadcast(get["x"], get["y"])
    if op == "cat":
        shapes = [_is_shape(s) for s in get["tensors"]]
        axis = get["dim"] % len(shapes[0])
        rest = {s[:axis] + s[axis + 1 :] for s in shapes}
        if len(rest) != 1:
            raise Rejected(f"the step {step['name']} joins the shapes {shapes}.")
        return (*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :])
    x = get["x"]
    if op == "size":
        return list(x) if get["dim"] is None else x[get["dim"]]
    if op == "getitem":
        return _item(x, get["index"])
    x = _is_shape(x)
    if op == "pad":
        sides, widths = list(x), get["pad"]
        for i in range(0, len(widths), 2):
            sides[-1 - i // 2] += widths[i] + widths[i + 1]
        return tuple(sides)
    if op in ("max_pool2d", "avg_pool2d"):
        return _pooled(x, get)
    if op == "adaptive_avg_pool2d":
        return _adaptive(x, get["output_size"])
    if op == "flatten":
        return _flat(x, get["start_dim"], get["end_dim"])
    if op == "reshape":
        wanted = list(get["shape"])
        known = math.prod(n for n in wanted if n != -1)
        if wanted.count(-1) == 1 and known and math.prod(x) % known == 0:
            wanted[wanted.index(-1)] = math.prod(x) // known
        if math.prod(wanted) != math.prod(x) or any(n < 0 for n in wanted):
            raise Rejected(f"the step {step['name']} reads {x} as {wanted}.")
        return tuple(wanted)
    if op == "mean":
        axes = {a % len(x) for a in _list(get["dim"])}
        if get["keepdim"]:
            return tuple(1 if i in axes else n for i, n in enumerate(x))
        return tuple(n for i, n in enumerate(x) if i not in axes)
    if op == "chunk":
        axis, parts = get["dim"] % len(x), get["chunks"]
        each = -(-x[axis] // parts)
        cuts = [min(each, x[axis] - start) for start in range(0, x[axis], each)]
        return [(*x[:axis], n, *x[axis + 1 :]) for n in cuts]
    if op in ("transpose", "permute"):
        order = list(range(len(x)))
        if op == "permute":
            order = [d % len(x) for d in get["dims"]]
        else:
            one, two = get["dim0"], get["dim1"]
            order[one], order[two] = order[two], order[one]
        if sorted(order) != list(range(len(x))):
            raise Rejected(f"the step {step['name']} reorders {x} by {order}.")
        return tuple(x[d] for d in order)
    if op == "unsqueeze":
        axis = get["dim"] % (len(x) + 1)
        return (*x[:axis], 1, *x[axis:])
    raise Rejected(f"the operation {op!r} is unknown.")


def _value(plain: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(plain, dict):
        entry = cast("dict[str, Any]", plain)
        if "step" in entry:
            if entry["step"] not in values:
                raise Rejected(f"the step {entry['step']} is used before it is there.")
            return values[entry["step"]]
        if "slice" in entry:
            start, stop, pace = (_value(v, values) for v in entry["slice"])
            return slice(start, stop, pace)
        return Ellipsis
    if isinstance(plain, list):
        return [_value(v, values) for v in cast("list[Any]", plain)]
    return plain


def _item(x: Any, index: Any) -> Any:
    if isinstance(x, list):  # a list of shapes or of sides
        return cast("list[Any]", x)[index]
    keys = list(_list(index))
    if Ellipsis in keys:
        at = keys.index(Ellipsis)
        keys[at : at + 1] = [slice(None)] * (len(x) - len(keys) + 1)
    sides: list[int] = []
    for i, n in enumerate(x):
        key = keys[i] if i < len(keys) else slice(None)
        if isinstance(key, slice):
            sides.append(len(range(*key.indices(n))))
        elif type(key) is not int or not -n <= key < n:
            raise Rejected(f"the index {key!r} is outside a side of {n}.")
    return tuple(sides)


def _windows(space: Sequence[int], kernel: Any, stride: Any, padding: Any, dilation: Any) -> Shape:
    d = len(space)
    kernels, strides, dilations = (_several(v, d) for v in (kernel, stride, dilation))
    if padding == "same":
        return tuple(space)
    pads = [0] * d if padding == "valid" else _several(padding, d, least=0)
    sides = [
        (n + 2 * p - w * (k - 1) - 1) // s + 1
        for n, k, s, p, w in zip(space, kernels, strides, pads, dilations, strict=True)
    ]
    if min(sides) < 1:
        raise Rejected(f"a window of {kernels} finds no place in {tuple(space)}.")
    return tuple(sides)


def _pooled(x: Shape, layer: Mapping[str, Any]) -> Shape:
    stride = layer["stride"] if layer["stride"] not in (None, []) else layer["kernel_size"]
    kernel, dilation = layer["kernel_size"], layer.get("dilation", 1)
    if layer["ceil_mode"]:
        kernels, strides, pads, wide = (
            _several(v, 2, least=0) for v in (kernel, stride, layer["padding"], dilation)
        )
        sides: list[int] = []
        for n, k, s, p, w in zip(x[2:], kernels, strides, pads, wide, strict=True):
            side = -(-(n + 2 * p - w * (k - 1) - 1) // s) + 1
            sides.append(side - 1 if (side - 1) * s >= n + p else side)
        return (*x[:2], *sides)
    return (*x[:2], *_windows(x[2:], kernel, stride, layer["padding"], dilation))


def _adaptive(x: Shape, size: Any) -> Shape:
    sides = _list(size) if isinstance(size, list) else [size, size]
    return (
        *x[:2],
        *(n if s is None else _natural(s, "a side") for s, n in zip(sides, x[2:], strict=True)),
    )


def _flat(x: Shape, start: int, end: int) -> Shape:
    start, end = start % len(x), end % len(x)
    return (*x[:start], math.prod(x[start : end + 1]), *x[end + 1 :])


def _broadcast(x: Any, y: Any) -> Any:
    if not isinstance(x, tuple) or not isinstance(y, tuple):
        return x if isinstance(x, tuple) else y
    one, two = cast("Shape", x), cast("Shape", y)
    longest = max(len(one), len(two))
    sides: list[int] = []
    for a, b in zip(
        (1,) * (longest - len(one)) + one, (1,) * (longest - len(two)) + two, strict=True
    ):
        if a != b and 1 not in (a, b):
            raise Rejected(f"the shapes {one} and {two} do not go together.")
        sides.append(max(a, b))
    return tuple(sides)


def _shape(values: Mapping[str, Any], name: Any) -> Shape:
    if name not in values:
        raise Rejected(f"the step {name!r} is used before it is there.")
    return _is_shape(values[name])


def _is_shape(value: Any) -> Shape:
    if not isinstance(value, tuple):
        raise Rejected(f"a step needs a tensor and gets {value!r}.")
    return cast("Shape", value)


def _expect(name: str, x: Shape, axis: int, wanted: int, dims: int | None = None) -> None:
    if (dims is not None and len(x) != dims) or not 0 <= axis < len(x) or x[axis] != wanted:
        raise Rejected(f"layer {name} is made for {wanted} channels and gets the shape {x}.")


def _several(value: Any, d: int, least: int = 1) -> list[int]:
    entries = _list(value) if isinstance(value, list) else [value] * d
    if len(entries) != d or any(type(n) is not int or n < least for n in entries):
        raise Rejected(f"{value!r} is not {d} numbers of at least {least}.")
    return entries


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _natural(value: Any, what: str) -> int:
    if type(value) is not int or value < 1:
        raise Rejected(f"{what} is {value!r}, not a positive number.")
    return value
