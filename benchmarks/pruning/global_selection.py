"""How long does exact global selection over 25 million weights take, and how much memory?

Run:      python benchmarks/pruning/global_selection.py
          python benchmarks/pruning/global_selection.py --device cuda
Expect:   under 0.5 s on one CPU core, with no more extra memory than one copy of a tensor; under
          50 ms on a GPU.
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
    device: str = "cpu"
    only: Literal["", "ours", "global_unstructured", "topk"] = ""


def layers(options: Options) -> list[nn.Linear]:
    """The same layers in every process."""
    torch.manual_seed(0)
    return [
        nn.Linear(options.side, options.side, bias=False).to(options.device)
        for _ in range(options.tensors)
    ]


def peak_bytes(device: str) -> int:
    """The largest memory so far: of the GPU, or resident on the host."""
    if device != "cpu":
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def contest(options: Options) -> None:
    """Measure one contestant and print its samples."""
    torch.set_num_threads(1)
    made = layers(options)
    little = torch.randn(1000, device=options.device)
    pruning.select({"w": little}, 0.5)  # load what is loaded lazily
    torch.topk(little, 10)
    before = peak_bytes(options.device)
    seconds: list[float] = []
    kept = 0
    extra = 0
    for repeat in range(options.repeats + 1):
        if options.only == "global_unstructured":
            made = layers(options)
            before = max(before, peak_bytes(options.device)) if repeat == 0 else before
        peak_bytes(options.device)  # waits for the device
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
        if options.device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        if repeat == 0:
            extra = peak_bytes(options.device) - before
    print(json.dumps({"seconds": seconds[1:], "extra_bytes": extra, "kept": kept}))


def table(records: list[dict[str, Any]]) -> list[Table]:
    """The last record of each device."""
    last = {r["configuration"].get("device", "cpu"): r for r in records}
    return [_table(record) for record in last.values()]


def _table(record: dict[str, Any]) -> Table:
    about = record["configuration"]
    rows: list[list[str | float | int | None]] = [
        [
            name,
            len(found["seconds"]),
            round(1e3 * statistics.median(found["seconds"]), 1),
            round(1e3 * min(found["seconds"]), 1),
            round(1e3 * max(found["seconds"]), 1),
            round(found["extra_bytes"] / 2**20),
            found["kept"],
        ]
        for name, found in record["samples"].items()
    ]
    where = about.get("gpu", "one CPU thread")
    return Table(
        ["contestant", "n", "median, ms", "least", "most", "extra memory (MiB)", "weights kept"],
        rows,
        title=f"{about['tensors']} tensors of {about['side']} x {about['side']}, {where}",
    )


def main(options: Options) -> None:
    """Run all contestants and append a record."""
    if options.only:
        contest(options)
        return
    begun = time.perf_counter()
    samples: dict[str, dict[str, object]] = {}
    for name in CONTESTANTS:
        words = [
            f"--{k}={getattr(options, k)}"
            for k in ("tensors", "side", "sparsity", "repeats", "device")
        ]
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
    bar = 0.5 if options.device == "cpu" else 0.05
    about = {k: v for k, v in vars(options).items() if k not in ("out", "only")}
    if options.device != "cpu":
        about["gpu"] = torch.cuda.get_device_name()
    good = statistics.median(ours["seconds"]) < bar and ours["kept"] == samples["topk"]["kept"]
    append_record(
        options.out,
        question="How long does exact global selection over 25 million weights take?",
        configuration=about,
        seed=0,
        samples=samples,
        status="done" if good else "negative",
        wall_seconds=time.perf_counter() - begun,
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
