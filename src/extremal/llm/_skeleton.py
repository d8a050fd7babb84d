"""The model as an empty frame: every parameter on the meta device until it is needed.

Blocks are found as the longest list of modules of one class, so that no table of architectures is
needed. What is pruned are the linear layers inside the blocks, those of mixtures of experts among
them (`_experts.py`) but not the gates that choose experts; any other matrix in a block is refused
by name instead of being passed over.
"""

from collections.abc import Generator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from extremal.lab import require

from ._entries import all_finite
from ._errors import LLMError
from ._experts import gates_of, leaves_in, take_apart
from ._folder import ModelFolder


@dataclass(frozen=True)
class Layer:
    """A linear layer of a block.

    Attributes:
        name: Of the module, from the model's root.
        tensor: Of its weight in the folder.
        module: The module itself.
        transposed: Whether the weight is stored (inputs, outputs), as GPT-2's are.
    """

    name: str
    tensor: str
    module: nn.Module
    transposed: bool

    @property
    def weight(self) -> Tensor:
        """The weight as (outputs, inputs): a view, or the stored tensor itself."""
        stored: Any = self.module.weight
        return stored.T if self.transposed else stored

    @property
    def stored(self) -> nn.Parameter:
        """The weight as the module stores it."""
        stored: Any = self.module.weight
        return stored


