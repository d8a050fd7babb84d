"""The options of `soup`: those of `prune`, and what concerns members, merging and execution."""

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from extremal.lab import to_plain
from extremal.pruning._config import Config

from ._merge import convex

METHODS = ("imp", "bimp", "gmp", "dpf")
VARY = ("seed", "weight-decay", "length", "lr")
MERGES = ("uniform", "greedy", "weights")
EXECUTORS = ("serial", "processes", "ray", "torchrun", "vmap")
CORRUPTED = 1000  # test images for corrupted accuracy, with compare

# Where and how fast, not what: a run may be taken up with others of these.
_PLACES = (
    "executor", "workers", "retries", "address", "node", "patience", "threads",
    "checkpoint_every", "graph",
)  # fmt: skip
# What each node says itself, or what concerns whole runs.
_OF_NODES = (
    "sparsity", "phases", "epochs", "members", "vary", "values", "merge", "mix", "tie", "quorum",
    "compare", "corrupt", "corrupt_path", "basin", "seed", "model", "weights", "path", "data",
    "train_size", "validation", "augment", "batch_size", "optimizer", "momentum", "nesterov",
    "weight_decay", "label_smoothing", "clip_norm", "precision", "channels_last",
)  # fmt: skip


@dataclass(frozen=True)
class SoupConfig(Config):
    """How `soup` prunes, retrains its members and merges them.

    `epochs` counts for one member, over all phases. The options of `prune` mean the same here.
    """

    members: int = 3
    """Retrainings in each phase, all from one pruned network with one mask."""
    vary: str = "seed"
    """What differs between members: seed, weight-decay, length or lr."""
    values: tuple[float, ...] = ()
    """Each member's factor on its weight decay, length or learning rate; by default 1/2 to 2."""
    merge: str = "uniform"
    """uniform, greedy (needs validation data) or weights."""
    mix: tuple[str, ...] = ()
    """With merge=weights: each member's weight, such as 0.5 or 1/3; their sum is 1."""
    tie: str = "accept"
    """greedy: accept or reject a member that changes nothing."""
    compare: bool = False
    """Also run every comparison at equal budget, and measure them all."""
    corrupt: int | None = None
    """Test images for accuracy on corrupted data; by default 1000 with compare, else 0 (none)."""
    corrupt_path: str | None = None
    """A folder of CIFAR-C files to use as well."""
    basin: int | None = None
    """Pairs of members whose connecting line is tested; by default 1 with compare, else 0."""
    executor: str = "serial"
    """serial, processes, ray, torchrun (a member a rank), or vmap (members stacked into one
    program)."""
    workers: int | None = None
    """Members that are trained at a time; by default as many as cores."""
    address: str | None = None
    """ray: of a running cluster; by default a local one."""
    retries: int = 1
    """How often a failed or vanished member is taken up again."""
    quorum: int | None = None
    """Members that suffice for a merge, when the others failed or are late; by default all."""
    patience: float = 0.0
    """Seconds after which a member that a quorum does not need gives up; 0: never."""
    node: str | None = None
    """Run this one node of the graph only: its name, or the beginning of its key."""
    recalibrate: float = 0.2
    """Share of the training images that measures batch statistics anew after every training and
    merge; 0: never."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.groups != ("full",):
            raise ValueError(
                f"A soup retrains all weights of its members, not {self.retrain!r}; prune with "
                "retrain= one by one instead."
            )
        if self.method not in METHODS:
            raise ValueError(
                f"No soup is made of method {self.method!r}; choose one of {', '.join(METHODS)}."
            )
        for name, value, known in (
            ("vary", self.vary, VARY),
            ("merge", self.merge, MERGES),
            ("executor", self.executor, EXECUTORS),
            ("tie", self.tie, ("accept", "reject")),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(known)}.")
        if self.members < 1:
            raise ValueError(f"members={self.members}: a soup needs 1 or more.")
        if self.keep_optimizer:
            raise ValueError(
                "keep_optimizer=True: members are averaged between phases, their optimizers "
                "cannot be; leave it out."
            )
        if self.values and (len(self.values) != self.members or min(self.values) <= 0):
            raise ValueError(
                f"values has {len(self.values)} entries for {self.members} members; give one "
                "factor above 0 for each."
            )
        if self.values and self.vary == "seed":
            raise ValueError("values has no meaning with vary='seed'; leave one of them out.")
        if self.merge == "weights":
            convex(self.mix, self.members)
        elif self.mix:
            raise ValueError("mix is given and merge is not 'weights'; leave one of them out.")
        if self.quorum is not None and not 1 <= self.quorum <= self.members:
            raise ValueError(f"quorum={self.quorum} of {self.members} members; choose 1 to all.")
        if self.quorum not in (None, self.members) and self.merge == "weights":
            raise ValueError("A quorum and explicit weights do not go together: choose one.")
        if self.patience < 0 or self.retries < 0:
            raise ValueError("patience and retries are 0 or more.")
        if (self.corrupt or 0) < 0 or (self.basin or 0) < 0:
            raise ValueError("corrupt and basin are counts of 0 or more.")

    @property
    def corrupted(self) -> int:
        """Test images for corrupted data."""
        return (CORRUPTED if self.compare else 0) if self.corrupt is None else self.corrupt

    @property
    def lines(self) -> int:
        """Pairs of members for the basin test."""
        return (1 if self.compare else 0) if self.basin is None else self.basin

    @property
    def needed(self) -> int:
        """Members without which there is no merge."""
        return self.members if self.quorum is None else self.quorum

    @property
    def factors(self) -> tuple[float, ...]:
        """Each member's factor on what varies (1 for seeds)."""
        if self.vary == "seed" or self.members == 1:
            return self.values or (1.0,) * self.members
        if self.values:
            return self.values
        return tuple(2.0 ** (2 * j / (self.members - 1) - 1) for j in range(self.members))

    @property
    def shares(self) -> tuple[Fraction, ...] | None:
        """The explicit weights, or None."""
        return convex(self.mix, self.members) if self.merge == "weights" else None

    def identity(self) -> dict[str, Any]:
        """What must be the same for a resume."""
        plain: dict[str, Any] = to_plain(self)
        kept = {name: value for name, value in plain.items() if name not in _PLACES}
        # Stacked members agree with separate ones to rounding, not to the bit.
        kept["program"] = "vmap" if self.executor == "vmap" else "single"
        return kept

    def of_nodes(self) -> dict[str, Any]:
        """What every node depends on beside its own settings."""
        return {name: v for name, v in self.identity().items() if name not in _OF_NODES}

    def as_prune(self) -> Config:
        """The options of `prune` among these."""
        names = [field.name for field in dataclasses.fields(Config)]
        return Config(**{name: getattr(self, name) for name in names})
