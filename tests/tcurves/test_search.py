"""The search: what it finds is checked, an interrupted one goes on, bad options are refused."""

import os
import signal
import subprocess
import sys
import time

import pytest

from extremal import cli, tcurves, verify
from extremal.lab import RunError, seconds_of


def test_degree_4_is_found_and_verified(tmp_path):
    found = tcurves.search(
        degree=4, budget="20s", slice="2s", walks=2, executor="serial", out=tmp_path / "run"
    )
    assert found.missing == ()
    assert found.exit_code == 0
    assert {w.scheme for w in found.witnesses} == tcurves.known_schemes(4)
    assert verify.file(tmp_path / "run").accepted
    assert (tmp_path / "run" / "figures" / "progress.svg").exists()
    shown = tcurves.catalogue(tmp_path / "run")
    assert {w.scheme for w in shown.witnesses} == tcurves.known_schemes(4)


def test_a_search_goes_on_where_it_was(tmp_path):
    options = {"degree": 6, "walks": 1, "executor": "serial", "slice": "1s", "seed": 5}
    first = tcurves.search(budget="2s", out=tmp_path / "run", **options)
    assert first.exit_code == 3
    with pytest.raises(RunError, match="exists already"):
        tcurves.search(budget="2s", out=tmp_path / "run", **options)
    more = tcurves.search(budget="5s", out=tmp_path / "run", resume=True, **options)
    assert more.judged > first.judged
    assert more.seconds > 4
    assert {w.scheme for w in first.witnesses} <= {w.scheme for w in more.witnesses}
    with pytest.raises(RunError, match="another configuration"):
        tcurves.search(budget="5s", out=tmp_path / "run", resume=True, **{**options, "seed": 6})


def test_chosen_targets_and_even_ovals(tmp_path):
    found = tcurves.search(
        degree=4, targets="<4>; <1<1>>", budget="20s", slice="1s", walks=1, executor="serial",
        out=tmp_path / "a",
    )  # fmt: skip
    assert {str(w.scheme) for w in found.witnesses} == {"<4>", "<1<1>>"}
    best = tcurves.search(
        degree=4, targets="p", budget="1s", slice="1s", walks=1, executor="serial",
        out=tmp_path / "b",
    )  # fmt: skip
    assert best.best_p == 4


@pytest.mark.slow
def test_a_killed_search_keeps_what_it_found(tmp_path):
    code = (
        "from extremal import tcurves\n"
        "if __name__ == '__main__':\n"
        "    tcurves.search(degree=6, budget='60s', slice='2s', walks=2, executor='processes',"
        f" workers=1, out={str(tmp_path / 'run')!r})\n"
    )
    script = tmp_path / "go.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
    database = tmp_path / "run" / "catalogue.sqlite"
    deadline = time.monotonic() + 120
    from extremal.tcurves import Database

    while time.monotonic() < deadline:
        time.sleep(1)
        if database.exists() and Database(database, 6).state("search"):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = Database(database, 6).schemes()
    assert before
    found = tcurves.search(
        degree=6, budget=f"{Database(database, 6).state('search')['seconds'] + 4}s", slice="2s",
        walks=2, executor="serial", out=tmp_path / "run", resume=True,
    )  # fmt: skip
    assert set(before) <= {str(w.scheme) for w in found.witnesses}
    assert verify.file(tmp_path / "run").accepted


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"budget": "soon"}, "is no time"),
        ({"budget": "0s"}, "is no time"),
        ({"degree": 1}, "degree 2 or more"),
        ({"walks": 0}, "walks is a count"),
        ({"targets": "p", "degree": 7}, "even degrees"),
        ({"targets": "<J>", "degree": 6}, "are no schemes of degree 6"),
        ({"targets": ";", "degree": 6}, "are no schemes of degree 6"),
        ({"targets": "<1", "degree": 6}, "no real scheme"),
    ],
)
def test_bad_options(options, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        tcurves.search(out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_search_without_a_folder_is_refused(capsys):
    assert cli.main(["tcurves", "search", "--degree", "4"]) == 2
    assert "give out=, a folder" in capsys.readouterr().err


def test_times():
    assert [seconds_of(x) for x in ("90s", "10m", "2h", "1.5")] == [90, 600, 7200, 1.5]


def test_a_damaged_database_is_refused(tmp_path):
    (tmp_path / "x.sqlite").write_text("this is no database, however long it is" * 40)
    with pytest.raises(tcurves.TCurveError, match="no database"):
        tcurves.Database(tmp_path / "x.sqlite", 6)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_walks_on_a_ray_cluster_are_those_of_one_process(ray_cluster):
    from extremal.lab import executor
    from extremal.tcurves._search import _Job, _walk

    jobs = [
        _Job(
            degree=5, number=k, part=0, seed=3, temperature=1.0, triangles=None, stale=0, flips=3,
            restart=50, seconds=1e9, steps=12, maximise=False, seen={}, judged=0, targets=None,
            known=[], best_p=-1,
        )
        for k in range(3)
    ]  # fmt: skip
    with executor("ray", workers=2) as pool:
        there = pool.map(_walk, jobs)
    for here, other in zip(map(_walk, jobs), there, strict=True):
        assert len(here["found"]) > 0
        for value in (here, other):
            for row in value["found"]:
                row.pop("second")  # when, not what
        assert other == here


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_on_a_ray_cluster(tmp_path, ray_cluster):
    found = tcurves.search(
        degree=4, budget="30s", slice="2s", walks=2, workers=2, executor="ray", out=tmp_path / "r"
    )
    assert found.missing == ()
    assert verify.file(tmp_path / "r").accepted


def test_a_search_on_a_full_disk_says_so(tmp_path):
    database = tcurves.Database(tmp_path / "x.sqlite", 6)
    database.connection.execute("PRAGMA max_page_count = 1")  # SQLite then finds its disk full
    with pytest.raises(OSError, match=r"the disk is full, so .*x.sqlite could not be written"):
        database.add([], search="x" * 100_000)
    assert database.state("search") is None
    database.close()
