"""Mixtures of experts whose weights are fused into three-dimensional tensors, taken apart.

Notation: E experts, hidden width h, inner width i; the fused tensors are gate_up (E, 2i, h) and
down (E, h, i); an expert computes down(act(gate(x)) * up(x)).

A fused module is replaced by one with a linear layer for each expert and projection, so that masks,
statistics, solvers and adapters see what they see elsewhere, and so that the names are those of the
files, which keep experts apart. Whether both compute the same is tried on small random weights, and
a module that computes something else is refused.
"""

import copy
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ._errors import LLMError

_SIZES = (16, 8)  # widths of the trial; grouped kernels want rows of 16 bytes
_STORED = re.compile(r"experts\.\d+\.(\w+)\.weight$")


class Expert(nn.Module):
    """One gated MLP; its three layers carry the names of the files."""

    def __init__(self, leaves: tuple[str, str, str], hidden: int, inner: int, like: Tensor) -> None:
        super().__init__()
        self.leaves = leaves
        for leaf, (inputs, outputs) in zip(
            leaves, ((hidden, inner), (hidden, inner), (inner, hidden)), strict=True
        ):
            layer = nn.Linear(inputs, outputs, bias=False, device=like.device, dtype=like.dtype)
            self.add_module(leaf, layer)

    def forward(self, x: Tensor, act: Any) -> Tensor:
        """Apply the expert to its tokens."""
        gate, up, down = (self.get_submodule(leaf) for leaf in self.leaves)
        return down(act(gate(x)) * up(x))


class Experts(nn.ModuleList):
    """All experts of a block; called as the fused module is."""

    def __init__(self, experts: Iterable[Expert], act: Any) -> None:
        super().__init__(experts)
        self.__dict__["act"] = act  # no child: the children are the experts

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Send every token to its experts and add up what they give, by the routing weights."""
        out = torch.zeros_like(hidden_states)
        for number, expert in enumerate(self):
            token, place = torch.where(top_k_index == number)
            if token.numel():
                found = expert(hidden_states[token], self.__dict__["act"])
                out.index_add_(0, token, (found * top_k_weights[token, place, None]).to(out.dtype))
        return out


def take_apart(model: nn.Module, leaves: tuple[str, str, str]) -> list[str]:
    """Replace every fused module by one with linear layers, in place; weights are copied.

    Args:
        model: Any model; on the meta device nothing is copied.
        leaves: Names of gate, up and down in the files.

    Returns:
        The names of the replaced modules.

    Raises:
        LLMError: A fused module computes something else than gated MLPs.
    """
    found = [n for n, m in model.named_modules() if _is_fused(m)]
    tried: set[type] = set()
    for name in found:
        fused: Any = model.get_submodule(name)
        if type(fused) not in tried:
            _try(fused, name)
            tried.add(type(fused))
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, _apart(fused, leaves))
    return found


def has_fused(model: nn.Module) -> bool:
    """Whether any experts are fused."""
    return any(_is_fused(m) for m in model.modules())


def leaves_in(names: Iterable[str], model: nn.Module) -> tuple[str, str, str] | None:
    """Return the names that files give to gate, up and down, or None where none are kept apart.

    Args:
        names: Of the stored tensors.
        model: Tells, through transformers' table of conversions, which is which.
    """
    stored = {m.group(1) for n in names if (m := _STORED.search(n))}
    if not stored:
        return None
    usual = ("gate_proj", "up_proj", "down_proj")
    if stored == set(usual):
        return usual
    for gate_up, down in _conversions(model):
        if stored == {*gate_up, down}:
            return (gate_up[0], gate_up[1], down)
    return None


def gates_of(block: nn.Module) -> set[str]:
    """Return the names of the weights that send tokens to experts; they are never pruned."""
    found: set[str] = set()
    for name, module in block.named_modules():
        for _, child in module.named_children():
            if isinstance(child, Experts):
                for other, sibling in module.named_children():
                    weight = getattr(sibling, "weight", None)
                    if isinstance(weight, Tensor) and weight.dim() == 2:
                        if weight.shape[0] not in (1, len(child)):
                            continue
                        found.add(f"{name}.{other}.weight" if name else f"{other}.weight")
    return found


def _is_fused(module: nn.Module) -> bool:
    gate_up = getattr(module, "gate_up_proj", None)
    down = getattr(module, "down_proj", None)
    return (
        isinstance(gate_up, Tensor)
        and isinstance(down, Tensor)
        and gate_up.dim() == down.dim() == 3
        and len(module._parameters) == 2
        and gate_up.shape[1] == 2 * down.shape[2]
        and gate_up.shape[2] == down.shape[1]
    )


def _apart(fused: Any, leaves: tuple[str, str, str]) -> Experts:
    gate_up, down = fused.gate_up_proj.detach(), fused.down_proj.detach()
    count, hidden, inner = down.shape
    experts: list[Expert] = []
    for number in range(count):
        expert = Expert(leaves, hidden, inner, down)
        if not down.is_meta:
            parts = (*gate_up[number].split(inner), down[number])
            with torch.no_grad():
                for leaf, part in zip(leaves, parts, strict=True):
                    expert.get_submodule(leaf).weight.copy_(part)  # pyright: ignore[reportCallIssue]
        for parameter in expert.parameters():
            parameter.requires_grad_(False)
        experts.append(expert)
    return Experts(experts, fused.act_fn)


def _try(fused: Any, name: str) -> None:
    """Compare with the module taken apart, on small random weights."""
    hidden, inner = _SIZES
    count = fused.down_proj.shape[0]
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    small = copy.copy(fused)
    small._parameters = {
        "gate_up_proj": nn.Parameter(random(count, 2 * inner, hidden), requires_grad=False),
        "down_proj": nn.Parameter(random(count, hidden, inner), requires_grad=False),
    }
    for attribute, value in (("hidden_dim", hidden), ("intermediate_dim", inner)):
        if hasattr(small, attribute):
            setattr(small, attribute, value)
    x, weights = random(5, hidden), random(5, 2).abs()
    index = torch.stack([torch.arange(5) % count, (torch.arange(5) + 1) % count], 1)
    try:
        with torch.no_grad():
            wanted = small(x, index, weights)
            given = _apart(small, ("gate", "up", "down"))(x, index, weights)
        same = torch.allclose(wanted, given, rtol=1e-3, atol=1e-3)
    except (RuntimeError, TypeError, AttributeError, NotImplementedError):
        same = False
    if not same:
        raise LLMError(
            f"the experts {name} ({type(fused).__name__}) do not compute down(act(gate) * up), so "
            "they cannot be taken apart and would stay dense; this architecture is not supported."
        )


def _conversions(model: nn.Module) -> list[tuple[tuple[str, str], str]]:
    """Pairs of ((gate, up), down) that transformers fuses on loading."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
    except ImportError:
        return []
    pairs: list[tuple[str, str]] = []
    downs: list[str] = []
    for step in get_model_conversion_mapping(model):  # pyright: ignore[reportArgumentType]
        leaves = [re.search(r"experts\W+(\w+)(?:\.|\\\.)weight", p) for p in step.source_patterns]
        names = [m.group(1) for m in leaves if m]
        target = " ".join(step.target_patterns)
        if "gate_up_proj" in target and len(names) == 2:
            pairs.append((names[0], names[1]))
        elif "down_proj" in target and len(names) == 1:
            downs.append(names[0])
    return [(p, d) for p in pairs for d in downs]
