"""A network as data: layers, operations and their connections, without the class it came from.

`describe` writes a network down, `build` makes a module from the description and its weights.
`save_network` and `load_network` keep both in a folder: `architecture.json` and
`model.safetensors`. Nothing is pickled and nothing of the file is executed: it can only name what
`_vocabulary` lists.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.immutable_collections import immutable_list

from extremal import training
from extremal.lab import atomic_write
from extremal.training import ChannelMap

from ._errors import CompressionError
from ._vocabulary import FUNCTIONS, IGNORED, LAYERS, METHODS, OPERATIONS, SPELLINGS

FORMAT = "extremal/architecture"
ARCHITECTURE, WEIGHTS, PARENT = "architecture.json", "model.safetensors", "parent-"
Plain = dict[str, Any]


def describe(model: nn.Module, shape: tuple[int, ...]) -> Plain:
    """Write a network down as plain values.

    Args:
        model: Any module of the vocabulary's layers and operations, in any nesting.
        shape: Of one input without the batch dimension.

    Returns:
        `format`, `version`, `input`, `layers` by name, `steps` in the order of running, `output`.

    Raises:
        CompressionError: A layer or operation is not in the vocabulary; it is named.
        TrainingError: The network cannot be traced.

    Example:
        >>> found = describe(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), (3,))
        >>> [step["name"] for step in found["steps"]], found["layers"]["0"]["out_features"]
        (['x', '_0', '_1'], 2)
    """
    made = model if isinstance(model, fx.GraphModule) else training.traced(model, shape)
    modules = dict(made.named_modules())
    layers: dict[str, Plain] = {}
    steps: list[Plain] = []
    output = ""
    for node in made.graph.nodes:
        if node.op == "placeholder":
            if steps:
                raise _unknown(model, "a second input")
            steps.append({"name": "x", "op": "input"})
            node.name = "x"
        elif node.op == "call_module":
            name = str(node.target)
            layers[name] = _layer(model, name, modules[name])
            source = node.args[0]
            assert isinstance(source, fx.Node)
            steps.append({"name": node.name, "op": "layer", "layer": name, "x": source.name})
        elif node.op in ("call_function", "call_method"):
            steps.append(_step(model, node))
        elif node.op == "output":
            result = node.args[0]
            if not isinstance(result, fx.Node):
                raise _unknown(model, "an output that is not one tensor")
            output = result.name
        else:
            raise _unknown(model, f"the parameter {node.target}, used outside a layer")
    return {
        "format": FORMAT,
        "version": 1,
        "input": list(shape),
        "layers": layers,
        "steps": steps,
        "output": output,
    }


def build(architecture: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> fx.GraphModule:
    """Make the network of a description, in eval mode.

    Args:
        architecture: As `describe` returns it.
        tensors: Its weights and buffers by name.

    Raises:
        CompressionError: The description names something unknown, or the weights do not fit.
    """
    try:
        made = _built(architecture)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CompressionError(
            f"the architecture cannot be read ({type(error).__name__}: {error}); it was written by "
            "another version or changed. Export the network again."
        ) from error
    own = made.state_dict()
    wrong = [n for n in own if n not in tensors or tensors[n].shape != own[n].shape]
    wrong += [n for n in tensors if n not in own]
    if wrong:
        raise CompressionError(
            f"the weights do not fit the architecture at {', '.join(sorted(wrong)[:4])}; the two "
            "files belong to different networks. Restore the pair from one export."
        )
    dtypes = {t.dtype for t in tensors.values() if t.is_floating_point()}
    if len(dtypes) == 1:
        made.to(dtypes.pop())
    made.load_state_dict(dict(tensors))
    return made.eval()


def save_network(folder: Path, model: nn.Module, shape: tuple[int, ...], prefix: str = "") -> Plain:
    """Write a network's architecture and weights into a folder; return the architecture."""
    architecture = describe(model, shape)
    made = build(architecture, _tensors(model, architecture))
    atomic_write(folder / (prefix + ARCHITECTURE), json.dumps(architecture, indent=1) + "\n")
    training.save_tensors(folder / (prefix + WEIGHTS), made.state_dict())
    return architecture


def load_network(folder: str | Path, prefix: str = "") -> tuple[fx.GraphModule, tuple[int, ...]]:
    """Read a network back from a folder of `compress` or `export`.

    Args:
        folder: The folder.
        prefix: "parent-" reads the network before compression, where it was kept.

    Returns:
        The module, in eval mode, and the shape of one input.

    Raises:
        CompressionError: A file is missing or of another form.
        TrainingError: The weights are damaged.
    """
    file = Path(folder) / (prefix + ARCHITECTURE)
    if not file.is_file():
        raise CompressionError(
            f"{folder} holds no network (there is no {file.name}); give a folder of `extremal "
            "compression compress` or `export`."
        )
    try:
        architecture = cast("Plain", json.loads(file.read_text()))
        form = (architecture["format"], architecture["version"])
        shape = tuple(int(n) for n in architecture["input"])
    except (ValueError, KeyError, TypeError) as error:
        raise CompressionError(
            f"{file} is damaged ({type(error).__name__}: {error}); restore it from a copy."
        ) from error
    if form != (FORMAT, 1):
        raise CompressionError(
            f"{file} is of form {form}, this version reads {(FORMAT, 1)}; export the network again."
        )
    return build(architecture, training.load_tensors(file.with_name(prefix + WEIGHTS))), shape