class Skeleton:
    """A model without weights, and the folder that they come from.

    Attributes:
        model: The module.
        folder: Where its tensors lie.
        blocks_name: Of the list of blocks, from the model's root.
        tensor_of: Parameter or buffer name to tensor name.
        leaves: Names of an expert's gate, up and down where fused experts were taken apart.
    """

    def __init__(self, folder: ModelFolder, device: torch.device) -> None:
        """Build the frame.

        Raises:
            LLMError: The architecture is unknown, tensors are missing, or there are no blocks.
        """
        transformers = require("transformers", "llm")
        self.folder = folder
        self.device = device
        self._ahead: dict[str, Future[Tensor]] = {}
        try:
            config = transformers.AutoConfig.from_pretrained(folder.path, local_files_only=True)
            with _on_meta():
                model = transformers.AutoModelForCausalLM.from_config(config, dtype=folder.dtype)
        except (ValueError, KeyError, ImportError) as error:
            raise LLMError(
                f"transformers cannot build the model of {folder.path} ({error}); it may need "
                "another version of transformers."
            ) from error
        self.config = config
        self.model: nn.Module = model.eval()
        self._renamed = _renamed(self.model, list(folder.tensors))
        self.leaves = leaves_in(self._renamed, self.model)
        if self.leaves is not None:
            take_apart(self.model, self.leaves)
        for buffer_owner in self.model.modules():
            for name, buffer in buffer_owner._buffers.items():
                if buffer is not None:
                    buffer_owner._buffers[name] = buffer.to(device)
        self.blocks_name, self.blocks = find_blocks(self.model)
        self.tensor_of = self._match()

    def _match(self) -> dict[str, str]:
        prefix = getattr(self.model, "base_model_prefix", "")
        stored = self.folder.tensors
        renamed = self._renamed
        found: dict[str, str] = {}
        missing: list[str] = []
        first: dict[int, str] = {}
        persistent = self.model.state_dict()
        for name, value in (
            *self.model.named_parameters(remove_duplicate=False),
            *self.model.named_buffers(),
        ):
            for spelling in (name, name.removeprefix(f"{prefix}."), f"{prefix}.{name}"):
                if spelling in renamed:
                    found[name] = renamed[spelling]
                    break
            else:
                if isinstance(value, nn.Parameter):
                    missing.append(name)
            if name in found:
                first.setdefault(id(value), found[name])
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        for name in list(missing):
            if id(parameters[name]) in first:  # a tied weight, stored once
                found[name] = first[id(parameters[name])]
                missing.remove(name)
        for name, tensor in found.items():
            if name in persistent and tuple(stored[tensor].shape) != tuple(persistent[name].shape):
                raise LLMError(
                    f"{tensor} has shape {list(stored[tensor].shape)}, but config.json implies "
                    f"{list(persistent[name].shape)}; config and weights differ."
                )
        whole = [
            t
            for t in found.values()
            if f"{self.blocks_name.split('.')[-1]}." in t
            and len(stored[t].shape) >= 2
            and not stored[t].torch_dtype.is_floating_point
        ]
        if whole:
            raise LLMError(
                f"{min(whole)} is stored as {stored[min(whole)].dtype}: quantised weights cannot "
                "be pruned. Give the folder with the full-precision weights."
            )
        unused = [
            t
            for t in stored.keys() - set(found.values())
            if self.blocks_name.split(".")[-1] + "." in t and len(stored[t].shape) >= 2
        ]
        if missing or unused:
            what = f"lacks {missing[0]}" if missing else f"has no place for {min(unused)}"
            raise LLMError(
                f"the model of {self.folder.path} and its weights do not fit: it {what}. "
                "Layouts that transformers converts on loading are not supported, but for "
                "mixtures of gated experts whose files keep the experts apart."
            )
        return found

    def layers(self, block: int, skip: tuple[str, ...] = ()) -> list[Layer]:
        """Return the linear layers of a block that are to be pruned, in the order of the module.

        Raises:
            LLMError: The block holds a matrix that is no linear layer and not skipped, or two
                layers share a weight.
        """
        conv1d = require("transformers.pytorch_utils", "llm").Conv1D
        found: list[Layer] = []
        seen: dict[int, str] = {}
        covered: set[str] = set()
        root = f"{self.blocks_name}.{block}"
        covered |= {f"{root}.{n}" for n in gates_of(self.blocks[block])}
        for inner, module in self.blocks[block].named_modules():
            name = f"{root}.{inner}"
            if isinstance(module, (nn.Linear, conv1d)) and f"{name}.weight" not in covered:
                covered.add(f"{name}.weight")
                if any(fnmatchcase(name, glob) for glob in skip):
                    continue
                tensor = self.tensor_of[f"{name}.weight"]
                key = id(module.weight)
                if key in seen or tensor in {layer.tensor for layer in found}:
                    raise LLMError(f"{name} and {seen.get(key)} share one weight; skip both.")
                seen[key] = name
                found.append(Layer(name, tensor, module, not isinstance(module, nn.Linear)))
        for inner, parameter in self.blocks[block].named_parameters():
            name = f"{root}.{inner}"
            passed_over = parameter.dim() >= 2 and name not in covered
            if passed_over and not any(fnmatchcase(name, glob) for glob in skip):
                raise LLMError(
                    f"{name} of shape {list(parameter.shape)} is a matrix in no linear layer "
                    "(experts whose file keeps them fused, for instance) and would stay dense. Say "
                    "so with "
                    f"--skip '*.{inner}', or prune another model."
                )
        return found

    def load(self, module: nn.Module, name: str) -> None:
        """Read all tensors of a module, `name` from the model's root, to the device."""
        for owner, parent in module.named_modules(prefix=name):
            self.load_own(parent, owner)

    def load_own(self, module: nn.Module, name: str) -> None:
        """Read the tensors that a module holds itself."""
        for leaf, parameter in module._parameters.items():
            if parameter is not None and parameter.is_meta:
                stored = self.tensor_of[f"{name}.{leaf}" if name else leaf]
                ahead = self._ahead.pop(stored, None)
                tensor = self.folder.read(stored) if ahead is None else ahead.result()
                tensor = tensor.to(self.device, non_blocking=True)
                if not all_finite(tensor):
                    raise LLMError(
                        f"the weight {name}.{leaf} holds NaN or infinity; the model is broken."
                    )
                module._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
        for leaf, buffer in module._buffers.items():
            full = f"{name}.{leaf}" if name else leaf
            if buffer is not None and full in self.tensor_of:
                stored = self.folder.read(self.tensor_of[full])
                module._buffers[leaf] = stored.to(self.device, buffer.dtype)

    def read_ahead(self, module: nn.Module, name: str, pool: Executor) -> None:
        """Begin to read a module's tensors into pinned memory; `load` takes them from there."""
        for owner, parent in module.named_modules(prefix=name):
            for leaf, parameter in parent._parameters.items():
                if parameter is not None and parameter.is_meta:
                    stored = self.tensor_of[f"{owner}.{leaf}"]
                    if stored not in self._ahead:
                        self._ahead[stored] = pool.submit(self.folder.read, stored, pinned=True)

    def drop(self, module: nn.Module) -> None:
        """Put every parameter of a module back on the meta device."""
        for owner in module.modules():
            for leaf, parameter in owner._parameters.items():
                if parameter is not None:
                    owner._parameters[leaf] = nn.Parameter(
                        torch.empty_like(parameter, device="meta"), requires_grad=False
                    )

    @contextmanager
    def on_call(self) -> Generator[None]:
        """Load modules outside the blocks when they are called, and drop them at the end."""
        inside = {id(m) for block in self.blocks for m in block.modules()}
        handles: list[Any] = []
        loaded: list[nn.Module] = []

        def loader(name: str) -> Any:
            def load(module: nn.Module, *_: Any) -> None:
                self.load_own(module, name)
                loaded.append(module)

            return load

        for name, module in self.model.named_modules():
            if id(module) not in inside and module._parameters:
                handles.append(module.register_forward_pre_hook(loader(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for module in loaded:
                self.drop(module)


def _renamed(model: nn.Module, stored: list[str]) -> dict[str, str]:
    """Return the model's name of each stored tensor, where transformers renames some on loading.

    Only renames are followed. A conversion that joins or splits tensors leaves names without a
    place, which is refused afterwards.
    """
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightRenaming
    except ImportError:  # before transformers 5 names are kept
        return {name: name for name in stored}
    steps = [t for t in get_model_conversion_mapping(model) if isinstance(t, WeightRenaming)]  # pyright: ignore[reportArgumentType]
    found: dict[str, str] = {}
    for name in sorted(stored):
        now = name
        for step in steps:
            now = step.rename_source_key(now)[0]
        found[now] = name
    return found


def find_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return name and list of the decoder blocks: the longest outer list of modules of one class.

    Raises:
        LLMError: There is none.
    """
    best: tuple[str, nn.ModuleList] | None = None
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or len(module) == 0 or not name:
            continue
        if best is not None and name.startswith(f"{best[0]}."):
            continue  # a list inside a block, such as experts
        if len({type(child) for child in module}) == 1 and (
            best is None or len(module) > len(best[1])
        ):
            best = (name, module)
    if best is None:
        raise LLMError(f"{type(model).__name__} has no list of blocks of one class.")
    return best


@contextmanager
def _on_meta() -> Generator[None]:
    """Send every parameter to the meta device as it is registered; buffers stay real."""
    original = nn.Module.register_parameter

    def register(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        original(self, name, param)
        if param is not None and not param.is_meta:
            self._parameters[name] = nn.Parameter(
                param.to("meta"), requires_grad=param.requires_grad
            )

    nn.Module.register_parameter = register
    try:
        yield
    finally:
        nn.Module.register_parameter = original
