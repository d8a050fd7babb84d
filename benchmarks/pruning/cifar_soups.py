"""At equal budget, does a sparse soup beat everything it is compared with?

Run:      python benchmarks/pruning/cifar_soups.py --data PATH
          on a GPU with --device cuda --train-size None --executor serial
Expect:   by the paper the soup beats its mean candidate, IMP, and IMP with m-fold length; RePrune
          loses against all of them. Very high sparsity drives members apart, and the gain shrinks.
Fairness: one dense network; the soup, its candidates, IMP with m-fold length, IMP-AVG, RePrune and
          the ensemble all spend m retrainings; IMP spends one. The same schedule, batches and
          recalibration for each, nothing tuned for any. Seeds change batch order and augmentation
          alone. Every run is kept; a run where the soup loses is kept like the others.
Note:     the tables on 10,000 training images are for a CPU, those on 50,000 of a GPU; corruptions
          (9 kinds, 5 severities) are made of some of the test images. How many of each, and how
          many epochs, is said above each table. The images are JPEG-recompressed with 4:2:0 chroma,
          so compare within a table only.
"""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import torch
import tyro

from extremal.lab import Table, append_record, read_records, to_plain

HERE = Path(__file__).resolve().parent
QUESTION = "At equal budget, does a sparse soup beat everything it is compared with?"


@dataclass(frozen=True)
class Options:
    """What is compared."""

    data: Path = Path("../shared/data/cifar10-jpeg.tar.xz")
    """CIFAR-10, in any form that `training.load_data` reads."""
    model: str = "resnet20"
    train_size: int | None = 10_000
    dense_epochs: int = 15
    phases: int = 2
    epochs: int = 4
    """Of one member, over all phases."""
    members: int = 3
    batch_size: int = 128
    lr: float = 0.1
    weight_decay: float = 5e-4
    sparsities: tuple[float, ...] = (0.95,)
    seeds: tuple[int, ...] = (0, 1, 2)
    test_size: int | None = None
    """Test images for everything but corruptions, stratified; by default all."""
    corrupt: int = 1000
    device: str = "cpu"
    precision: str = "float32"
    """Of retraining; weights and measurements are float32."""
    recalibrate: float = 0.2
    """Share of the training images that measures batch statistics anew."""
    executor: Literal["serial", "processes", "ray", "vmap"] = "processes"
    workers: int = 2
    work: Path = Path("runs/cifar-soups")
    """Where the runs lie; finished ones are used again."""
    dense: Path | None = None
    """A finished dense run, in place of training one."""
    dense_note: str = ""
    """What a record says about it."""
    out: Path = HERE / "results" / "cifar_soups.jsonl"


def inputs(options: Options) -> tuple[Any, Any]:
    """The dense network, and the data with as many test images as the options want."""
    from _dense import dense_run

    from extremal import training

    data = training.load_data("cifar10", path=options.data, train_size=options.train_size)
    run = dense_run(options, options.dense or options.work / "dense", options.device)
    dense = training.load_run(run, data=data)
    test = dense.data.test
    if options.test_size is None or options.test_size >= len(test):
        return dense, dense.data
    # Evenly spaced images of each class in turn: always the same ones.
    order = test.labels.argsort(stable=True)
    places = torch.arange(options.test_size) * len(test) // options.test_size
    few = test.take(order[places].sort().values)
    return dense, replace(dense.data, test=few, origin=None)


def main() -> None:
    """Run what is not yet recorded, then print the table."""
    from extremal import pruning

    options = tyro.cli(Options)
    if not options.data.exists():
        print(f"left out: there is no CIFAR-10 at {options.data}; give --data PATH")
        return
    dense, data = inputs(options)
    hidden = (
        "data", "work", "dense", "dense_note", "out", "workers", "sparsities", "seeds", "executor",
    )  # fmt: skip
    plain = {k: v for k, v in to_plain(options).items() if k not in hidden}
    for name in ("precision", "recalibrate"):  # the first records do not name them
        if getattr(options, name) == getattr(Options, name):
            del plain[name]
    gpu = options.device.startswith("cuda")
    done = read_records(options.out) if options.out.exists() else []
    known = [(r["configuration"], r["seed"]) for r in done]
    for sparsity in options.sparsities:
        for seed in options.seeds:
            configuration = {**plain, "sparsity": sparsity}
            if (configuration, seed) in known:
                continue
            out = options.work / f"soup-{sparsity}-{seed}"
            began = time.perf_counter()
            soup = pruning.soup(
                dense,
                data,
                sparsity=sparsity,
                phases=options.phases,
                epochs=options.epochs,
                members=options.members,
                compare=True,
                corrupt=options.corrupt,
                basin=1,
                seed=seed,
                device=options.device,
                executor=options.executor,
                workers=options.workers,
                checkpoint_every=0 if gpu else 20,
                graph=gpu,
                precision=options.precision,
                recalibrate=options.recalibrate,
                lr=options.lr,
                dense_epochs=options.dense_epochs,
                out=out,
                resume=out.exists(),
            )
            append_record(
                options.out,
                question=QUESTION,
                configuration=configuration,
                seed=seed,
                samples={
                    "rows": [to_plain(row) for row in soup.rows],
                    "barrier": soup.barrier,
                    "geometry": soup.geometry,
                },
                wall_seconds=time.perf_counter() - began,
                notes=f"JPEG-recompressed CIFAR-10. {options.dense_note}".strip(),
            )
            print(soup.table().as_text(), flush=True)
    for one in table(read_records(options.out)):
        print(one.as_text())


