"""What `train` returns and leaves in its run folder, and how it is read again."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Int

from extremal.lab import Run, Table, derive_seed, from_plain, imported, sha256_file
from extremal.training import load_file, save_tensors

from ._arthur import Asked
from ._certify import own_function
from ._data import DataConfig, load_task
from ._errors import InterpretError
from ._explainers import Explainer, shown_by
from ._gradient_attacks import learned_masks
from ._losses import merlin_loss
from ._mask_networks import mask_network
from ._network import ArthurNet, NetArthur
from ._network_search import searched_masks
from ._relaxed import Relaxation, adam_masks, binarised, frank_wolfe_masks
from ._search import SEARCHES, check_sets
from ._task import Task

if TYPE_CHECKING:
    from ._train import TrainConfig

LEARNED = ("mlp", "u-net")
PROVERS = (*LEARNED, "frank-wolfe", "adam", *SEARCHES)
_BATCH = 2048
_MOST_SETS = 50_000  # a row, of brute force
_AIMED = "aimed"  # how a run's attacker was told the class: the one that Morgana wants named


def check_train_sets(how: str, task: Task, k: int) -> None:
    """Refuse a brute force over too many sets for each row.

    Raises:
        OverBudget: C(d, k) is over 50,000.
    """
    check_sets(how, task, k, 1, _MOST_SETS, "choose a smaller k, or greedy, swaps or a learned one")


@dataclass(frozen=True)
class Trained:
    """A trained game.

    Attributes:
        config: How it was trained.
        task: Its data.
        arthur: Answers to codes and masks, as an audit asks.
        merlin: Shows masks for codes and classes.
        history: Of each epoch, on the training rows: completeness, don't know under both provers,
            rows misled, and completeness under the relaxed masks, by class. A gap between relaxed
            and binary completeness means that the relaxation is being exploited.
        seconds: Of the training.
        path: The run folder, if it was saved.
    """

    config: "TrainConfig"
    task: Task
    arthur: NetArthur
    merlin: "MerlinNet"
    history: Sequence[dict[str, Any]]
    seconds: float
    path: Path | None = None

    def to(self, device: str) -> "Trained":
        """Return the same game with its networks on a device; they are copied if they move."""
        judge = self.arthur.to(device)
        if judge is self.arthur:
            return self
        net = None if self.merlin.net is None else copy.deepcopy(self.merlin.net).to(device)
        merlin = MerlinNet(self.config, self.task, judge, net, self.merlin.posthoc)
        return replace(self, arthur=judge, merlin=merlin)

    def convinced(
        self, codes: Int[np.ndarray, "n d"]
    ) -> tuple[Bool[np.ndarray, "n c"], Bool[np.ndarray, "n c d"]]:
        """Run Merlin once per class; return where he convinces Arthur, and what he shows.

        A row is decided where exactly one class convinces. Cost: one prover a row and class.
        """
        won = np.zeros((len(codes), self.task.classes), bool)
        masks = np.zeros((*won.shape, self.task.d), bool)
        asked = Asked(self.arthur, self.task.classes)
        for c in range(self.task.classes):
            masks[:, c] = self.merlin(codes, np.full(len(codes), c))
            won[:, c] = asked.answers(codes, masks[:, c]) == c
        return won, masks

    def table(self) -> Table:
        """Return the last epoch, by class."""
        last = self.history[-1]
        return Table(
            ["class", "completeness", "don't know", "misled by Morgana", "relaxed completeness"],
            [
                [
                    name, last["completeness"][c], last["dont_know_merlin"][c], last["fooled"][c],
                    last["relaxed"][c],
                ]
                for c, name in enumerate(self.task.class_names)
            ],
            title=f"{len(self.history)} epochs on the training rows in {self.seconds:.1f} s; "
            "only an audit says what this is worth: extremal interpret certify "
            f"{self.path or 'RUN'}",
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Return the history as plain values."""
        return {
            "seconds": self.seconds,
            "epochs": len(self.history),
            "history": list(self.history),
            "path": None if self.path is None else str(self.path),
        }


