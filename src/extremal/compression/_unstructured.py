"""Single weights by magnitude, over all layers together, in each layer, or by any selector."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from extremal import pruning

from ._cut import Cut, check_ratio, nonzero_macs


class Unstructured:
    """Zero the smallest weights; biases and normalisation layers are left alone."""

    kind = "unstructured"

    def __init__(
        self,
        model: nn.Module,
        macs: Mapping[str, int],
        *,
        scope: str = "global",
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> None:
        """Find the weights; `scope` is "global", "layer" or a selector of `pruning`."""
        self.model = model
        self.macs = macs
        self.selector = {"global": "global", "layer": "uniform"}.get(scope, scope)
        self.weights = pruning.prunable_weights(model, tuple(include), tuple(exclude))
        self._ranks: dict[str, Tensor] = {}

    def masks(self, ratio: float) -> pruning.Masks:
        """Return the masks at a ratio, by exact counts; those of `pruning.select`."""
        check_ratio(ratio)
        if self.selector != "global":
            return pruning.select(
                self.weights, ratio, self.selector, on_layer_collapse="allow", skip=True
            )
        if not self._ranks:
            self._ranks = self._ranked()
        count = pruning.pruned_count(ratio, sum(r.numel() for r in self._ranks.values()))
        return pruning.Masks({name: rank >= count for name, rank in self._ranks.items()})

    def _ranked(self) -> dict[str, Tensor]:
        """The place of each weight in the order in which they go; sorted once for all ratios."""
        pruning.select(self.weights, 0.0)  # refuses weights that have no order
        flat = torch.cat([w.detach().abs().flatten() for w in self.weights.values()])
        places = torch.empty(len(flat), dtype=torch.int32)
        places[flat.argsort(stable=True)] = torch.arange(len(flat), dtype=torch.int32)
        parts = places.split([w.numel() for w in self.weights.values()])
        return {
            name: part.reshape(w.shape)
            for (name, w), part in zip(self.weights.items(), parts, strict=True)
        }

    def at(self, ratio: float) -> Cut:
        """Zero the share `ratio` of the weights."""
        return self.with_masks(self.masks(ratio))

    def with_masks(self, masks: pruning.Masks) -> Cut:
        """Zero what the masks prune."""
        values: dict[str, Tensor] = {
            name: self.weights[name].detach() * mask for name, mask in masks.items()
        }
        parameters = dict(self.model.named_parameters())
        kept = sum(int((values.get(n, p) != 0).sum()) for n, p in parameters.items())
        total = sum(self.macs.values())
        return Cut(
            values,
            kept,
            total,
            nonzero_macs(self.model, self.macs, values),
            {"pruned": masks.pruned, "prunable": masks.size, "sparsity": masks.sparsity},
        )