def _tensors(model: nn.Module, architecture: Plain) -> dict[str, Tensor]:
    """The state of a model under the description's names; tied weights are written for each."""
    state = dict(model.state_dict(keep_vars=False))
    if any(layer["kind"] == "channelmap" for layer in architecture["layers"].values()):
        made = model
        if not isinstance(model, fx.GraphModule):
            made = training.traced(model, tuple(architecture["input"]))
        state = dict(made.state_dict())
    return {n: t for n, t in state.items() if n.rpartition(".")[0] in architecture["layers"]}


def _layer(model: nn.Module, name: str, module: nn.Module) -> Plain:
    for kind, (cls, fields) in LAYERS.items():
        if type(module) is cls:
            values = {f: getattr(module, f, None) for f in fields}
            if "bias" in values:
                values["bias"] = getattr(module, "bias", None) is not None
            if kind == "channelmap":
                values["out_channels"] = len(cast("Tensor", module.source))
            return {"kind": kind, **{f: _json(v) for f, v in values.items()}}
    raise _unknown(model, f"the layer {name} of type {type(module).__name__}")


def _step(model: nn.Module, node: fx.Node) -> Plain:
    known = FUNCTIONS.get(node.target) if node.op == "call_function" else None
    if node.op == "call_method":
        known = METHODS.get(str(node.target))
    if known is None:
        what = getattr(node.target, "__name__", str(node.target))
        raise _unknown(model, f"the operation {what} (step {node.name})")
    operation = OPERATIONS[known]
    args = list(node.args)
    if known == "reshape" and len(args) > 2:  # x.view(a, b) as x.view((a, b))
        args = [args[0], tuple(args[1:])]
    if known == "permute" and len(args) > 2:
        args = [args[0], tuple(args[1:])]
    values = dict(operation.defaults)
    values |= dict(zip(operation.names, args, strict=False))
    values |= {
        (SPELLINGS.get(k, k) if k not in operation.names else k): v
        for k, v in node.kwargs.items()
        if k not in IGNORED
    }
    wrong = [n for n in operation.names if n not in values]
    wrong += [k for k in values if k not in operation.names]
    if known == "identity":
        values = {"x": args[0]}
    elif wrong:
        raise _unknown(model, f"{known} with the arguments {', '.join(wrong)} (step {node.name})")
    return {"name": node.name, "op": known, **{k: _json(v) for k, v in values.items()}}


def _json(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"step": value.name}
    if isinstance(value, slice):
        return {"slice": [_json(value.start), _json(value.stop), _json(value.step)]}
    if value is Ellipsis:
        return {"all": True}
    if isinstance(value, list | tuple | immutable_list | torch.Size):
        return [_json(v) for v in cast("list[Any]", value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CompressionError(
        f"the value {value!r} of type {type(value).__name__} cannot be written in an architecture; "
        "use numbers, text, lists and slices in forward."
    )


def _built(architecture: Mapping[str, Any]) -> fx.GraphModule:
    layers = {name: _made(layer) for name, layer in architecture["layers"].items()}
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}

    def value(plain: Any) -> Any:
        if isinstance(plain, dict):
            entry = cast("Plain", plain)
            if "step" in entry:
                return nodes[entry["step"]]
            if "slice" in entry:
                start, stop, step = (value(v) for v in entry["slice"])
                return slice(start, stop, step)
            return Ellipsis
        if isinstance(plain, list):
            return tuple(value(v) for v in cast("list[Any]", plain))
        return plain

    for step in architecture["steps"]:
        name = step["name"]
        if step["op"] == "input":
            nodes[name] = graph.placeholder(name)
        elif step["op"] == "layer":
            nodes[name] = graph.create_node(
                "call_module", step["layer"], (nodes[step["x"]],), {}, name
            )
        else:
            operation = OPERATIONS[step["op"]]
            values = {n: value(step[n]) for n in operation.names}
            nodes[name] = graph.create_node("call_function", operation.run, (), values, name)
    graph.output(nodes[architecture["output"]])
    return fx.GraphModule(layers, graph)


def _made(layer: Mapping[str, Any]) -> nn.Module:
    cls, fields = LAYERS[layer["kind"]]
    values: dict[str, Any] = {
        f: tuple(cast("list[Any]", v)) if isinstance(v := layer[f], list) else v for f in fields
    }
    if cls is ChannelMap:
        return ChannelMap(
            torch.zeros(values["out_channels"], dtype=torch.int64), values["in_channels"]
        )
    return cls(**values)


def _unknown(model: nn.Module, what: str) -> CompressionError:
    return CompressionError(
        f"{type(model).__name__} uses {what}, which a stored network cannot hold. Use the layers "
        "and operations that docs/compression.md lists, or keep the network as masks."
    )
