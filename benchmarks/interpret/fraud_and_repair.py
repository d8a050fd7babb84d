"""Does the audit find the code of a learned pair, and does the default training earn a bound?

Run:      python benchmarks/interpret/fraud_and_repair.py
Expect:   A learned Merlin with a learned Morgana reaches high completeness and high "soundness"
          against her, and the audit finds soundness near 0 by replay alone: vacuous. Training
          against the worst of Merlin's masks and random ones (pool) is slower to convince, and
          certified; with Frank-Wolfe's among them and gamma rising (the default, worst) more so.
Fairness: digits 3 and 8, the same rows, network, steps and audit for all; only the Morgana of the
          training and k differ. Seconds are of the training on one core.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from extremal.interpret import TrainConfig, certify, train
from extremal.lab import Table, append_record, read_records

HERE = Path(__file__).resolve().parent
_POOL: dict[str, Any] = {"morgana": "pool", "warmup": 0.0}
GAMES: dict[str, dict[str, Any]] = {
    "no Morgana, k=1": {"k": 1, "gamma": 0.0, "morgana": "none", "pretrain": 0},
    "learned Morgana, k=2": {"k": 2, "morgana": "learned", "pretrain": 0, "warmup": 0.0},
    "learned Morgana, k=6": {"k": 6, "morgana": "learned", "pretrain": 0, "warmup": 0.0},
    "pool, k=2": {"k": 2, **_POOL},
    "pool, k=4": {"k": 4, **_POOL},
    "pool, k=6": {"k": 6, **_POOL},
    "pool, k=8": {"k": 8, **_POOL},
    "pool, Frank-Wolfe Merlin, k=6": {"k": 6, "prover": "frank-wolfe", "iterations": 15, **_POOL},
    "pool, gamma 0.5, k=6": {"k": 6, "gamma": 0.5, **_POOL},
    "pool, gamma 5, k=6": {"k": 6, "gamma": 5.0, **_POOL},
    "worst, k=2": {"k": 2},
    "worst, k=4": {"k": 4},
    "worst, k=6": {"k": 6},
    "worst, k=8": {"k": 8},
    "worst, Frank-Wolfe Merlin, k=6": {"k": 6, "prover": "frank-wolfe", "iterations": 15},
    "worst, greedy Merlin, k=6": {"k": 6, "prover": "greedy"},
    "worst, gamma 0.5, k=6": {"k": 6, "gamma": 0.5},
    "worst, gamma 5, k=6": {"k": 6, "gamma": 5.0},
}


@dataclass(frozen=True)
class Options:
    """What is measured; games that are recorded already are skipped."""

    out: Path = HERE / "results" / "fraud_and_repair.jsonl"
    seeds: tuple[int, ...] = (0, 1, 2)
    games: tuple[str, ...] = tuple(GAMES)
    """By name; all by default."""


def main(options: Options) -> None:
    """Play every game and append a record for each."""
    done = read_records(options.out) if options.out.exists() else []
    known = [(_named(r), r["seed"]) for r in done]
    for seed in options.seeds:
        for name in options.games:
            what = GAMES[name]
            if (name, seed) in known:
                continue
            game = train(config=TrainConfig(classes=("3", "8"), seed=seed, **what))
            found = certify(game, attacks=("auto",), restarts=1)
            last = game.history[-1]
            n = found.numbers
            append_record(
                options.out,
                question="Does the audit find a code, and does the default training earn a bound?",
                configuration={"game": name, **what},
                seed=seed,
                samples={
                    "seconds": game.seconds,
                    "own_soundness": [1 - v for v in last["fooled"]],
                    "completeness": list(found.completeness),
                    "soundness": list(found.soundness),
                    "soundness_under": found.soundness_under(),
                    "precision": leave_one_out(found),
                    "bound": found.bound,
                    "direct": n["direct"] and n["direct"]["lower"],
                    "verdict": found.verdict,
                    "reader": n["reader"],
                    "audit_seconds": found.seconds["audit"],
                },
                wall_seconds=game.seconds + found.seconds["audit"],
            )
            print(
                name, seed, found.verdict, round(found.bound, 3), round(game.seconds, 1), flush=True
            )


def _named(record: dict[str, Any]) -> str:
    """The game's name; the default Morgana was the pool in records that say `default`."""
    name = record["configuration"]["game"].replace("default,", "pool,")
    if name.startswith(("Frank-Wolfe Merlin", "gamma")):
        name = f"pool, {name}"
    return name


def leave_one_out(found: Any) -> float:
    """Return the precision over all rows that are not the row itself, as the digits are few."""
    import numpy as np

    from extremal.interpret import Index

    task = found.task
    parts = [rows for _, rows in task.parts()]
    codes = np.concatenate([p.codes for p in parts])
    labels = np.concatenate([p.labels for p in parts])
    masks = np.unpackbits(found.arrays["merlin_mask"], axis=-1)[:, : task.d].astype(bool)
    counted = Index(codes, labels, task.classes).counts(masks, task.audit.codes)
    own = counted[np.arange(len(masks)), task.audit.labels] - 1
    total = counted.sum(1) - 1
    return float((own[total > 0] / total[total > 0]).mean())


def table(records: list[dict[str, Any]]) -> Table:
    """Return a row a game: the mean over the seeds of the lesser class."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for r in records:
        groups.setdefault(_named(r), []).append(r["samples"])

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    rows = [
        [
            name, len(s),
            mean([min(x["completeness"]) for x in s]),
            mean([min(x["own_soundness"]) for x in s]),
            mean([min(x["soundness_under"]["replay"]) for x in s]),
            mean([min(x["soundness"]) for x in s]),
            mean([x["precision"] for x in s]),
            mean([x["bound"] for x in s]),
            f"{sum(x['verdict'] == 'certified' for x in s)} of {len(s)}",
            mean([x["seconds"] for x in s]),
        ]
        for name, s in groups.items()
    ]  # fmt: skip
    return Table(
        [
            "game", "seeds", "completeness", "soundness against its own Morgana", "under replay",
            "under all attacks", "precision, leave one out", "bound, 95 %", "certified", "seconds",
        ],
        rows,
        title="Digits 3 and 8, 143 audited rows; the lesser of the two classes, mean of the seeds",
    )  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options))
