"""How fast are the exported sparse linear layers beside torch's dense ones on a CPU?

Run:      python benchmarks/compression/linear_speed.py
Expect:   at 95 % zeros at least 2 times the dense layer for widths 2048 to 4096 at batches 1 to 32
          (1024 from batch 8), at 98 % at least 4 times; parity somewhere below 90 %.
Fairness: float32, square layers with bias, random masks, one thread, dense (torch, as it is and
          compiled), torch's own sparse CSR product (MKL) and ours run in turn; all samples kept,
          medians compared. Compiled layers call the same matrix product; the better of the two
          dense times counts.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import tyro
from torch import nn

from extremal.compression import SparseLinear
from extremal.compression._sparse_linear import compiled
from extremal.lab import Table, append_record, read_records

HERE = Path(__file__).resolve().parent
QUESTION = "How fast are the exported sparse linear layers beside torch's dense ones on a CPU?"


@dataclass(frozen=True)
class Options:
    """What is timed."""

    widths: tuple[int, ...] = (1024, 2048, 4096)
    sparsities: tuple[float, ...] = (0.8, 0.9, 0.95, 0.98)
    batches: tuple[int, ...] = (1, 8, 32)
    repeats: int = 15
    compile: bool = True
    threads: int = 1
    out: Path = HERE / "results" / "linear_speed.jsonl"


def main() -> None:
    """Time every layer and print the table."""
    options = tyro.cli(Options)
    torch.set_num_threads(options.threads)
    for width in options.widths:
        torch.manual_seed(0)
        whole = nn.Linear(width, width).requires_grad_(False)
        fast = compiled(whole) if options.compile else None
        for sparsity in options.sparsities:
            layer = nn.Linear(width, width).requires_grad_(False)
            layer.weight[torch.rand(width, width) < sparsity] = 0
            sparse = SparseLinear(layer)
            csr = layer.weight.to_sparse_csr()
            contenders: dict[str, Any] = {
                "dense": layer,
                "ours": sparse,
                "torch CSR": lambda x, csr=csr, layer=layer: (csr @ x.T).T + layer.bias,
            }
            if fast is not None:
                contenders["dense, compiled"] = fast
            for batch in options.batches:
                x = torch.randn(batch, width)
                samples: dict[str, list[float]] = {name: [] for name in contenders}
                begun = time.perf_counter()
                with torch.inference_mode():
                    for number in range(options.repeats + 3):
                        for name, run in contenders.items():
                            start = time.perf_counter()
                            run(x)
                            if number >= 3:
                                samples[name].append(time.perf_counter() - start)
                    error = float((sparse(x) - layer(x)).abs().max())
                append_record(
                    options.out,
                    question=QUESTION,
                    configuration={
                        "width": width, "sparsity": sparsity, "batch": batch,
                        "threads": options.threads, "largest difference": error,
                    },
                    seed=0,
                    samples=samples,
                    wall_seconds=time.perf_counter() - begun,
                )  # fmt: skip
    print(table(read_records(options.out)).as_text())


def table(records: list[dict[str, Any]]) -> Table:
    """Medians of the last record of each layer and batch, and how many times faster ours is."""
    last = {
        tuple(r["configuration"][k] for k in ("width", "sparsity", "batch")): r for r in records
    }
    rows: list[list[str | float | int | None]] = []
    for (width, sparsity, batch), record in sorted(last.items()):
        times = {name: 1000 * median(values) for name, values in record["samples"].items()}
        dense = min(times[n] for n in ("dense", "dense, compiled") if n in times)
        rows.append(
            [
                width, f"{sparsity:.0%}", batch, round(times["dense"], 3),
                round(times["dense, compiled"], 3) if "dense, compiled" in times else None,
                round(times["torch CSR"], 3), round(times["ours"], 3),
                round(dense / times["ours"], 2),
            ]
        )  # fmt: skip
    threads = records[-1]["configuration"]["threads"]
    return Table(
        ["width", "zeros", "batch", "dense ms", "compiled ms", "torch CSR ms", "ours ms", "times"],
        rows,
        f"Median times of a square linear layer, {threads} thread, float32; times: the better "
        "dense one over ours",
    )


if __name__ == "__main__":
    main()
