"""Does `minimize` need fewer passes and less time than copt for the same suboptimality?

Run:      python benchmarks/frankwolfe/minimize_beside_copt.py --data FOLDER --copt SITE
Expect:   pairwise steps with exact line search first in both columns; with vanilla steps ours no
          more passes than copt's backtracking.
Fairness: logistic regression over an L1 ball, float64, one thread, the same start (a vertex), the
          same data in the same form (dense, standardised, for breast cancer; sparse for Adult). A
          pass is one evaluation of value and gradient over all examples, as each solver asks for
          them, line search included; ours keeps the scores, so that its line search needs none.
          Solvers take turns, three repeats, the least time counts; iterates do not depend on them.
          The least value is known to 1e-12 from a certified run. Time that goes into recording is
          not counted for either.
Note:     copt 0.9.2 is imported from the folder of a second environment, because its pins clash.
          chop (chop-pytorch 0.0.3.1) imports torchvision before its solvers, which this project
          does not have; it is not compared.
"""

import lzma
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import tyro

from extremal import frankwolfe as fw
from extremal.lab import Table, append_record, read_records, to_plain

HERE = Path(__file__).resolve().parent
QUESTION = "Does minimize need fewer passes and less time than copt?"
GOALS = (1e-2, 1e-4, 1e-6, 1e-8)


@dataclass(frozen=True)
class Options:
    """What is compared."""

    data: Path = Path("../shared/data/adult")
    """Folder with adult.data.xz."""
    copt: Path | None = None
    """Folder that copt is imported from; by default where Python looks anyway."""
    passes: int = 300
    repeats: int = 3
    out: Path = HERE / "results" / "minimize_beside_copt.jsonl"


def breast_cancer(_: Options) -> tuple[Any, np.ndarray, float]:
    """Standardised features, labels 0 and 1, the radius."""
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    return (X - X.mean(0)) / X.std(0), y.astype(float), 5.0


def adult(options: Options) -> tuple[Any, np.ndarray, float]:
    """Numbers standardised, one column for each category, labels 0 and 1, the radius."""
    with lzma.open(options.data / "adult.data.xz", "rt") as file:
        lines = file.read().splitlines()
    rows = [[cell.strip() for cell in line.split(",")] for line in lines[1:] if line.strip()]
    columns = list(zip(*rows, strict=True))
    parts: list[Any] = []
    for column in columns[:-1]:
        if all(cell.lstrip("-").isdigit() for cell in column):
            values = np.array(column, dtype=float)
            parts.append(sp.csr_array(((values - values.mean()) / values.std())[:, None]))
        else:
            kinds = sorted(set(column))
            at = np.array([kinds.index(cell) for cell in column])
            ones = np.ones(len(at))
            parts.append(sp.csr_array((ones, (np.arange(len(at)), at)), (len(at), len(kinds))))
    y = np.array([">50K" in cell for cell in columns[-1]], dtype=float)
    return sp.csr_array(sp.hstack(parts)), y, 10.0


PROBLEMS: dict[str, Callable[[Options], tuple[Any, np.ndarray, float]]] = {
    "breast cancer": breast_cancer,
    "Adult": adult,
}


class Watch:
    """Passes, seconds and points of a run; the clock stands while points are stored."""

    def __init__(self) -> None:
        """Start the clock."""
        self.passes, self.seconds, self.points = list[float](), list[float](), list[Any]()
        self._spent, self._since = 0.0, time.perf_counter()

    def see(self, passes: float, x: np.ndarray) -> None:
        """Store a point."""
        self._spent += time.perf_counter() - self._since
        self.passes.append(float(passes))
        self.seconds.append(self._spent)
        self.points.append(x.copy())
        self._since = time.perf_counter()


