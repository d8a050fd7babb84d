"""On a real small Llama: which masks, updates and repairs lose least?

Run:      python benchmarks/llm/babyllama.py --model FOLDER (with samples.txt in it); with
          --minutes N it stops after about so long, and the next call does what is not recorded yet;
          with --shards N --shard I several processes share the work, each with an --out of its own
Expect:   least squares below SparseGPT on its own mask; after repair full <= mask_lora < norms only
          < none; sparse_to_dense the best target of a reconstruction.
Fairness: one model; the first 80 % of its samples calibrate and retrain, the last 20 % evaluate;
          windows of 256, the model's context; the same windows for every method of a seed; rates
          are one per kind of training, chosen once and listed in the package; seeds differ in
          calibration windows, random masks and adapters. Differences are paired by window.
Note:     the model ties its embeddings, so the head is not trained. At 70 % orders are claimed only
          after repair.
"""

import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import tyro

from extremal.lab import Table, append_record, read_records, to_plain
from extremal.llm import LLMPruned

HERE = Path(__file__).resolve().parent
QUESTION = "On a real small Llama: which masks, updates and repairs lose least?"
ONE_SHOT = (
    ("random", "none"), ("magnitude", "none"), ("wanda", "none"), ("wanda/tensor", "none"),
    ("ria", "none"), ("owl", "none"), ("dsnot", "none"), ("wanda", "sparsegpt"), ("wanda", "ls"),
    ("wanda", "admm"), ("sparsegpt", "none"), ("sparsegpt", "ls"), ("admm", "none"),
    ("alps", "none"), ("alps", "ls"),
)  # fmt: skip
RETRAINS = (
    ("norm",), ("lora_prune",), ("mask_lora",), ("scale_lora",), ("spp",), ("hira",),
    ("mask_lora", "norm"), ("full",),
)  # fmt: skip
RECONSTRUCTIONS = (
    ("sparse", "block", "full"), ("dense", "block", "full"), ("sparse_to_dense", "block", "full"),
    ("sparse_to_dense", "attn_mlp", "full"), ("sparse_to_dense", "2", "full"),
    ("sparse_to_dense", "matrix", "full"), ("sparse_to_dense", "block", "mask_lora"),
    ("sparse_to_dense", "block", "norm"),
)  # fmt: skip
ORDERED = (*RETRAINS[:1], RETRAINS[2], RETRAINS[-1], *RECONSTRUCTIONS[:3], RECONSTRUCTIONS[5])


@dataclass(frozen=True)
class Options:
    """What is compared."""

    model: Path = Path("../shared/data/babyllama")
    """The folder of the model, with samples.txt and tinystories_excerpt.txt in it."""
    patterns: tuple[str, ...] = ("0.6", "2:4", "0.7", "0.5")
    repaired: tuple[str, ...] = ("0.6", "2:4", "0.7")
    """Patterns at which repairs are compared, on Wanda's masks."""
    parts: tuple[str, ...] = ("one-shot", "retrain", "reconstruct")
    seeds: tuple[int, ...] = (0, 1, 2)
    samples: int = 64
    """Calibration windows."""
    steps: int = 60
    """Of a retraining, of 8 windows each."""
    minutes: float | None = None
    """Start no further job after so long."""
    shards: int = 1
    """Processes that share the jobs."""
    shard: int = 0
    """Which of them this is."""
    known: tuple[Path, ...] = ()
    """Further files of records; what they hold is not done again."""
    windows: int = 0
    """Evaluate on so many windows of the last 20 %; 0 takes all of them."""
    work: Path = Path("runs/babyllama")
    out: Path = HERE / "results" / "babyllama.jsonl"


@dataclass(frozen=True)
class Job:
    """One model to make and to measure."""

    part: str
    pattern: str
    method: str
    seed: int
    prune: dict[str, Any] = field(default_factory=dict[str, Any])
    retrain: dict[str, Any] = field(default_factory=dict[str, Any])


def jobs_of(options: Options) -> list[Job]:
    """Every job: pattern by pattern, what the orders need first, seed by seed."""
    first: list[Job] = []
    later: list[Job] = []
    wanda = {"criterion": "wanda"}
    for pattern in options.patterns:
        for seed in options.seeds:
            for criterion, update in ONE_SHOT if "one-shot" in options.parts else ():
                name, _, group = criterion.partition("/")
                if name == "owl" and ":" in pattern:
                    continue
                given = {"criterion": name, "update": update, "group": group or "default"}
                label = criterion if update == "none" else f"{criterion} + {update}"
                first.append(Job("one-shot", pattern, label, seed, given))
            if pattern not in options.repaired:
                continue
            for train in RETRAINS if "retrain" in options.parts else ():
                job = Job("retrain", pattern, " + ".join(train), seed, wanda, {"train": train})
                (first if train in ORDERED else later).append(job)
            for how in RECONSTRUCTIONS if "reconstruct" in options.parts else ():
                targets, granularity, what = how
                given = {
                    **wanda, "repair": "reconstruct", "targets": targets,
                    "granularity": granularity, "train": (what,), "epochs": 3,
                }  # fmt: skip
                job = Job("reconstruct", pattern, ", ".join(how), seed, given)
                (first if how in ORDERED else later).append(job)
    return first + later


