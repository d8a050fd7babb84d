"""Does merging m models need the memory of m models?

Run:      python benchmarks/pruning/merge_memory.py
          python benchmarks/pruning/merge_memory.py --values 32000000 --tensors 2
Expect:   peak memory above the idle process stays the same for 2 to 10 members and for tensors of
          any size, and is below one large tensor: pieces of 2^17 values in float64, and what the
          file readers take. Time grows with bytes read.
Fairness: the same files for both; each merge in a process of its own, whose peak resident memory is
          the system's own figure; the baseline is the usual `sum of state dicts / m` with all
          members loaded (as published soup code has it).
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from extremal.lab import Table, append_record, to_plain

HERE = Path(__file__).resolve().parent
QUESTION = "Does merging m models need the memory of m models?"

CHILD = """
import json, sys, time
import torch
torch.set_num_threads(1)
from pathlib import Path
from extremal import pruning, training
how, out, *files = sys.argv[1:]
def memory(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(x for x in lines if x.startswith(what)).split()[1])
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew, after all imports
idle = memory("VmRSS")
began = time.perf_counter()
if how == "streamed":
    pruning.merge(files, out=out)
elif how == "loaded":
    states = [training.load_tensors(f) for f in files]
    mean = {n: sum(s[n] for s in states) / len(states) for n in states[0]}
    training.save_tensors(out, mean)
seconds = time.perf_counter() - began
peak = memory("VmHWM")
print(json.dumps({"mib": (peak - idle) / 1024, "seconds": seconds}))
"""


@dataclass(frozen=True)
class Options:
    """What is merged."""

    values: int = 8_000_000
    """float32 values of a member, in `tensors` tensors."""
    tensors: int = 8
    members: tuple[int, ...] = (2, 4, 10)
    repeats: int = 3
    out: Path = HERE / "results" / "merge_memory.jsonl"


def main() -> None:
    """Merge in both ways and append a record."""
    import torch

    from extremal import training

    options = tyro.cli(Options)
    began = time.perf_counter()
    samples: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        files: list[Path] = []
        for number in range(max(options.members)):
            generator = torch.Generator().manual_seed(number)
            size = options.values // options.tensors
            state = {
                f"t{i}": torch.randn(size, generator=generator) for i in range(options.tensors)
            }
            files.append(Path(folder) / f"{number}.safetensors")
            training.save_tensors(files[-1], state)
        for m in options.members:
            for how in ("streamed", "loaded"):
                samples[f"{how} {m}"] = [
                    _child(how, folder, files[:m]) for _ in range(options.repeats)
                ]
    append_record(
        options.out,
        question=QUESTION,
        configuration={k: v for k, v in to_plain(options).items() if k != "out"},
        seed=0,
        samples=samples,
        wall_seconds=time.perf_counter() - began,
    )
    for one in table([{"samples": samples, "configuration": to_plain(options)}]):
        print(one.as_text())


def _child(how: str, folder: str, files: list[Path]) -> dict[str, float]:
    said = subprocess.run(
        [sys.executable, "-c", CHILD, how, f"{folder}/out.safetensors", *map(str, files)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return json.loads(said)


def table(records: list[dict[str, Any]]) -> list[Table]:
    """Peak memory above the idle process, and the least time; the last record of each size."""
    latest = {
        (r["configuration"]["values"], r["configuration"]["tensors"]): r["samples"] for r in records
    }
    tables: list[Table] = []
    for (values, tensors), samples in latest.items():
        model = values * 4 / 2**20
        rows: list[list[str | float | int | None]] = []
        for name, runs in samples.items():
            how, _, m = name.partition(" ")
            peak = max(run["mib"] for run in runs)
            least = round(min(run["seconds"] for run in runs), 2)
            sizes = (round(peak / model, 2), round(peak * tensors / model, 2))
            rows.append([int(m), how, round(peak, 1), *sizes, least])
        tables.append(
            Table(
                ["members", "way", "peak MiB", "in models", "in tensors", "least seconds"],
                rows,
                f"Members of {model:.0f} MiB in {tensors} equal tensors of "
                f"{model / tensors:.1f} MiB, float32",
            )
        )
    return tables


if __name__ == "__main__":
    main()
