"""Training few parameters: which ones, the rates, and AdamW with float32 masters.

Groups, freely combined: "bias" (every bias), "norm" (weight and bias of every normalisation
layer), "head" (a LoRA on the output layer), one adapter of `_adapters.KINDS` on the pruned layers,
or "full" (every weight, pruned ones held at zero).
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from extremal.pruning import group_parameters

from ._adapters import KINDS
from ._errors import LLMError
from ._experts import gates_of, has_fused, take_apart

GROUPS = ("bias", "norm", "head", "full", *KINDS)
DEFAULT_LR = {
    "full": 5e-4, "bias": 2e-3, "norm": 2e-3, "head": 1e-3, "lora": 1e-3, "lora_prune": 1e-3,
    "mask_lora": 2e-3, "scale_lora": 5e-4, "spp": 2e-3, "hira": 2e-3,
}  # fmt: skip


def check_groups(groups: Sequence[str]) -> str | None:
    """Return the adapter among the groups, if there is one.

    Raises:
        ValueError: A group is unknown, or two exclude each other.
    """
    unknown = [g for g in groups if g not in GROUPS]
    if unknown or not groups:
        what = repr(unknown[0]) if unknown else "nothing"
        raise ValueError(f"cannot train {what}; there are {', '.join(GROUPS)}.")
    adapters = [g for g in groups if g in KINDS]
    if len(adapters) > 1:
        raise ValueError(f"train one adapter, not {' and '.join(adapters)}.")
    if "full" in groups and len(set(groups)) > 1:
        raise ValueError("full trains everything already; give it alone.")
    return adapters[0] if adapters else None


def trainable_count(model: nn.Module, groups: Sequence[str], *, rank: int = 16) -> int:
    """Return how many parameters a union of groups trains; the model may be on the meta device.

    Args:
        model: A causal language model.
        groups: Of `GROUPS`.
        rank: Of the adapter and of the head's LoRA.
    """
    from ._skeleton import find_blocks

    adapter = check_groups(groups)
    if "full" in groups:
        return sum(p.numel() for p in model.parameters())
    names: dict[str, int] = {}
    for group in groups:
        if group in ("bias", "norm"):
            names |= {n: p.numel() for n, p in group_parameters(model, group).items()}
    total = sum(names.values())
    if adapter is not None:
        apart = model
        if has_fused(model):
            apart = copy.deepcopy(model).to("meta")
            take_apart(apart, ("gate_proj", "up_proj", "down_proj"))
        for block in find_blocks(apart)[1]:
            gates = gates_of(block)
            for name, module in block.named_modules():
                weight = getattr(module, "weight", None)
                if f"{name}.weight" in gates or not isinstance(weight, Tensor):
                    continue
                if weight.dim() == 2:
                    total += rank * weight.shape[1] + weight.shape[0] * (
                        1 if adapter == "spp" else rank
                    )
    if "head" in groups:
        network: Any = model
        total += rank * sum(network.get_output_embeddings().weight.shape)
    return total


def factor(step: int, steps: int, warmup: float | int = 0.1) -> float:
    """Return the rate of a step over the largest: linear up over a share, then linear down to 0.

    Example:
        >>> [factor(i, 1000) for i in (0, 50, 100, 550)]
        [0.0, 0.5, 1.0, 0.5]
    """
    rising = int(warmup * steps)
    if step < rising:
        return step / rising
    return (steps - step) / (steps - rising)


class Trainer:
    """AdamW (0.9, 0.999, 1e-8) without decay, or SGD, on float32 copies where weights are shorter.

    A masked parameter has its gradient masked before the step and its value masked after it, so
    that neither momentum nor rounding revives a pruned weight.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        lr: Mapping[str, float],
        *,
        steps: int,
        optimizer: str = "adamw",
        clip: float | None = None,
        masks: Mapping[str, Tensor] | None = None,
        warmup: float | int = 0.1,
    ) -> None:
        """Hold the parameters.

        Args:
            parameters: What trains, by name.
            lr: The largest rate of each.
            steps: In all.
            optimizer: "adamw" or "sgd".
            clip: Norm to which gradients are clipped, or None.
            masks: Name to mask in the parameter's own layout.
            warmup: Share of the steps in which the rate rises.
        """
        self.parameters = dict(parameters)
        self.masks = dict(masks or {})
        self.steps, self.clip, self.warmup = steps, clip, warmup
        self.step_number = 0
        for p in self.parameters.values():
            p.requires_grad_(True)
        self.masters = {
            n: p if p.dtype == torch.float32 else p.detach().float().clone().requires_grad_(True)
            for n, p in self.parameters.items()
        }
        groups = [{"params": [m], "lr": lr[n], "top": lr[n]} for n, m in self.masters.items()]
        # One kernel for all steps of AdamW where the weights are on a GPU.
        self.fused = optimizer == "adamw" and all(m.is_cuda for m in self.masters.values())
        if optimizer == "adamw":
            self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(
                groups, weight_decay=0.0, fused=self.fused or None
            )
        elif optimizer == "sgd":
            self.optimizer = torch.optim.SGD(groups, momentum=0.9)
        else:
            raise ValueError(f"there is no optimizer {optimizer!r}; there are adamw and sgd.")

    def step(self) -> None:
        """Take one step with the gradients at hand, and clear them."""
        for name, p in self.parameters.items():
            gradient = p.grad
            if gradient is not None and name in self.masks:
                gradient.mul_(self.masks[name])
            master = self.masters[name]
            if master is not p:
                master.grad = None if gradient is None else gradient.float()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(list(self.masters.values()), self.clip)
        share = factor(self.step_number, self.steps, self.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["top"] * share
        self.optimizer.step()
        with torch.no_grad():
            for name, p in self.parameters.items():
                master = self.masters[name]
                if name in self.masks:
                    master.mul_(self.masks[name])
                if master is not p:
                    p.copy_(master)
                p.grad = master.grad = None
        self.step_number += 1

    def release(self) -> None:
        """Freeze the parameters again."""
        for p in self.parameters.values():
            p.requires_grad_(False)
            p.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return parameters, masters and moments as named tensors."""
        found: dict[str, Tensor] = {}
        for name, p in self.parameters.items():
            master = self.masters[name]
            found[f"value.{name}"] = p.detach()
            if master is not p:
                found[f"master.{name}"] = master.detach()
            for key, value in self.optimizer.state.get(master, {}).items():
                found[f"{key}.{name}"] = torch.as_tensor(value)
        return found

    def restore(self, state: Mapping[str, Tensor], step_number: int) -> None:
        """Take up a state again.

        Raises:
            LLMError: It belongs to other parameters.
        """
        self.step_number = step_number
        with torch.no_grad():
            for name, p in self.parameters.items():
                if f"value.{name}" not in state or state[f"value.{name}"].shape != p.shape:
                    raise LLMError(f"the checkpoint has no {name}; start again with --force.")
                p.copy_(state[f"value.{name}"])
                master = self.masters[name]
                if master is not p:
                    master.copy_(state[f"master.{name}"])
                moments: dict[str, Tensor] = {}
                for key, value in state.items():
                    kind, _, owner = key.partition(".")
                    if owner == name and kind not in ("value", "master"):
                        # Unless it is fused, AdamW counts its steps on the CPU.
                        here = kind != "step" or self.fused
                        moments[kind] = value.to(master.device) if here else value.clone()
                if moments:
                    self.optimizer.state[master] = moments