class Counted:
    """An objective that counts how often it is asked."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """Wrap a function."""
        self.function, self.calls = function, 0

    def __call__(self, x: np.ndarray) -> Any:
        """Ask."""
        self.calls += 1
        return self.function(x)


def ours(method: str, X: Any, y: np.ndarray, radius: float, options: Options) -> Watch:
    """Run `minimize`; its trace holds passes, times and values."""
    start = np.zeros(X.shape[1])
    start[0] = radius
    watch = Watch()
    found = fw.minimize(
        fw.LogisticLoss(X, y),
        fw.L1Ball(radius),
        method=method,
        start=start,
        gap=1e-12,
        iterations=options.passes,
    )
    watch.passes = [row.gradients for row in found.trace]
    watch.seconds = [row.seconds for row in found.trace]
    watch.points = [row.value for row in found.trace]
    return watch


def copts(variant: str, X: Any, y: np.ndarray, radius: float, options: Options) -> Watch:
    """Run copt."""
    import copt
    import copt.constraint
    import copt.loss

    loss = copt.loss.LogLoss(X, y)
    ball = copt.constraint.L1Ball(radius)
    start = np.zeros(X.shape[1])
    start[0] = radius
    asked = Counted(loss.f_grad)
    watch = Watch()

    def see(state: dict[str, Any]) -> bool:
        watch.see(asked.calls, state["x"])
        return asked.calls < options.passes

    if variant == "projected gradient":
        copt.minimize_proximal_gradient(
            asked, start, ball.prox, jac=True, max_iter=options.passes, tol=0.0, callback=see,
            accelerated=True,
        )  # fmt: skip
        return watch
    pairwise = variant == "pairwise"
    copt.minimize_frank_wolfe(
        asked,
        start,
        ball.lmo_pairwise if pairwise else ball.lmo,
        x0_rep=(1.0, 0) if pairwise else None,
        variant=variant,
        jac=True,
        step="backtracking",
        lipschitz=loss.lipschitz,
        max_iter=options.passes,
        tol=0.0,
        callback=see,
    )
    return watch


SOLVERS: dict[str, tuple[Callable[..., Watch], str]] = {
    "extremal, vanilla": (ours, "frank-wolfe"),
    "extremal, away": (ours, "away"),
    "extremal, pairwise": (ours, "pairwise"),
    "copt, vanilla": (copts, "vanilla"),
    "copt, pairwise": (copts, "pairwise"),
    "copt, accelerated projected gradient": (copts, "projected gradient"),
}


def compare(problem: str, options: Options) -> None:
    """Run all solvers on one problem and append a record for each."""
    X, y, radius = PROBLEMS[problem](options)
    objective = fw.LogisticLoss(X, y)
    best = fw.minimize(objective, fw.L1Ball(radius), gap=1e-12, iterations=20_000)
    least = best.value - best.gap
    found: dict[str, list[Watch]] = {name: [] for name in SOLVERS}
    for _ in range(options.repeats):
        for name, (run, variant) in SOLVERS.items():
            found[name].append(run(variant, X, y, radius, options))
    for name, watches in found.items():
        values = [p if isinstance(p, float) else objective(p)[0] for p in watches[0].points]
        seconds = np.min([w.seconds for w in watches], axis=0)
        plain = to_plain(options)
        del plain["data"], plain["out"], plain["copt"]
        append_record(
            options.out,
            question=QUESTION,
            configuration={
                **plain,
                "problem": problem,
                "solver": name,
                "radius": radius,
                "examples": X.shape[0],
                "features": X.shape[1],
            },
            seed=0,
            samples={
                "passes": watches[0].passes,
                "seconds": [float(s) for s in seconds],
                "above": [max(float(v) - least, 0.0) for v in values],
                "least": least,
                "least_gap": best.gap,
            },
            wall_seconds=float(sum(w.seconds[-1] for w in watches)),
            notes="copt 0.9.2" if name.startswith("copt") else "",
        )


def table(records: list[dict[str, Any]]) -> list[Table]:
    """Passes and milliseconds to each suboptimality, from the last record of each solver."""
    tables: list[Table] = []
    for problem in PROBLEMS:
        last = {
            r["configuration"]["solver"]: r
            for r in records
            if r["configuration"]["problem"] == problem
        }
        if not last:
            continue
        rows: list[list[str | float | int | None]] = []
        for name, record in last.items():
            s = record["samples"]
            row: list[str | float | int | None] = [name]
            for goal in GOALS:
                at = next((i for i, v in enumerate(s["above"]) if v <= goal), None)
                row.append(
                    "-" if at is None else f"{s['passes'][at]:.0f} / {1e3 * s['seconds'][at]:.1f}"
                )
            row.append(f"{min(s['above']):.1e}")
            rows.append(row)
        about = next(iter(last.values()))["configuration"]
        columns = ["solver", *(f"{g:.0e}: passes / ms" for g in GOALS)]
        columns.append(f"after {about['passes']} passes")
        title = f"{problem}: {about['examples']:,} examples, {about['features']} features, L1 "
        tables.append(Table(columns, rows, title=title + f"radius {about['radius']:g}"))
    return tables


def main() -> None:
    """Compare on every problem whose data are there."""
    options = tyro.cli(Options)
    if options.copt is not None:
        sys.path.append(str(options.copt))
    for problem in PROBLEMS:
        if problem == "Adult" and not options.data.exists():
            print(f"left out: there is no Adult at {options.data}; give --data FOLDER")
            continue
        compare(problem, options)
    for one in table(read_records(options.out)):
        print(one.as_text())


if __name__ == "__main__":
    main()
