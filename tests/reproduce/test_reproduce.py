"""A row of a table is found, run again with its record's options, and compared."""

import json

import pytest

from extremal import cli
from extremal.lab import ExtremalError
from extremal.reproduce import compare, reproduce

SCRIPT = '''
"""How many primes are below n?"""
import json, sys
from dataclasses import dataclass
from pathlib import Path

from extremal.lab import Table, append_record


@dataclass(frozen=True)
class Options:
    sizes: tuple[int, ...] = (10, 100)
    methods: tuple[str, ...] = ("trial", "sieve")
    out: Path = Path("unused")


def main(options: Options) -> None:
    for size in options.sizes:
        for method in options.methods:
            count = sum(all(n % k for k in range(2, n)) for n in range(2, size))
            append_record(options.out, question="How many?", seed=None, wall_seconds=0.5,
                          configuration={"size": size, "method": method, "limit": size},
                          samples={"primes": count, "seconds": [0.5, 0.25]})


def table(records):
    return Table(["method", "size", "primes"],
                 [[r["configuration"]["method"], str(r["configuration"]["size"]),
                   r["samples"]["primes"]] for r in records])


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Options))
'''


@pytest.fixture
def benchmarks(tmp_path):
    area = tmp_path / "benchmarks" / "numbers"
    (area / "results").mkdir(parents=True)
    (area / "primes.py").write_text(SCRIPT)
    rows = [("trial", 10, 4), ("sieve", 10, 4), ("trial", 100, 25), ("sieve", 100, 26)]  # 26: wrong
    for method, size, count in rows:
        record = {
            "question": "How many?",
            "configuration": {"size": size, "method": method, "limit": size},
            "seed": None,
            "samples": {"primes": count, "seconds": [0.4, 0.3]},
            "status": "done",
        }
        with (area / "results" / "primes.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
    return tmp_path / "benchmarks"


def test_rows_are_listed(benchmarks):
    found = reproduce("numbers/primes", benchmarks=benchmarks)
    assert found.status == "listed"
    assert found.rows == ("trial · 10", "sieve · 10", "trial · 100", "sieve · 100")


def test_a_true_row_agrees_and_a_wrong_one_does_not(benchmarks):
    good = reproduce("numbers/primes", row="trial 100", benchmarks=benchmarks)
    assert (good.status, good.exit_code) == ("agrees", 0)
    assert good.now["configuration"] == good.recorded["configuration"]
    bad = reproduce("numbers/primes", row="Sieve · 100", benchmarks=benchmarks)
    assert (bad.status, bad.exit_code) == ("differs", 1)
    assert [(s.name, s.recorded, s.now) for s in bad.samples if not s.agrees] == [
        ("primes", 26, 25)
    ]


def test_measurements_are_compared_by_their_least_and_a_factor():
    old, new = {"wall_seconds": [9.0, 1.0]}, {"wall_seconds": [2.5, 3.0, 8.0]}
    (sample,) = compare(old, new, factor=3.0)
    assert (sample.measured, sample.agrees) == (True, True)
    assert not compare(old, new, factor=2.0)[0].agrees


@pytest.mark.parametrize(
    ("old", "new", "agrees"),
    [(1, 1, True), (1, 2, False), (0.1, 0.1 + 1e-9, True), (0.1, 0.1001, False), (1, True, False),
     ("a", "a", True), ([1, 2], [1], False), (float("nan"), float("nan"), True)],
)  # fmt: skip
def test_facts_are_compared_exactly(old, new, agrees):
    assert all(s.agrees for s in compare({"x": old}, {"x": new}, factor=2.0)) == agrees


def test_a_missing_sample_differs():
    assert not compare({"x": 1}, {}, factor=2.0)[0].agrees
    assert not compare({}, {"x": 1}, factor=2.0)[0].agrees


@pytest.mark.parametrize(
    ("table", "options", "text"),
    [
        ("numbers/nothing", {}, "there are numbers/primes"),
        ("numbers/primes", {"row": "guess"}, "no row 'guess'"),
        ("numbers/primes", {"row": "trial", "factor": 1.0}, "factor is over 1"),
    ],
)
def test_wrong_words(benchmarks, table, options, text):
    with pytest.raises((ExtremalError, ValueError), match=text):
        reproduce(table, benchmarks=benchmarks, **options)


def test_no_checkout_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["reproduce", "numbers/primes"]) == 2
    assert "a table is run again from a checkout" in capsys.readouterr().err


def test_a_failing_benchmark_says_how_to_run_it(benchmarks):
    script = benchmarks / "numbers" / "primes.py"
    script.write_text(
        SCRIPT.replace("    for size in", "    raise OSError('no disk')\n    for size in")
    )
    with pytest.raises(ExtremalError, match=r"failed with exit code 1: OSError: no disk"):
        reproduce("numbers/primes", row="trial 10", benchmarks=benchmarks)


def test_a_row_of_this_project_agrees():
    pytest.importorskip("numba")
    found = reproduce("tcurves/census", row="moth", factor=50.0)
    assert found.status == "agrees", found.table().as_text()
    facts = {s.name for s in found.samples if not s.measured}
    assert facts == {"schemes", "states", "total"}
