"""How long does exact global selection over 25 million weights take, and how much memory?

Run:      python benchmarks/pruning/global_selection.py
Expect:   under 0.5 s on one CPU core, with no more extra memory than one copy of a tensor.
Fairness: the same weights in the same tensors, one thread, each contestant in a process of its
          own (so that peaks of memory do not mix), first call not counted, all samples kept. The
          peers: torch.nn.utils.prune.global_unstructured as users call it, and the bare
          torch.topk over the joined magnitudes that it rests on.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from torch import nn
from torch.nn.utils import prune as torch_prune

from extremal import pruning
from extremal.lab import Table, append_record

CONTESTANTS = ("ours", "global_unstructured", "topk")

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """How to measure."""

    out: Path = HERE / "results" / "global_selection.jsonl"
    tensors: int = 25
    side: int = 1000
    sparsity: float = 0.9
    repeats: int = 5
    only: Literal["", "ours", "global_unstructured", "topk"] = ""


def layers(options: Options) -> list[nn.Linear]:
    """The same layers in every process."""
    torch.manual_seed(0)
    return [nn.Linear(options.side, options.side, bias=False) for _ in range(options.tensors)]


def peak_bytes() -> int:
    """The largest resident memory so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def contest(options: Options) -> None:
    """Measure one contestant and print its samples."""
    torch.set_num_threads(1)
    made = layers(options)
    pruning.select({"w": torch.randn(1000)}, 0.5)  # load what is loaded lazily
    torch.topk(torch.randn(1000), 10)
    before = peak_bytes()
    seconds: list[float] = []
    kept = 0
    extra = 0
    for repeat in range(options.repeats + 1):
        if options.only == "global_unstructured":
            made = layers(options)
            before = max(before, peak_bytes()) if repeat == 0 else before
        start = time.perf_counter()
        if options.only == "ours":
            masks = pruning.select(
                {str(i): layer.weight for i, layer in enumerate(made)}, options.sparsity
            )
            kept = masks.size - masks.pruned
        elif options.only == "topk":
            joined = torch.cat([layer.weight.detach().abs().flatten() for layer in made])
            count = round(options.sparsity * joined.numel())
            chosen = torch.topk(joined, count, largest=False).indices
            kept = joined.numel() - len(chosen)
        else:
            torch_prune.global_unstructured(
                [(layer, "weight") for layer in made],
                pruning_method=torch_prune.L1Unstructured,
                amount=options.sparsity,
            )
            kept = sum(int(layer.weight_mask.sum()) for layer in made)
        seconds.append(time.perf_counter() - start)
        if repeat == 0:
            extra = peak_bytes() - before
    print(json.dumps({"seconds": seconds[1:], "extra_bytes": extra, "kept": kept}))


def table(records: list[dict[str, Any]]) -> Table:
    """The last record."""
    record = records[-1]
    about = record["configuration"]
    rows: list[list[str | float | int | None]] = [
        [
            name,
            len(found["seconds"]),
            round(statistics.median(found["seconds"]), 3),
            round(min(found["seconds"]), 3),
            round(max(found["seconds"]), 3),
            round(found["extra_bytes"] / 2**20),
            found["kept"],
        ]
        for name, found in record["samples"].items()
    ]
    return Table(
        ["contestant", "n", "median (s)", "least", "most", "extra memory (MiB)", "weights kept"],
        rows,
        title=f"{about['tensors']} tensors of {about['side']} x {about['side']}, one thread",
    )


def main(options: Options) -> None:
    """Run all contestants and append a record."""
    if options.only:
        contest(options)
        return
    begun = time.perf_counter()
    samples: dict[str, dict[str, object]] = {}
    for name in CONTESTANTS:
        words = [f"--{k}={getattr(options, k)}" for k in ("tensors", "side", "sparsity", "repeats")]
        answer = subprocess.run(
            [sys.executable, __file__, *words, f"--only={name}"],
            capture_output=True,
            text=True,
            check=True,
        )
        samples[name] = found = json.loads(answer.stdout.splitlines()[-1])
        print(
            f"{name}: {statistics.median(found['seconds']):.3f} s, "
            f"{found['extra_bytes'] / 2**20:.0f} MiB extra, {found['kept']} kept"
        )
    ours = samples["ours"]
    good = statistics.median(ours["seconds"]) < 0.5 and ours["kept"] == samples["topk"]["kept"]
    append_record(
        options.out,
        question="How long does exact global selection over 25 million weights take?",
        configuration={k: v for k, v in vars(options).items() if k not in ("out", "only")},
        seed=0,
        samples=samples,
        status="done" if good else "negative",
        wall_seconds=time.perf_counter() - begun,
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
