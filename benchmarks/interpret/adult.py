"""What is a rule on at most k columns of UCI Adult worth, under every Morgana?

Run:      python benchmarks/interpret/adult.py --path ../shared/data/adult
Expect:   Purer answers raise soundness and lower completeness; the bound stays below the measured
          precision; the audit with k = 3 (298 sets of columns, exhaustive Morgana) takes
          at most 10 s.
Fairness: the test rows decide, balanced by undersampling; the split of the training rows into those
          for the look-up, the catalogue and the reference pool differs with the seed. Times are of
          the whole command, reading the files included, on one core.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from extremal.interpret import CertifyConfig, certify
from extremal.lab import Table, append_record, read_records

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """What is measured; settings that are recorded already are skipped."""

    path: Path = Path("../shared/data/adult")
    out: Path = HERE / "results" / "adult.jsonl"
    seeds: tuple[int, ...] = (0, 1, 2)
    most: tuple[int, ...] = (1, 2, 3)
    purities: tuple[float, ...] = (0.7, 0.8, 0.9, 0.95)


def summary(found: Any) -> dict[str, Any]:
    """Return the numbers of an audit that the tables show."""
    n = found.numbers
    return {
        "completeness": list(found.completeness),
        "soundness": list(found.soundness),
        "soundness_under": found.soundness_under(),
        "precision": found.precision,
        "bound": found.bound,
        "strict": n["bounds"]["strict"],
        "direct": None if n["direct"] is None else n["direct"]["lower"],
        "information": n["bounds"]["information"],
        "population_bound": n["population"]["per_class"],
        "population_precision": n["population"]["precision"],
        "decided": [sum(n["deployment"]["right"]), sum(n["deployment"]["wrong"])],
        "n": n["n"],
        "verdict": found.verdict,
        "audit_seconds": found.seconds["audit"],
    }


def main(options: Options) -> None:
    """Audit every setting and append a record for each."""
    done = read_records(options.out) if options.out.exists() else []
    known = [(r["configuration"], r["seed"]) for r in done]
    for seed in options.seeds:
        for target in ("sex", "income"):
            for k in options.most:
                for purity in options.purities:
                    what = {"target": target, "k": k, "purity": purity, "support": 20}
                    if (what, seed) in known:
                        continue
                    begun = time.perf_counter()
                    config = CertifyConfig(
                        data="adult", path=str(options.path), seed=seed,
                        **what,
                    )  # fmt: skip
                    found = certify(config=config)
                    seconds = time.perf_counter() - begun
                    append_record(
                        options.out,
                        question="What are rules on Adult worth under every Morgana?",
                        configuration=what,
                        seed=seed,
                        samples={**summary(found), "seconds": seconds},
                        wall_seconds=seconds,
                    )
                    print(what, seed, round(found.bound, 3), round(seconds, 1), "s", flush=True)


def mean(values: list[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def spread(values: list[float]) -> str:
    """Write a mean with the range over the seeds."""
    return f"{mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def table(records: list[dict[str, Any]]) -> Table:
    """Return a row a setting: the mean over the seeds, with the range."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for r in records:
        c = r["configuration"]
        groups.setdefault((c["target"], c["k"], c["purity"]), []).append(r["samples"])
    rows = [
        [
            target, k, purity, len(s),
            spread([min(x["completeness"]) for x in s]),
            spread([min(x["soundness"]) for x in s]),
            spread([x["precision"] for x in s]),
            spread([x["bound"] for x in s]),
            mean([x["population_bound"] for x in s]),
            mean([x["information"] for x in s]),
            mean([x["decided"][0] / sum(x["n"]) for x in s]),
            mean([x["decided"][1] / sum(x["n"]) for x in s]),
            mean([x["seconds"] for x in s]),
        ]
        for (target, k, purity), s in sorted(groups.items())
    ]  # fmt: skip
    return Table(
        [
            "target", "k", "purity", "seeds", "completeness", "soundness, exhaustive",
            "precision, measured", "bound, 95 %", "bound, rows as the world", "bits",
            "decided rightly", "wrongly", "seconds",
        ],
        rows,
        title="Look-up explained by rules; the lesser of the two classes, mean (range) of seeds",
    )  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options))
