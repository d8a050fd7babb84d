"""One layer: from scores to a mask, from a mask to new weights."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ._admm import admm
from ._alps import alps
from ._config import PruneConfig
from ._criteria import score, select, select_by_mass
from ._dsnot import refine
from ._entries import all_finite, kept, pruned_count
from ._errors import LLMError
from ._least_squares import layer_error, least_squares
from ._pattern import Pattern
from ._sparsegpt import sweep
from ._statistics import InputStatistics

_FEW_TOKENS = 32  # of a layer that only some tokens reach, such as an expert


@dataclass(frozen=True)
class LayerReport:
    """What was done to one layer.

    Attributes:
        name: Of the module.
        shape: (outputs, inputs).
        transposed: Whether it stores (inputs, outputs).
        rule: Of the certificate.
        pruned: Number of pruned weights.
        error_masked: Layer error of the masked dense weights over that of a zero layer, or None
            where no Gram matrix was gathered.
        error_updated: The same after the update.
        damping: What the solvers needed, or None.
        note: What a reader must know, or "".
    """

    name: str
    shape: tuple[int, int]
    transposed: bool
    rule: str
    pruned: int
    error_masked: float | None
    error_updated: float | None
    damping: float | None
    note: str

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.shape[0] * self.shape[1]


def rule_of(config: PruneConfig, pattern: Pattern, criterion: str) -> str:
    """Return the counting rule of the certificate that a layer's mask follows."""
    if criterion in ("existing", "wanda-mass") or config.preserve:
        return "none"
    if pattern.structured:
        return str(pattern)
    if criterion == "sparsegpt":
        return f"slab {config.block_columns} {pattern}"
    return f"{config.where} {pattern}"


def prune_layer(
    name: str,
    W: Tensor,
    pattern: Pattern,
    seen: InputStatistics | None,
    sequences: int,
    config: PruneConfig,
    generator: torch.Generator,
    transposed: bool,
) -> tuple[Tensor, Tensor, LayerReport]:
    """Return (new weight, mask, report) of one layer.

    Args:
        name: For messages.
        W: The dense weight, (outputs, inputs).
        pattern: How much goes.
        seen: Statistics of its inputs, or None where nothing needs them.
        sequences: Windows they were gathered over.
        config: The options.
        generator: Of random masks.
        transposed: For the report.
    """
    criterion, update, note = config.base, config.update, ""
    if seen is not None and seen.tokens < _FEW_TOKENS and criterion not in ("random", "existing"):
        criterion, update = "magnitude", "none"
        note = f"only {seen.tokens} tokens reached it: magnitude, no update"
    norms = None if seen is None else seen.norms(sequences)
    gram: Tensor | None = None
    if seen is not None and seen.products is not None and seen.tokens >= _FEW_TOKENS:
        gram = seen.gram(sequences)
        if not all_finite(gram):
            raise LLMError(f"the inputs of {name} are not finite on the calibration text.")
    if norms is not None and not all_finite(norms):
        raise LLMError(f"the inputs of {name} are not finite on the calibration text.")
    dense = W.detach().float()
    new, damping = dense, None
    solved = ""
    if criterion in ("sparsegpt", "admm", "alps"):
        assert gram is not None
        if criterion == "sparsegpt":
            assert seen is not None
            swept = sweep(
                dense, gram, pattern, damping=config.damping, block=config.block_columns, name=name,
                upper=seen.factor(sequences, config.damping, name),
            )  # fmt: skip
            new, mask, damping = swept.weight, swept.keep, swept.damping
        elif criterion == "admm":
            new, mask, damping = admm(dense, gram, pattern=pattern, group=config.where, name=name)
        else:
            new, mask = alps(
                dense, gram, pattern=pattern, group=config.where, damping=config.damping
            )
        solved = criterion
    elif criterion == "existing":
        mask = dense != 0
    else:
        base = "wanda" if criterion == "wanda-mass" else criterion
        scores = score(base, dense, norms, generator=generator)
        if config.preserve:  # what is zero goes first
            scores = scores.masked_fill(dense == 0, -1)
        if criterion == "wanda-mass":
            mask = select_by_mass(scores, float(pattern.sparsity))
        else:
            mask = select(scores, pattern, config.where)
    if config.preserve:
        _check_preserved(name, dense, pattern)
        mask = mask & (dense != 0)
    if config.dsnot and not note:
        assert seen is not None
        assert norms is not None
        mask = refine(
            dense, mask, mean=seen.mean(), variance=seen.variance(), norms=norms, pattern=pattern
        )
        solved = ""
    masked = kept(dense, mask)
    if update == "none":
        new = new if solved else masked
    elif update != solved:
        assert gram is not None
        new, used = _updated(update, dense, gram, mask, config, name)
        damping = used if used is not None else damping
    error = after = None
    if gram is not None:
        whole = layer_error(torch.zeros_like(dense), dense, gram)
        error = layer_error(masked, dense, gram)
        after = error if new is masked else layer_error(new, dense, gram)
        scale = 1 / whole if whole > 0 else 0.0
        error, after = error * scale, after * scale
    usual = 0.1 if "admm" in (update, criterion) else config.damping
    if damping is not None and damping > usual:
        note = f"the Gram matrix needed damping {damping:g}"
    if not all_finite(new):
        raise LLMError(f"the update {update} of {name} is not finite; raise --damping.")
    report = LayerReport(
        name, (W.shape[0], W.shape[1]), transposed, rule_of(config, pattern, criterion)
        if not note.startswith("only") else rule_of(config, pattern, "magnitude"),
        pruned_count(mask), error, after, damping, note,
    )  # fmt: skip
    return kept(new.to(W.dtype), mask), mask, report


def _updated(
    update: str,
    dense: Tensor,
    H: Tensor,
    mask: Tensor,
    config: PruneConfig,
    name: str,
) -> tuple[Tensor, float | None]:
    if update == "ls":
        return least_squares(dense, H, mask, damping=config.damping, name=name)
    if update == "sparsegpt":
        swept = sweep(
            dense, H, Pattern.parse(0), keep=mask, damping=config.damping,
            block=config.block_columns, name=name,
        )  # fmt: skip
        return swept.weight, swept.damping
    if update == "admm":
        new, _, used = admm(dense, H, keep=mask, name=name)
        return new, used
    return alps(dense, H, keep=mask, damping=config.damping)[0], None


def _check_preserved(name: str, dense: Tensor, pattern: Pattern) -> None:
    zeros = int((dense == 0).sum())
    if zeros > pattern.count(dense.numel()):
        raise LLMError(
            f"{name} is {zeros / dense.numel():.1%} sparse already, more than {pattern} asks for, "
            "so its zeros cannot all be preserved at that count; ask for more, or drop --preserve."
        )
