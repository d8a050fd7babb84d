"""How long do the known answers take, beside an exact and a float peer?

Run:      python benchmarks/sos/known_answers.py --peers PYTHON
Expect:   every verdict right and accepted by the checker; under 0.1 s each after warm-up (0.5 s
          with 100 variables); at least 20 times faster than the exact peer on the toys.
Fairness: one BLAS thread; each polynomial is solved five times after one unmeasured time, from the
          parsed polynomial to the exact proof; the median counts; CPU time is shown beside it,
          because the machine may be busy. Peers (alkahest, exact;
          SumOfSquares, float, with CVXOPT) run in an environment of their own on the same texts,
          imports not timed, at most 60 s each; PYTHON is that environment's interpreter.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when NumPy is loaded, below

import tyro

from extremal import sos
from extremal.lab import Table, append_record

HERE = Path(__file__).resolve().parent
_SPEC = importlib.util.spec_from_file_location(
    "known", HERE.parents[1] / "tests" / "sos" / "_known.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
known = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(known)
MEASURED = ("peers",)  # another package's answers and times
TOYS = ("8-quartic", "2-motzkin", "2-homogeneous", "5-robinson", "14", "1", "8-rosenbrock")


@dataclass(frozen=True)
class Options:
    """What is measured."""

    out: Path = HERE / "results" / "known_answers.jsonl"
    peers: str = ""
    """Python of an environment with alkahest and SumOfSquares; without it only ours is measured."""
    repeats: int = 5


def main(options: Options) -> None:
    """Measure every known answer and append one record."""
    begun = time.perf_counter()
    cases = {name: (entry[0], entry[1]) for name, entry in known.KNOWN.items()}
    cases["15-rosenbrock-100"] = (known.ROSENBROCK_100, "CERTIFIED_SOS")
    cases["15-broyden-100"] = (known.BROYDEN_100, "CERTIFIED_SOS or NUMERICAL_SOS")
    ours: dict[str, Any] = {}
    for name, (text, verdict) in cases.items():
        p = sos.parse(text)
        result = sos.certify(p)
        seconds: list[float] = []
        cpu: list[float] = []
        for _ in range(options.repeats):
            start, spent = time.perf_counter(), time.process_time()
            result = sos.certify(p)
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time() - spent)
        accepted = None if result.certificate is None else result.certificate.check().accepted
        ours[name] = {
            "verdict": result.verdict.name, "right": result.verdict.name in verdict,
            "accepted": accepted, "seconds": seconds, "cpu_seconds": cpu,
        }  # fmt: skip
        print(name, ours[name]["verdict"], statistics.median(seconds))
    peers: dict[str, Any] = {}
    for name in TOYS if options.peers else ():
        for package in ("alkahest", "SumOfSquares"):
            command = [options.peers, str(HERE / "_peers.py"), package, cases[name][0], "3"]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=60)
                found = (
                    json.loads(done.stdout.splitlines()[-1])
                    if done.returncode == 0
                    else {"said": f"failed: {done.stderr.strip()[-80:]}", "seconds": []}
                )
            except subprocess.TimeoutExpired:
                found = {"said": "over 60 s", "seconds": []}
            peers.setdefault(name, {})[package] = found
            print(name, package, found)
    append_record(
        options.out,
        question="How long do the known answers take?",
        configuration={
            "repeats": options.repeats,
            "with_peers": bool(options.peers),
            "threads": os.environ["OMP_NUM_THREADS"],
        },
        seed=0,
        samples={"ours": ours, "peers": peers},
        wall_seconds=time.perf_counter() - begun,
    )


def table(records: list[dict[str, Any]]) -> list[Table]:
    """Return the last record: all known answers, and the toys beside the peers."""
    samples = records[-1]["samples"]
    rows: list[list[Any]] = [
        [
            name, s["verdict"], "yes" if s["right"] else "NO",
            {True: "accepted", False: "REJECTED", None: None}[s["accepted"]],
            1000 * statistics.median(s["seconds"]),
            1000 * statistics.median(s["cpu_seconds"]) if "cpu_seconds" in s else None,
        ]
        for name, s in samples["ours"].items()
    ]  # fmt: skip
    tables = [
        Table(["known answer", "verdict", "right", "checker", "median ms", "median CPU ms"], rows)
    ]
    with_peers = [r for r in records if r["samples"]["peers"]]
    if with_peers:
        last = with_peers[-1]["samples"]
        toys: list[list[Any]] = []
        for name, found in last["peers"].items():
            own = statistics.median(last["ours"][name]["seconds"])
            cells: list[Any] = [name, last["ours"][name]["verdict"], 1000 * own]
            for package in ("alkahest", "SumOfSquares"):
                answer = found[package]
                seconds = answer["seconds"]
                middle = statistics.median(seconds) if seconds else None
                cells += [answer["said"], middle and 1000 * middle, middle and middle / own]
            toys.append(cells)
        tables.append(
            Table(
                ["toy", "ours", "ms", "alkahest", "ms", "times ours", "SumOfSquares", "ms",
                 "times ours"],
                toys,
            )
        )  # fmt: skip
    return tables


if __name__ == "__main__":
    sys.setrecursionlimit(10_000)
    main(tyro.cli(Options))