class MerlinNet:
    """Merlin of a game as an explainer: learned, or solving or searching against Arthur."""

    def __init__(
        self, config: "TrainConfig", task: Task, arthur: NetArthur, net: Any,
        posthoc: Explainer | None = None,
    ) -> None:  # fmt: skip
        """Wrap the prover; `net` is None where he solves or is the explainer `posthoc`."""
        self.config, self.task, self.arthur, self.net = config, task, arthur, net
        self.posthoc = posthoc
        if posthoc is not None:
            self.name = f"its Merlin ({getattr(posthoc, 'name', config.prover)}, post-hoc)"
            return
        self.name = f"its Merlin ({config.prover})"
        if net is None:
            check_train_sets(config.prover, task, config.k)

    def on(self, task: Task) -> "MerlinNet":
        """Return the same Merlin on a task that hides other units."""
        return MerlinNet(self.config, task, self.arthur, self.net, self.posthoc)

    def __call__(
        self, codes: Int[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
    ) -> Bool[np.ndarray, "n d"]:
        """Return the masks; the same rows give the same masks."""
        c = self.config
        if self.posthoc is not None:
            return shown_by(self.posthoc, codes, labels, self.task, c.k, c.k)
        device = self.arthur.device
        allowed = torch.zeros(self.task.d, dtype=torch.bool)
        allowed[torch.from_numpy(self.task.shown)] = True
        allowed = allowed.to(device)
        draw = torch.Generator().manual_seed(derive_seed(c.seed, "merlin") % 2**63)
        if self.net is not None:
            return learned_masks(self.net, codes, labels, c.k, allowed, draw)
        avoided = torch.zeros(self.task.d)
        for name in c.avoid:
            avoided[self.task.unit(name)] = c.avoid_weight
        avoided = avoided.to(device)
        solver = frank_wolfe_masks if c.prover == "frank-wolfe" else adam_masks
        how = Relaxation(k=c.k, iterations=c.iterations, step=c.step, l1=c.l1, tv=c.tv)
        parts: list[np.ndarray] = []
        for start in range(0, len(codes), _BATCH):
            x = self.arthur.net.encoder.values(codes[start : start + _BATCH])
            y = torch.from_numpy(np.ascontiguousarray(labels[start : start + _BATCH])).to(device)
            if c.prover in SEARCHES:
                found = searched_masks(
                    c.prover, self.arthur.net, x, y, merlin_loss, c.k, allowed, avoided,
                    c.iterations, draw,
                )  # fmt: skip
                parts.append(found.cpu().numpy())
                continue

            def loss(at: Any, mask: Any, x: Any = x, y: Any = y) -> Any:
                return merlin_loss(self.arthur.net(x[at], mask), y[at]) + mask @ avoided

            soft = solver(loss, len(x), allowed, how, draw, self.task.image)
            parts.append(binarised(soft, c.k, allowed, draw).cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros(codes.shape, bool)


def finished(
    config: "TrainConfig",
    task: Task,
    arthur: ArthurNet,
    merlin: Any,
    attacker: Any,
    history: Sequence[dict[str, Any]],
    seconds: float,
    run: Run | None,
    posthoc: Explainer | None = None,
) -> Trained:
    """Make the result, and write it into the run."""
    judge = NetArthur(arthur, task, config.k, attacker)
    if run is not None:
        tensors: dict[str, Any] = {}
        for name, net in (("arthur", arthur), ("merlin", merlin), ("attacker", attacker)):
            if net is not None:
                tensors |= {f"{name}.{k}": v.contiguous() for k, v in net.state_dict().items()}
        file = run.path / "model.safetensors"
        save_tensors(file, tensors)
        for entry in history:
            run.log(**entry)
        run.write_json(
            "result.json",
            {
                "seconds": seconds, "history": list(history), "model_sha256": sha256_file(file),
                "attacker": None if attacker is None else type(attacker).__name__,
                "told": _AIMED,
            },
        )  # fmt: skip
    shows = MerlinNet(config, task, judge, merlin, posthoc)
    return Trained(config, task, judge, shows, history, seconds, None if run is None else run.path)


def load_trained(path: Path) -> Trained:
    """Read a run of `train`.

    Raises:
        RunError: There is no such run, or it is not finished.
        InterpretError: Its files or its data have changed.
    """
    from ._train import TrainConfig

    run = Run.open(path, "interpret/train")
    result = run.read_json("result.json")
    plain = dict(run.config)
    fingerprint = plain.pop("task")
    config = from_plain(TrainConfig, plain)
    file = run.path / "model.safetensors"
    if not file.is_file() or sha256_file(file) != result["model_sha256"]:
        raise InterpretError(f"{file} is missing or has changed; train again with --force.")
    task = load_task(DataConfig(**{f.name: getattr(config, f.name) for f in fields(DataConfig)}))
    if config.labels is not None:
        task = task.relabelled(imported(config.labels, "black box"))
    if task.fingerprint != fingerprint:
        raise InterpretError(
            f"the data {config.data} are not those that {path} was trained on, so training and "
            "audit rows would mix; give the old data, or train again."
        )
    if result["attacker"] is not None and result.get("told") != _AIMED:
        raise InterpretError(
            f"{path} holds an attacker of an older form, who was told the right class instead of "
            "the one aimed at; train again with --force."
        )
    tensors, _ = load_file(file)

    def filled(net: Any, name: str) -> Any:
        prefix = f"{name}."
        net.load_state_dict(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )
        return net.eval()

    arthur = filled(ArthurNet(task, config.arthur), "arthur")
    merlin = attacker = None
    if config.prover in LEARNED:
        many = 2 if config.shared else 1
        merlin = filled(
            mask_network(config.prover, task, config.condition, many, config.width), "merlin"
        )
    if result["attacker"] is not None:
        kind = "mlp" if result["attacker"] == "MaskMLP" else "u-net"
        attacker = filled(mask_network(kind, task, "planes", 1, config.width), "attacker")
    judge = NetArthur(arthur, task, config.k, attacker)
    posthoc = None
    if ":" in config.prover:
        posthoc = own_function(config.prover, "prover", task, config.k)
    shows = MerlinNet(config, task, judge, merlin, posthoc)
    return Trained(config, task, judge, shows, result["history"], result["seconds"], path)
