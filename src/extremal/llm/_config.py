"""The options of the verbs, and what they refuse."""

from dataclasses import dataclass

from ._criteria import DEFAULT_GROUP, SCORES, Group
from ._pattern import Pattern
from ._train import check_groups

CRITERIA = (*SCORES, "wanda-mass", "owl", "dsnot", "sparsegpt", "admm", "alps", "existing")
UPDATES = ("none", "sparsegpt", "ls", "admm", "alps")
TARGETS = ("sparse", "dense", "sparse_to_dense")
LOSSES = ("mse", "nmse", "cosine")
_SOLVERS = ("sparsegpt", "ls", "admm", "alps")


@dataclass(frozen=True)
class PruneConfig:
    """What `llm.prune` does."""

    criterion: str = "wanda"
    """random, magnitude, wanda, wanda-mass, ria, owl (wanda with outlier-weighed blocks), dsnot
    (wanda, refined), sparsegpt, admm (gradual), alps, or existing (the zeros that are there)."""
    pattern: str = "0.5"
    """A sparsity such as 0.5, or N:M: keep N of every M consecutive inputs."""
    group: str = "default"
    """Where a sparsity is met: row or tensor; default is the criterion's own."""
    layers: str = "uniform"
    """uniform, or owl: blocks with more outlying Wanda scores keep more."""
    refine: str = "none"
    """none, or dsnot: exchange weights row by row after the criterion."""
    update: str = "none"
    """How kept weights make up for pruned ones: none, sparsegpt, ls (least squares), admm, alps."""
    repair: str = "none"
    """none; reconstruct: train each block on what the dense one gives; or retrain: train few
    parameters of the whole model on the calibration text afterwards, as the verb retrain does."""
    targets: str = "sparse_to_dense"
    """Of a reconstruction: sparse (pruned inputs, dense block on them), dense (both dense),
    sparse_to_dense (pruned inputs, outputs of the dense model)."""
    granularity: str = "block"
    """Of a reconstruction: block, a number of blocks, attn_mlp, or matrix (closed form)."""
    train: tuple[str, ...] = ()
    """What a repair trains: full, or any of bias, norm and one adapter; by default full in a
    reconstruction, mask_lora norm in a retraining."""
    epochs: int = 3
    """Passes over the calibration windows, in a reconstruction."""
    steps: int = 200
    """Optimiser steps of a retraining."""
    batch_size: int = 4
    """Windows of a step of a repair."""
    lr: float | None = None
    """Largest rate of a repair; None takes one that suits what is trained."""
    optimizer: str = "adamw"
    """Of a reconstruction: adamw or sgd."""
    loss: str = "mse"
    """Of a reconstruction: mse, nmse or cosine."""
    rank: int = 16
    """Of an adapter."""
    alpha: float = 32.0
    """Of an adapter: its scaling is alpha / rank."""
    calibration: str | None = None
    """A text file (.txt, .jsonl); random and magnitude without repair need none."""
    mode: str = "packed"
    """packed (one stream of tokens) or crop (documents longer than the window)."""
    samples: int = 128
    """Calibration windows."""
    window: int | None = None
    """Tokens of a window; None is the model's context, at most 2048."""
    skip: tuple[str, ...] = ()
    """Names or globs of layers to leave dense, such as '*.down_proj'."""
    sparsities: tuple[str, ...] = ()
    """Patterns of single layers, as GLOB=PATTERN; the first that matches holds."""
    preserve: bool = False
    """Weights that are zero already stay pruned."""
    damping: float = 0.01
    """Added to a Gram matrix, times the mean of its diagonal."""
    block_columns: int = 128
    """Columns of a slab of sparsegpt."""
    owl_outlier: float = 5.0
    """An outlier exceeds this many times the mean score."""
    owl_spread: float = 0.08
    """Block sparsities move by at most this to either side."""
    micro_batch: int = 8
    """Windows of a forward pass."""
    activations: str = "auto"
    """Where the calibration windows' hidden states lie between blocks: file (memory-mapped), device
    (in its memory; a run that goes on repeats the finished blocks' forward passes), or auto: on a
    GPU where six copies fit in half of its free memory, else in files. The results are the same."""
    shard_bytes: int = 5_000_000_000
    """Size of an output shard."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = 0
    """Of torch; 0 leaves its own number. Resuming is bit-identical with one number."""
    seed: int = 0
    """Of windows, random masks and adapters."""

    def __post_init__(self) -> None:
        for value, allowed, name in (
            (self.criterion, CRITERIA, "criterion"),
            (self.group, ("default", "row", "tensor"), "group"),
            (self.layers, ("uniform", "owl"), "layers"),
            (self.refine, ("none", "dsnot"), "refine"),
            (self.update, UPDATES, "update"),
            (self.repair, ("none", "reconstruct", "retrain"), "repair"),
            (self.targets, TARGETS, "targets"),
            (self.optimizer, ("adamw", "sgd"), "optimizer"),
            (self.loss, LOSSES, "loss"),
            (self.mode, ("packed", "crop"), "mode"),
            (self.activations, ("auto", "file", "device"), "activations"),
        ):
            if value not in allowed:
                raise ValueError(f"{name}: there is no {value!r}; there are {', '.join(allowed)}.")
        pattern = Pattern.parse(self.pattern)
        self.overrides()
        check_groups(self.groups)
        if "head" in self.groups:
            raise ValueError("the head is no part of a block; train it with llm retrain.")
        if "lora" in self.groups:
            raise ValueError("a plain lora loses the zeros when merged; train mask_lora instead.")
        if self.granularity not in ("block", "attn_mlp", "matrix") and not (
            self.granularity.isdecimal() and int(self.granularity) > 0
        ):
            raise ValueError(
                f"granularity: {self.granularity!r} is none of block, attn_mlp, matrix, a number."
            )
        if self.owl and pattern.structured:
            raise ValueError(f"owl varies the sparsity, which {pattern} fixes; use one of them.")
        if self.criterion in ("wanda-mass", "existing") and pattern.structured:
            raise ValueError(f"{self.criterion} cannot follow the pattern {pattern}.")
        if self.samples < 1 or self.micro_batch < 1 or self.batch_size < 1 or self.epochs < 0:
            raise ValueError("samples, micro_batch and batch_size must be 1 or more.")
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} trains nothing; give 1 or more.")
        if self.damping < 0 or self.rank < 1:
            raise ValueError("damping must not be negative and rank must be 1 or more.")

    @property
    def base(self) -> str:
        """The criterion under an alias: owl and dsnot begin with Wanda."""
        return "wanda" if self.criterion in ("owl", "dsnot") else self.criterion

    @property
    def groups(self) -> tuple[str, ...]:
        """What a repair trains."""
        if self.train:
            return self.train
        return ("mask_lora", "norm") if self.repair == "retrain" else ("full",)

    @property
    def owl(self) -> bool:
        """Whether blocks differ in sparsity."""
        return self.layers == "owl" or self.criterion == "owl"

    @property
    def dsnot(self) -> bool:
        """Whether masks are refined."""
        return self.refine == "dsnot" or self.criterion == "dsnot"

    @property
    def needs_gram(self) -> bool:
        """Whether whole Gram matrices are gathered."""
        return (
            self.base in _SOLVERS
            or self.update != "none"
            or (self.repair == "reconstruct" and self.granularity == "matrix")
        )

    @property
    def needs_text(self) -> bool:
        """Whether anything depends on activations."""
        return (
            self.base not in ("random", "magnitude", "existing")
            or self.update != "none"
            or self.repair != "none"
            or self.owl
            or self.dsnot
        )

    @property
    def dense_chain(self) -> bool:
        """Whether the dense model's activations are kept beside the pruned one's."""
        return self.repair == "reconstruct" and self.targets != "sparse"

    @property
    def where(self) -> Group:
        """The comparison group of an unstructured mask."""
        if self.group == "row":
            return "row"
        if self.group == "tensor":
            return "tensor"
        return DEFAULT_GROUP.get(self.base, "tensor")

    @property
    def unit(self) -> int:
        """Blocks that are reconstructed together."""
        return int(self.granularity) if self.granularity.isdecimal() else 1

    def overrides(self) -> list[tuple[str, Pattern]]:
        """Return the patterns of single layers.

        Raises:
            ValueError: One is not GLOB=PATTERN.
        """
        found: list[tuple[str, Pattern]] = []
        for text in self.sparsities:
            glob, sign, value = text.rpartition("=")
            if not sign or not glob:
                raise ValueError(f"sparsities: {text!r} is not GLOB=PATTERN, as '*.o_proj=0.6'.")
            found.append((glob, Pattern.parse(value)))
        return found
