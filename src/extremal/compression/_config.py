"""The options of the three verbs."""

from dataclasses import dataclass

from ._filters import CRITERIA
from ._low_rank import RULES
from ._target import Target

KINDS = ("unstructured", "filters", "lowrank")


@dataclass(frozen=True)
class SourceConfig:
    """Where the network and its data come from; a run folder knows both."""

    data: str | None = None
    """digits, cifar10, mnist or module:function; by default the data of the run."""
    path: str | None = None
    """Where the data lie."""
    train_size: int | None = None
    """Recalibrate on a part of so many training images."""
    shape: tuple[int, ...] = ()
    """Sides of one input, such as 3 32 32, where there are no data to tell."""
    threads: int = 0
    """CPU threads of torch; 0 leaves torch's own number."""
    seed: int = 0
    """Of the random criterion and of the inputs that outputs are compared on."""

    def __post_init__(self) -> None:
        if any(n < 1 for n in self.shape):
            raise ValueError(f"shape={self.shape} has a side below 1; give sides such as 3 32 32.")
        if self.threads < 0:
            raise ValueError(f"threads={self.threads}; give 0 (torch's number) or more.")


@dataclass(frozen=True)
class OperatorConfig(SourceConfig):
    """How a network is cut, whichever verb does it."""

    scope: str | None = None
    """unstructured: global (default), layer, or a selector of pruning such as lamp or 2:4;
    filters: layer (default) or global."""
    criterion: str = "l2"
    """Which channels go: l2, l1, fpgm, bn, taylor or random."""
    multiple: int = 1
    """Keep a multiple of this many channels, such as 8."""
    rule: str = "ratio"
    """What a ratio of lowrank means: ratio (of the rank), energy, params or macs."""
    balanced: bool = False
    """lowrank: give both thin layers the root of the singular values."""
    include: tuple[str, ...] = ()
    """Names or globs of layers to cut (unstructured, lowrank)."""
    exclude: tuple[str, ...] = ()
    """Names or globs of layers to leave alone (unstructured, lowrank)."""
    recalibrate: float = 0.2
    """Share of the training images that measures batch statistics anew; 0: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.criterion not in CRITERIA:
            raise ValueError(
                f"criterion={self.criterion!r} is unknown; choose {', '.join(CRITERIA)}."
            )
        if self.rule not in RULES:
            raise ValueError(f"rule={self.rule!r} is unknown; choose {', '.join(RULES)}.")
        if self.multiple < 1:
            raise ValueError(f"multiple={self.multiple}; choose 1 or more, such as 8.")
        if not 0 <= self.recalibrate <= 1:
            raise ValueError(f"recalibrate={self.recalibrate} is no share; choose one in [0, 1].")


@dataclass(frozen=True)
class SweepConfig(OperatorConfig):
    """What `sweep` measures."""

    kinds: tuple[str, ...] = KINDS
    """unstructured, filters, lowrank."""
    ratios: tuple[float, ...] = (0.5, 0.7, 0.9, 0.95, 0.98)
    """Shares that go, each in [0, 1)."""
    device: str = "cpu"
    """Where accuracies are measured; cuts are made on the CPU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_kinds(self.kinds)
        if not self.kinds or not self.ratios:
            raise ValueError("a sweep needs at least one kind and one ratio.")
        for ratio in self.ratios:
            if not 0 <= ratio < 1:
                raise ValueError(f"the ratio {ratio} is not in [0, 1): it is the share that goes.")
        if len(set(self.ratios)) < len(self.ratios) or len(set(self.kinds)) < len(self.kinds):
            raise ValueError("a ratio or kind is named twice; name each once.")


@dataclass(frozen=True)
class CompressConfig(OperatorConfig):
    """What `compress` makes."""

    kind: str = "filters"
    """unstructured, filters or lowrank."""
    ratio: float | None = None
    """The share that goes, in [0, 1)."""
    target: str | None = None
    """In place of a ratio: "3x macs" (3 times fewer), "0.4x params" (0.4 of them), "2x latency"."""
    batch: int = 1
    """Images per forward pass where latency is the target."""
    tolerance: float = 1e-5
    """Largest difference, over the largest output, between a sliced network and its masked twin."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_kinds((self.kind,))
        if self.ratio is not None and self.target is not None:
            raise ValueError(
                f"ratio={self.ratio} and target={self.target!r} may contradict; give one of them."
            )
        if self.ratio is not None and not 0 <= self.ratio < 1:
            raise ValueError(f"the ratio {self.ratio} is not in [0, 1): it is the share that goes.")
        if self.target is not None:
            Target.parse(self.target)
        if self.batch < 1:
            raise ValueError(f"batch={self.batch}; give 1 or more.")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance={self.tolerance} is out of range; choose 1e-5 or so.")


@dataclass(frozen=True)
class ExportConfig(SourceConfig):
    """What `export` writes and measures."""

    target: str = "cpu"
    """cpu; cuda writes 2:4 layers where they fit; file measures no kernels."""
    batches: tuple[int, ...] = (1, 8, 32)
    """Images per forward pass at which times are measured."""
    repeats: int = 15
    """Timed repetitions of each."""
    dense: str = "compiled"
    """What a sparse kernel must beat: compiled (torch.compile) or eager layers."""
    pattern: str | None = None
    """Project the weights to a pattern such as 2:4 first."""
    int8: bool = False
    """Round the weights to 8 bits, a scale for each output."""
    onnx: bool = True
    """Write model.onnx too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for value, fine, name, rule in (
            (self.target, self.target in ("cpu", "cuda", "file"), "target", "cpu, cuda or file"),
            (self.dense, self.dense in ("compiled", "eager"), "dense", "compiled or eager"),
            (self.batches, self.batches and min(self.batches) >= 1, "batches", "1 or more each"),
            (self.repeats, self.repeats >= 3, "repeats", "3 or more"),
        ):
            if not fine:
                raise ValueError(f"{name}={value!r} is out of range; choose {rule}.")


def check_kinds(kinds: tuple[str, ...]) -> None:
    """Refuse a kind that does not exist."""
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"there is no kind {kind!r}; there are {', '.join(KINDS)}.")
