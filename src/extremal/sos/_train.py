"""The verb `train`: learn which monomials squares need, from examples drawn on the fly.

Every step draws new exact polynomials from its own named stream, so a resumed run sees the same
ones and ends with the same weights.
"""

import dataclasses
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from extremal.lab import (
    Run,
    Table,
    Text,
    atomic_path,
    command,
    derive_seed,
    generator,
    progress,
    require,
    resolve,
    to_plain,
    write_report,
)

from ._generate import STRUCTURES, Planted, Structure, planted


@dataclass(frozen=True)
class TrainConfig:
    """What is learned from, and how."""

    network: Literal["scorer", "transformer"] = "scorer"
    """A permutation-equivariant scorer, or the paper's encoder-decoder."""
    structures: tuple[str, ...] = ("dense", "sparse", "low-rank", "block")
    """Of the Gram matrices that are drawn."""
    variables: tuple[int, ...] = (2, 3, 4)
    """How many variables; an encoder-decoder takes exactly one number."""
    degrees: tuple[int, ...] = (6, 8)
    """Of the polynomials, even."""
    bases: tuple[int, ...] = (5, 8, 12)
    """About how many monomials."""
    steps: int = 600
    """Of the optimizer."""
    batch: int = 16
    """Polynomials a step."""
    lr: float = 2e-3
    """Rate of AdamW at the start; it falls linearly to 0."""
    width: int = 48
    """Of hidden states."""
    rounds: int = 3
    """Of messages (scorer), or layers of encoder and decoder."""
    support_only: bool = False
    """Hide the coefficients; for ablations."""
    checkpoint: int = 200
    """Steps between checkpoints."""
    seed: int = 0
    """Of draws and weights."""


@dataclass(frozen=True)
class Training:
    """A trained oracle.

    Attributes:
        config: How it was trained.
        losses: The mean loss of each tenth of the run.
        held_out: Loss on polynomials that were not trained on.
        path: Its folder.
        seconds: How long this call took.
    """

    config: TrainConfig
    losses: tuple[float, ...]
    held_out: float
    path: Path
    seconds: float

    def table(self) -> Table:
        """Return the losses."""
        return Table(
            ["network", "steps", "first loss", "last loss", "held-out loss", "seconds"],
            [
                [
                    self.config.network, self.config.steps, self.losses[0], self.losses[-1],
                    self.held_out, self.seconds,
                ]
            ],
            title=f"use it: extremal sos certify P --oracle {self.path}",
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {
            "config": to_plain(self.config),
            "losses": list(self.losses),
            "held_out": self.held_out,
            "path": str(self.path),
            "seconds": self.seconds,
        }


def draw(config: TrainConfig, *names: str | int) -> list[Planted]:
    """Return the examples of a step: exact, and every structure and size in turn."""
    rng = generator(config.seed, "sos", "train", *names)
    out: list[Planted] = []
    while len(out) < config.batch:
        structure = cast("Structure", config.structures[int(rng.integers(len(config.structures)))])
        n = int(rng.choice(config.variables))
        degree, basis = int(rng.choice(config.degrees)), int(rng.choice(config.bases))
        out.append(planted(structure, n, degree, basis, int(rng.integers(1 << 62))))
    return out


@command(options=TrainConfig)
def train(
    *,
    config: TrainConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Training:
    """Train an oracle that says which monomials squares need.

    Args:
        config: All options at once; or give any of its fields as keywords.
        out: Folder for the network, checkpoints and a report; required.
        resume: Continue the run in `out` to the same weights.
        force: Replace the run in `out`.
        **options: Fields of `TrainConfig`; they replace those of `config`.

    Returns:
        The losses and where the network is.

    Raises:
        MissingExtra: torch is not installed.
        ValueError: An option is out of range, or `out` is missing.

    Cost: about 0.05 s a step for the scorer at its defaults, on one core.
    """
    settings = resolve(TrainConfig, config, options)
    _check(settings)
    if out is None:
        raise ValueError("a trained network needs a folder; give --out.")
    require("torch", "training")
    identity = to_plain(settings)
    begun = time.perf_counter()
    with Run.create(out, kind="sos/train", config=identity, resume=resume, force=force) as run:
        losses, held_out = _fit(run, settings)
        found = Training(settings, losses, held_out, run.path, time.perf_counter() - begun)
        run.write_json("result.json", found.as_json())
        write_report(
            run.path / "report.html",
            "A learned oracle",
            [Text("Trained on exact sums of squares with a known basis."), found.table()],
        )
    return found


def _check(c: TrainConfig) -> None:
    bad = [s for s in c.structures if s not in STRUCTURES]
    if bad or not c.structures:
        raise ValueError(f"{bad} are no structures; there are {', '.join(STRUCTURES)}.")
    if (
        min(*c.variables, *c.degrees, *c.bases, c.steps, c.batch, c.width, c.rounds, c.checkpoint)
        < 1
    ):
        raise ValueError("variables, degrees, bases, steps, batch, width and rounds are positive.")
    if c.network == "transformer" and len(c.variables) != 1:
        raise ValueError(
            f"an encoder-decoder takes one number of variables, got {list(c.variables)}; use "
            "network='scorer' for several."
        )
    if c.network == "transformer" and c.width % 4:
        raise ValueError(f"the width of an encoder-decoder is a multiple of 4, got {c.width}.")


def _network(c: TrainConfig) -> tuple[Any, dict[str, Any]]:
    import torch

    from ._scorer import Scorer
    from ._transformer import Shape, Transformer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(c.seed, "sos", "weights"))
        if c.network == "scorer":
            return Scorer(c.width, c.rounds), {"width": c.width, "rounds": c.rounds}
        shape = Shape(c.variables[0], max(c.degrees), c.width, 4, c.rounds, c.rounds, 2 * c.width)
        return Transformer(shape), {"shape": dataclasses.asdict(shape)}


def loss_of(network: Any, c: TrainConfig, examples: list[Planted]) -> Any:
    """Return the loss on examples."""
    import torch

    from ._graph import candidates, graph
    from ._scorer import batch
    from ._sumset import find
    from ._transformer import loss

    if c.network == "transformer":
        return loss(network, [(e.p, e.basis) for e in examples], c.support_only)
    rows = [candidates(e.p) for e in examples]
    graphs = [graph(e.p, r, c.support_only) for e, r in zip(examples, rows, strict=True)]
    wanted = np.concatenate([find(r, e.basis) >= 0 for e, r in zip(examples, rows, strict=True)])
    logits = network(*batch(graphs))
    return torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.as_tensor(wanted, dtype=torch.float32)
    )


