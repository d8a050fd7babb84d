"""The options of `prune`."""

import dataclasses
from dataclasses import dataclass, fields
from typing import Any

from extremal.training import LoopConfig

from ._budget import gradual_sparsities, split_epochs
from ._perp import retrained_groups
from ._schedules import SCHEDULES, TUNABLE
from ._selectors import SELECTORS, parse_pattern

PHASED = ("imp", "bimp")
IN_TRAINING = ("gmp", "gsm", "lc", "dpf", "dnw", "str", "cs", "dst")
OUTCOME = ("str", "cs", "dst")
METHODS = (*PHASED, *IN_TRAINING)
USUAL_SPARSITY = 0.9
USUAL_LR = {"sgd": 0.1, "adamw": 0.001}


@dataclass(frozen=True)
class Config:
    """How `prune` prunes; what is None comes from the dense run, or from `training.LoopConfig`."""

    sparsity: float | None = None
    """Fraction of the prunable weights that go, in [0, 1); by default 0.9, or the pattern's."""
    method: str = "imp"
    """imp (one-shot with one phase), bimp (dense training included), or while training: gmp, gsm,
    lc, dpf, dnw, str, cs, dst."""
    phases: int = 1
    """Rounds of pruning and retraining."""
    selector: str = "global"
    """global, uniform, uniform+, erk, lamp, random, filter, or a pattern N:M such as 2:4."""
    schedule: str | None = None
    """Learning rates: ft, lrw, slr, clr, llr, allr (by default), or constant, stepped, cosine,
    linear (by default while training), or an ablation: llr-but-last, allr-accuracy, allr-floor."""
    retrain: str = "full"
    """What trains after pruning: full, or any of recalibrate, bias, norm, head and one adapter
    (mask_lora, scale_lora, lora_prune, spp, hira), as in 'norm bias'; the rest is frozen."""
    rank: int = 16
    """Of an adapter."""
    alpha: float = 32.0
    """Of an adapter: its scaling is alpha / rank."""
    epochs: int = 10
    """Epochs over all phases; for bimp the dense training included."""
    dense_epochs: int | None = None
    """Of the dense training: of bimp (by default half), or for allr where no run tells."""
    lr: float | None = None
    """Largest learning rate, in place of the dense training's."""
    lr_min: float | None = None
    """Smallest learning rate of the dense training, where no run tells."""
    warmup: float | None = None
    """Fraction of a phase in which the learning rate rises."""
    norm_scope: str = "all"
    """The norm that allr compares with: all parameters, or prunable ones."""
    keep_optimizer: bool = False
    """Carry the optimizer's state over to the next phase."""
    include: tuple[str, ...] = ()
    """Names or globs of the weights to prune; by default linear and convolutional layers."""
    exclude: tuple[str, ...] = ()
    """Names or globs of layers to leave dense."""
    min_keep_per_layer: int = 0
    """Weights that stay in each layer at least."""
    on_layer_collapse: str = "warn"
    """When a layer loses every weight: warn, raise or allow."""
    skip: bool = False
    """With a pattern N:M: leave dense the layers that it does not fit."""
    recalibrate: float = 0.0
    """Share of the training images that measures the batch statistics anew at the end; 0: none."""
    seed: int = 0
    """Of batch order, augmentation and the random selector."""
    interval: int = 1
    """gmp, dpf: epochs between prunings."""
    allow_recovering: bool = False
    """gmp: pruned weights may come back."""
    growth: float = 1.0
    """lc: factor of the decay in each of 30 parts of the training."""
    initial: float | None = None
    """str: tau at the start (-5); cs: m at the start (0)."""
    penalty: float | None = None
    """cs: of sum sigmoid(beta m) (1e-8); dst: of sum exp(-t) (1e-5)."""
    final_beta: float = 300.0
    """cs: beta at the end."""
    model: str | None = None
    """A network by name or module:function, where no run is given."""
    weights: str | None = None
    """Its weights, a safetensors file."""
    data: str | None = None
    """digits, cifar10, mnist or module:function; by default the data of the dense run."""
    path: str | None = None
    """Where the data lie."""
    train_size: int | None = None
    """Train on this many images."""
    validation: float = 0.0
    """Share of the training images to set aside."""
    augment: str | None = None
    """none, crop or crop-flip."""
    batch_size: int | None = None
    """Images per step."""
    optimizer: str | None = None
    """sgd or adamw."""
    momentum: float | None = None
    """Momentum of sgd."""
    nesterov: bool | None = None
    """Nesterov's momentum."""
    weight_decay: float | None = None
    """Weight decay."""
    label_smoothing: float | None = None
    """Share of the target that is spread over the classes."""
    clip_norm: float | None = None
    """Largest norm of the gradient; 0 does not clip."""
    precision: str | None = None
    """float32, bfloat16 or float16."""
    channels_last: bool | None = None
    """Keep channels innermost."""
    device: str | None = None
    """cpu, cuda or cuda:NUMBER."""
    graph: bool | None = None
    """CUDA only: record the forward and backward pass once and replay it."""
    threads: int | None = None
    """CPU threads; 1 makes resuming bit-identical."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; 0 writes one after each epoch."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"Unknown method {self.method!r}; choose one of {', '.join(METHODS)}.")
        pattern = parse_pattern(self.selector)
        if pattern is None and self.selector not in SELECTORS[:-1]:
            raise ValueError(
                f"Unknown selector {self.selector!r}; choose one of {', '.join(SELECTORS)}."
            )
        if not 0 <= self.goal < 1:
            raise ValueError(
                f"sparsity is {self.sparsity}; it must be at least 0 and below 1: the fraction of "
                "prunable weights that go."
            )
        if self.phases < 1:
            raise ValueError(f"phases is {self.phases}; pruning takes at least 1 (one-shot).")
        if pattern is not None and (self.phases > 1 or self.method not in PHASED):
            raise ValueError(
                f"The pattern {self.selector} has one sparsity, so it cannot rise over phases or "
                "epochs. Use phases=1 and method 'imp' or 'bimp'."
            )
        allowed = SCHEDULES if self.method in PHASED else TUNABLE
        if self.rates not in allowed:
            raise ValueError(
                f"Unknown schedule {self.rates!r} for method {self.method!r}; choose one of "
                f"{', '.join(allowed)}."
            )
        if self.norm_scope not in ("all", "prunable"):
            raise ValueError(f"norm_scope is {self.norm_scope!r}; choose 'all' or 'prunable'.")
        if self.on_layer_collapse not in ("warn", "raise", "allow"):
            raise ValueError(
                f"on_layer_collapse is {self.on_layer_collapse!r}; choose warn, raise or allow."
            )
        if not 0 <= self.recalibrate <= 1:
            raise ValueError(f"recalibrate is {self.recalibrate}; it is a share, 0 to 1.")
        groups = retrained_groups(self.retrain)
        if groups != ("full",):
            if self.method not in PHASED:
                raise ValueError(
                    f"{self.method} trains all weights while it prunes, so retrain="
                    f"{self.retrain!r} has no place; use method 'imp' or 'bimp'."
                )
            if self.keep_optimizer:
                raise ValueError(
                    "keep_optimizer carries the state of all parameters over, but retrain="
                    f"{self.retrain!r} trains few; use one of them."
                )
        if self.rank < 1:
            raise ValueError(f"rank is {self.rank}; an adapter has rank 1 or more.")
        if self.method in PHASED:
            split_epochs(self.retrain_epochs, self.phases)
        elif self.epochs < 1:
            raise ValueError(f"epochs={self.epochs} trains nothing; give 1 or more.")
        if self.method in ("gmp", "dpf"):
            gradual_sparsities(self.goal, self.epochs, self.interval)

    @property
    def goal(self) -> float:
        """The sparsity to reach."""
        if self.sparsity is not None:
            return self.sparsity
        pattern = parse_pattern(self.selector)
        return USUAL_SPARSITY if pattern is None else 1 - pattern[0] / pattern[1]

    @property
    def groups(self) -> tuple[str, ...]:
        """What trains after pruning."""
        return retrained_groups(self.retrain)

    @property
    def share_recalibrated(self) -> float:
        """Share of the images that measures the batch statistics anew at the end."""
        return self.recalibrate or (1.0 if "recalibrate" in self.groups else 0.0)

    @property
    def rates(self) -> str:
        """The schedule's name."""
        return self.schedule or ("allr" if self.method in PHASED else "linear")

    @property
    def first_epochs(self) -> int:
        """Epochs of the dense training that `prune` does itself (bimp)."""
        if self.method != "bimp":
            return 0
        return self.epochs // 2 if self.dense_epochs is None else self.dense_epochs

    @property
    def retrain_epochs(self) -> int:
        """Epochs of retraining, over all phases."""
        if self.method == "bimp" and not 1 <= self.first_epochs < self.epochs:
            raise ValueError(
                f"bimp trains densely for {self.first_epochs} of {self.epochs} epochs; both parts "
                "need at least one. Give more epochs, or another dense_epochs."
            )
        return self.epochs - self.first_epochs

    def loop(self, dense: LoopConfig | None) -> LoopConfig:
        """How training steps are made: these options over those of the dense training."""
        base = dense or LoopConfig()
        known: dict[str, Any] = {f.name: getattr(base, f.name) for f in fields(LoopConfig)}
        given = {
            name: getattr(self, name)
            for name in known
            # What only the dense training has, such as its region, is kept as it was.
            if name != "seed" and getattr(self, name, None) is not None
        }
        settings: dict[str, Any] = {**known, **given, "seed": self.seed}
        if self.graph is None and not settings["device"].startswith("cuda"):
            settings["graph"] = False  # of a dense training on a GPU
        return LoopConfig(**settings)

    def without_places(self) -> "Config":
        """The same without what says only where things are computed."""
        return dataclasses.replace(self, threads=None, checkpoint_every=None, graph=None)