class Bench:
    """The split text and the tokens to evaluate on."""

    def __init__(self, options: Options) -> None:
        """Split the text at 80 %, at the end of a story."""
        from extremal.llm._text import tokenizer_of, tokens_of

        self.options = options
        text = (options.model / "samples.txt").read_text()
        cut = text.index("\n\n", int(0.8 * len(text)))
        options.work.mkdir(parents=True, exist_ok=True)
        self.pruned: dict[str, LLMPruned] = {}
        self.train = options.work / "train.txt"
        self.train.write_text(text[:cut])
        tokenizer = tokenizer_of(options.model)
        self.tokens = tokens_of(tokenizer, text[cut:])
        if options.windows:
            self.tokens = self.tokens[: options.windows * 256]
        self.real = tokens_of(tokenizer, (options.model / "tinystories_excerpt.txt").read_text())

    def losses(self, folder: Path) -> dict[str, list[float]]:
        """Loss of every window, of both texts."""
        import torch

        from extremal.llm._evaluate import window_losses
        from extremal.llm._load import load_model

        model = load_model(folder, torch.device("cpu"))
        return {
            "held out": window_losses(model, self.tokens, 256),
            "excerpt": window_losses(model, self.real, 256),
        }

    def run(self, job: Job) -> None:
        """Make, measure, record, remove."""
        from extremal import llm

        options = self.options
        begun = time.perf_counter()
        out = options.work / ("parent" if job.retrain else "pruned")
        key = f"{out} {job.pattern} {job.seed} {job.prune}"
        if key not in self.pruned:
            self.pruned = {  # the last one only: its folder is written over
                key: llm.prune(
                    options.model, out=out, force=out.exists(), pattern=job.pattern,
                    seed=job.seed, calibration=str(self.train), samples=options.samples,
                    threads=1, **job.prune,
                )
            }  # fmt: skip
        result = self.pruned[key]
        samples: dict[str, Any] = {
            "sparsity": result.sparsity,
            "relative layer errors": [x.error_updated for x in result.layers],
            "prune seconds": sum(result.seconds.values()),
        }
        folder = out
        if job.retrain:
            folder = options.work / "retrained"
            trained = llm.retrain(
                out, out=folder, force=folder.exists(), text=str(self.train),
                steps=options.steps, seed=job.seed, threads=1, **job.retrain,
            )  # fmt: skip
            samples["trained parameters"] = trained.trained
            samples["retrain seconds"] = trained.seconds
        samples |= self.losses(folder)
        self.record(job, samples, time.perf_counter() - begun)

    def dense(self) -> Job:
        """The model itself, as a job."""
        return Job("dense", "0", "dense", 0)

    def record(self, job: Job, samples: dict[str, Any], seconds: float) -> None:
        """Append a record."""
        append_record(
            self.options.out,
            question=QUESTION,
            configuration=self.configuration(job),
            seed=job.seed,
            samples=samples,
            wall_seconds=seconds,
            notes="one thread",
        )

    def configuration(self, job: Job) -> dict[str, Any]:
        """What decides the result."""
        plain = to_plain(replace(job, seed=0))
        del plain["seed"]
        about = {"samples": self.options.samples, "windows": len(self.tokens) // 256}
        return {**plain, **about, "steps": self.options.steps if job.retrain else 0}


def table(records: list[dict[str, Any]]) -> list[Table]:
    """For each part: log-perplexity above the dense model's, by method and pattern."""
    dense = {
        r["configuration"]["windows"]: r["samples"]
        for r in records
        if r["configuration"]["part"] == "dense"
    }
    tables: list[Table] = []
    titles = {
        "one-shot": "Masks and updates, no repair",
        "retrain": "PERP retraining of Wanda's masks",
        "reconstruct": "Reconstruction of Wanda's masks (targets, granularity, trained)",
    }
    for part, title in titles.items():
        cells: dict[tuple[str, str], dict[int, tuple[float, float]]] = {}
        for r in records:
            about = r["configuration"]
            if about["part"] != part or r["status"] != "done":
                continue
            base = dense[about["windows"]]
            rise = [
                mean(a - b for a, b in zip(r["samples"][k], base[k], strict=True))
                for k in ("held out", "excerpt")
            ]
            cells.setdefault((about["pattern"], about["method"]), {})[r["seed"]] = (
                rise[0],
                rise[1],
            )
        rows: list[list[str | int | float | None]] = []
        for (pattern, method), values in sorted(
            cells.items(), key=lambda c: (c[0][0], mean(v[0] for v in c[1].values()))
        ):
            own = [v[0] for v in values.values()]
            rows.append(
                [
                    pattern,
                    method,
                    len(own),
                    round(mean(own), 4),
                    round(stdev(own), 4) if len(own) > 1 else None,
                    round(mean(v[1] for v in values.values()), 3),
                ]
            )
        if rows:
            tables.append(
                Table(
                    ["pattern", "method", "seeds", "rise of log-perplexity, held out",
                     "st. dev. of seeds", "rise, excerpt"],
                    rows,
                    title,
                )
            )  # fmt: skip
    tables.append(orders(records))
    return tables


def orders(records: list[dict[str, Any]]) -> Table:
    """The orders that the literature leads one to expect, checked seed by seed."""
    found: dict[tuple[str, str], dict[tuple[str, int], float]] = {}
    for r in records:
        about = r["configuration"]
        if r["status"] == "done" and about["part"] != "dense":
            found.setdefault((about["part"], about["method"]), {})[about["pattern"], r["seed"]] = (
                mean(r["samples"]["held out"])
            )
    full = "block, full"
    checks = [
        ("full <= mask_lora", ("retrain", "full"), ("retrain", "mask_lora")),
        ("mask_lora < norm", ("retrain", "mask_lora"), ("retrain", "norm")),
        ("norm < none", ("retrain", "norm"), ("one-shot", "wanda")),
        ("ls < sparsegpt, its mask", ("one-shot", "sparsegpt + ls"), ("one-shot", "sparsegpt")),
        ("ls < none, Wanda's mask", ("one-shot", "wanda + ls"), ("one-shot", "wanda")),
        ("sparse_to_dense < sparse", ("reconstruct", f"sparse_to_dense, {full}"),
         ("reconstruct", f"sparse, {full}")),
        ("sparse_to_dense < dense", ("reconstruct", f"sparse_to_dense, {full}"),
         ("reconstruct", f"dense, {full}")),
        ("block < matrix", ("reconstruct", f"sparse_to_dense, {full}"),
         ("reconstruct", "sparse_to_dense, matrix, full")),
    ]  # fmt: skip
    rows: list[list[str | int | float | None]] = []
    for name, one, two in checks:
        a, b = found.get(one, {}), found.get(two, {})
        for pattern in sorted({p for p, _ in a.keys() & b.keys()}):
            steps = [b[key] - a[key] for key in a.keys() & b.keys() if key[0] == pattern]
            held = sum(s >= 0 for s in steps)
            rows.append([name, pattern, f"{held} of {len(steps)}", round(mean(steps), 4)])
    return Table(
        ["order", "pattern", "holds in seeds", "mean difference of log-perplexity"],
        rows,
        "Orders expected, and where they hold",
    )


def main() -> None:
    """Run what is not yet recorded, then print the tables."""
    options = tyro.cli(Options)
    if not options.model.is_dir():
        print(f"{options.model} is not there; give --model FOLDER. Nothing is measured.")
        return
    bench = Bench(options)
    files = [f for f in (options.out, *options.known) if f.exists()]
    done = [r for file in files for r in read_records(file)]
    known = [(r["configuration"], r["seed"]) for r in done if r["status"] == "done"]
    if (bench.configuration(bench.dense()), 0) not in known:
        begun = time.perf_counter()
        bench.record(bench.dense(), bench.losses(options.model), time.perf_counter() - begun)
    jobs = [j for j in jobs_of(options) if (bench.configuration(j), j.seed) not in known]
    jobs = jobs[options.shard :: options.shards]
    begun = time.perf_counter()
    for i, job in enumerate(jobs):
        if options.minutes is not None and time.perf_counter() - begun > 60 * options.minutes:
            break
        bench.run(job)
        print(f"{i + 1}/{len(jobs)}: {job.part} {job.pattern} {job.method} {job.seed}", flush=True)
    shutil.rmtree(options.work, ignore_errors=True)
    files = [f for f in (*options.known, options.out) if f.exists()]
    if options.shards == 1:
        for one in table([r for file in files for r in read_records(file)]):
            print(one.as_text(), end="\n\n")


if __name__ == "__main__":
    main()