def table(records: list[dict[str, Any]]) -> list[Table]:
    """Mean and standard deviation over seeds: clean, corrupted, against the soup; geometry."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(json.dumps(record["configuration"], sort_keys=True), []).append(record)
    tables: list[Table] = []
    for runs in groups.values():
        c = runs[0]["configuration"]
        model, sparsity = c["model"], c["sparsity"]
        values: dict[str, list[dict[str, Any]]] = {}
        for run in runs:
            for row in run["samples"]["rows"]:
                values.setdefault(row["method"], []).append(row)
        soup = values["soup"]
        rows: list[list[str | float | int | None]] = []
        for method, found in values.items():
            gaps = [100 * (s["accuracy"] - f["accuracy"]) for s, f in zip(soup, found, strict=True)]
            rows.append(
                [
                    method,
                    round(100 * mean(f["sparsity"] for f in found), 2),
                    *_spread([100 * f["accuracy"] for f in found]),
                    *_spread([100 * f["corrupted"] for f in found]),
                    round(mean(f["ece"] for f in found), 4),
                    round(100 * mean(f["worst_class"] for f in found), 2),
                    found[0]["epochs"],
                    found[0]["inference"],
                    *([None, None] if method == "soup" else _spread(gaps)),
                ]
            )
        tables.append(
            Table(
                [
                    "method", "sparsity (%)", "clean, mean (%)", "st. dev.",
                    "corrupted, mean (%)", "st. dev.", "ECE", "worst class (%)",
                    "member-epochs", "networks", "soup minus it (clean)", "st. dev.",
                ],
                rows,
                f"{model} on {c['device']}, {c['train_size'] or 50_000:,} training images, dense "
                f"{c['dense_epochs']} epochs, {c['phases']} phases of "
                f"{_count(c['epochs'] // c['phases'], 'epoch')}, {c['members']} members, "
                f"{_count(len(runs), 'seed')}, {c.get('precision', 'float32')}; "
                f"clean: {c['test_size'] or 10_000:,} test images; "
                f"corrupted: 9 kinds x 5 severities on {c['corrupt']:,} test images. "
                f"{_verdict(values)}",
            )
        )  # fmt: skip
        tables.append(
            Table(
                [
                    "seed",
                    "barrier (points)",
                    "angle (degrees)",
                    "distance / norm",
                    "distance / moved",
                ],
                [
                    [
                        run["seed"],
                        round(100 * run["samples"]["barrier"], 2),
                        round(run["samples"]["geometry"]["angle"]["mean"], 2),
                        round(run["samples"]["geometry"]["distance_over_norm"], 4),
                        round(run["samples"]["geometry"]["distance_over_moved"], 4),
                    ]
                    for run in runs
                ],
                f"{model} at {100 * sparsity:g} %, {c['train_size'] or 50_000:,} training images: "
                "where the members of the last phase lie",
            )
        )
    return tables


def _verdict(values: dict[str, list[dict[str, Any]]]) -> str:
    """Whether the soup won among what costs as little to run and is chosen without test data."""
    clean = {m: 100 * mean(f["accuracy"] for f in found) for m, found in values.items()}
    apart = ("soup", "dense", "ensemble", "best candidate")
    best = max((m for m in clean if m not in apart), key=lambda m: clean[m])
    gap = clean["soup"] - clean[best]
    if gap > 0:
        return f"The soup is {gap:.2f} points above the best of the others, {best}."
    return f"The soup did not win: {best} is {-gap:.2f} points above it."


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _spread(values: list[float]) -> list[float | None]:
    return [round(mean(values), 2), round(stdev(values), 2) if len(values) > 1 else None]


if __name__ == "__main__":
    main()