def _fit(run: Run, c: TrainConfig) -> tuple[tuple[float, ...], float]:
    import torch

    network, about = _network(c)
    optimizer = torch.optim.AdamW(network.parameters(), lr=c.lr, weight_decay=1e-4)
    step = _restore(run, network, optimizer)
    losses = {int(r["step"]): float(r["loss"]) for r in run.records() if r["step"] < step}
    with progress(c.steps, "steps") as bar:
        bar.advance(step)
        while step < c.steps:
            for group in optimizer.param_groups:
                warm = min(1.0, (step + 1) / max(1, c.steps // 20))
                group["lr"] = c.lr * warm * (1 - step / c.steps)
            value = loss_of(network, c, draw(c, step))
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            losses[step] = float(value.detach())
            run.log(step=step, loss=losses[step])
            step += 1
            bar.advance(text=f"loss {losses[step - 1]:.3f}")
            if step % c.checkpoint == 0 or step == c.steps:
                _save(run, network, optimizer, step)
    with torch.no_grad():
        held = [float(loss_of(network, c, draw(c, "held-out", i))) for i in range(8)]
    body = {"network": c.network, "support_only": c.support_only, **about}
    run.write("model.safetensors", _tensors(network.state_dict()))
    run.write_json("model.json", body)
    ordered = [losses[i] for i in sorted(losses)]
    tenth = max(1, len(ordered) // 10)
    parts = [ordered[i : i + tenth] for i in range(0, len(ordered), tenth)]
    return tuple(statistics.fmean(p) for p in parts), statistics.fmean(held)


def _tensors(state: dict[str, Any]) -> bytes:
    from safetensors.torch import save

    return save({k: v.contiguous() for k, v in state.items()})


def _save(run: Run, network: Any, optimizer: Any, step: int) -> None:
    import torch

    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"optimizer.{i}.{name}"] = value
    tensors["step"] = torch.tensor(step)
    with atomic_path(run.path / "checkpoints" / "last.safetensors") as file:
        file.write_bytes(_tensors(tensors))


def _restore(run: Run, network: Any, optimizer: Any) -> int:
    from safetensors.torch import load_file

    file = run.path / "checkpoints" / "last.safetensors"
    if not file.is_file():
        return 0
    tensors = load_file(file)
    network.load_state_dict(
        {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    )
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, i, name = key.split(".", 2)
            state.setdefault(int(i), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return int(tensors["step"])
