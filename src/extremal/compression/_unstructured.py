"""Single weights by magnitude, over all layers together, in each layer, or by any selector."""

from collections.abc import Mapping, Sequence

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
        self.parameters = sum(p.numel() for p in model.parameters())

    def masks(self, ratio: float) -> pruning.Masks:
        """Return the masks at a ratio, by exact counts."""
        # A radix select: no sort at all, so there is none to share between the ratios.
        return pruning.select(
            self.weights, check_ratio(ratio), self.selector, on_layer_collapse="allow", skip=True
        )

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
