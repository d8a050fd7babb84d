"""Verbs, the shell, refusals, pictures."""

import json
import shutil
from fractions import Fraction as F

import pytest

from extremal import cli, flows, verify
from extremal.flows import _pictures as pictures
from extremal.flows._animate import page

pytestmark = pytest.mark.filterwarnings("ignore::extremal.flows.PacketWarning")


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([("s", "t", 1, 0)], "capacity 0"),
        ([("s", "t", 1, "-1")], "capacity -1"),
        ([("s", "t", "-1", 1)], "transit time -1"),
        ([("s", "t", float("nan"), 1)], "nan"),
        ([("s", "t", float("inf"), 1)], "inf"),
        ([("s", "t", "1/0", 1)], "denominator 0"),
        ([("s", "a", 0, 1), ("a", "s", 0, 1), ("a", "t", 1, 1)], "form a cycle"),
        ([("s", "s", 0, 1)], "form a cycle"),
        ([("s", "t", 1)], "is no arc"),
        ([("s", "t", 1, 1, 2, 1)], "storage 1"),
        ([("s", "t", 1, 1, None, None, "x"), ("s", "t", 1, 1, None, None, "x")], "twice"),
    ],
)
def test_bad_networks_are_refused(rows, word):
    with pytest.raises(ValueError, match=word):
        flows.Network.from_arcs(rows)


def test_parallel_arcs_get_names():
    net = flows.Network.from_arcs([("s", "t", 1, 1)] * 3)
    assert [a.name for a in net.arcs] == ["s-t", "s-t#2", "s-t#3"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"source": "t", "sink": "s"}, "no route leads"),
        ({"source": "s", "sink": "s"}, "both 's'"),
        ({"source": "s", "sink": "q"}, "'q' is no node"),
        ({"inflow": -1}, "rate -1"),
        ({"inflow": []}, "empty"),
        ({"inflow": [(3, 1), (2, 1)]}, "not sorted"),
        ({"inflow": "1:2:3"}, "is not a list"),
        ({"inflow": float("nan")}, "nan"),
        ({"horizon": 0}, "horizon is 0"),
        ({"max_phases": 0}, "max_phases=0"),
        ({"arithmetic": "double"}, "arithmetic='double'"),
        ({"method": "magic"}, "method='magic'"),
    ],
)
def test_bad_questions_are_refused(options, word):
    net = flows.Network.from_arcs([("s", "t", 1, 1)])
    with pytest.raises(ValueError, match=word):
        flows.nash(net, **{"source": "s", "sink": "t", "inflow": 1, **options})


def test_missing_arguments_are_named():
    net = flows.Network.from_arcs([("s", "t", 1, 1)])
    with pytest.raises(ValueError, match="say the source"):
        flows.nash(net)
    with pytest.raises(ValueError, match="neither a file nor a shipped network"):
        flows.nash("brass", source=1, sink=2, inflow=1)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"step": 0}, "step=0"),
        ({"packet": "-1"}, "packet=-1"),
        ({"model": "cars"}, "model='cars'"),
        ({"release": "soon"}, "release='soon'"),
        ({"demand": [(("s-1", "2-3"), "0:1, 1:0")]}, "not connected"),
        ({"demand": [((), "0:1, 1:0")]}, "no arc"),
        ({"demand": [(("s-9",), "0:1, 1:0")]}, "is no arc"),
        ({"demand": []}, "no demand"),
    ],
)
def test_bad_simulations_are_refused(options, word):
    with pytest.raises(ValueError, match=word):
        flows.simulate("braess", **options)


def test_a_route_that_meets_a_node_twice_is_refused():
    net = flows.Network.from_arcs([("a", "b", 1, 1), ("b", "a", 1, 1), ("a", "c", 1, 1)])
    with pytest.raises(ValueError, match="meets a node twice"):
        flows.simulate(net, demand=[(("a-b", "b-a", "a-c"), "0:1, 1:0")])


def test_a_float_is_read_as_its_decimal_and_the_output_says_so():
    eq = flows.nash("braess", inflow=0.5, horizon=10)
    assert eq.inflow.rate(0) == F(1, 2)
    assert any("0.5" in n for n in eq.notes)


def test_optimum_of_braess():
    found = flows.optimum("braess", volume=100, braess=True)
    assert (found.quickest, found.completion, found.price_of_anarchy) == (155, 185, F(37, 31))
    # the bridge 2-3 harms: without it everyone has arrived earlier
    assert found.braess_arcs[:1] == ("2-3",)
    assert {c.arc: c.completion for c in found.closures}["s-1"] is None
    with pytest.raises(ValueError, match="volume"):
        flows.optimum("braess")


def test_the_gap_of_the_equilibrium_is_zero_and_of_others_is_not():
    eq = flows.nash("braess", horizon=100)
    exact = flows.gap("braess", flows.nash_demand(eq, F(100)))
    assert (exact.relative, exact.exact) == (0, True)
    assert exact.total == eq.total_travel_time(0, 100) == F(112375, 16)
    middle = [(("s-1", "1-2", "2-3", "3-4", "4-t"), "0:1, 100:0")]
    found = flows.gap("braess", middle)
    # all on the middle: agent d waits 2 d; the best goes round the queue once that is quicker
    assert found.total == F(12500)
    assert found.relative > 0
    fluid = flows.simulate("braess", demand=middle, model="fluid")
    assert flows.gap("braess", fluid).relative == found.relative


def test_packets_approach_a_gap_of_zero():
    eq = flows.nash("braess", horizon=100)
    gaps = [
        flows.gap("braess", flows.simulate("braess", demand=eq, step=F(1, 2**k))).relative
        for k in (1, 2, 3, 4)
    ]
    assert gaps[-1] < gaps[0] / 4
    assert gaps[-1] < 0.005


def test_the_run_folder_and_the_shell(tmp_path, capsys):
    out = tmp_path / "run"
    assert cli.main(["flows", "nash", "braess", "--out", str(out)]) == 0
    assert "165/2" in capsys.readouterr().out
    names = {p.name for p in out.iterdir()}
    assert {"config.json", "certificate.json", "phases.json", "network.json"} <= names
    assert verify.file(out).accepted
    assert cli.main(["verify", str(out / "certificate.json")]) == 0
    assert "proved" in capsys.readouterr().out
    assert cli.main(["flows", "nash", "braess", "--out", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert cli.main(["flows", "nash", "braess", "--out", str(out), "--resume"]) == 0
    capsys.readouterr()
    words = ["flows", "nash", "braess", "--max-phases", "2", "--out", str(out), "--force", "--json"]
    assert cli.main(words) == 3
    assert json.loads(capsys.readouterr().out)["status"] == "phase-limit"
    assert verify.file(out).accepted
    assert cli.main(["flows", "nash", "nowhere"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_in_floats_is_certified(tmp_path):
    words = ["flows", "nash", "braess", "--arithmetic", "float", "--out", str(tmp_path / "run")]
    assert cli.main(words) == 0
    assert verify.file(tmp_path / "run").accepted


def test_every_verb_answers_in_the_shell(tmp_path, capsys):
    commands = [
        ["optimum", "braess", "--volume", "100", "--out", f"{tmp_path}/o"],
        ["simulate", "braess", "--step", "1/2", "--until", "20", "--out", f"{tmp_path}/s"],
        ["simulate", "braess", "--model", "fluid"],
        ["simulate", "braess", "--model", "matsim", "--step", "1", "--until", "20"],
        ["gap", "braess", f"{tmp_path}/s/events.xml"],
        ["refine", "braess", "--levels", "2", "--seeds", "2", "--iterations", "5",
         "--out", f"{tmp_path}/r"],
        ["plot", "braess", "--kind", "queues", "--out", f"{tmp_path}/q.svg"],
        ["plot", "braess", "--kind", "animation", "--out", f"{tmp_path}/a.html"],
    ]  # fmt: skip
    pytest.importorskip("matplotlib")
    pytest.importorskip("lxml")
    for words in commands:
        assert cli.main(["flows", *words]) == 0, words
        assert capsys.readouterr().out.strip()
    assert verify.file(tmp_path / "o").accepted
    assert verify.file(tmp_path / "r").accepted
    assert cli.main(["flows", *commands[-1]]) == 2  # the file is there


def test_a_run_is_drawn_as_it_was_asked(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    flows.nash("braess", inflow="0:1, 10:1/2", out=tmp_path / "run")
    flows.plot(flows.nash("braess", inflow="0:1, 10:1/2"), out=tmp_path / "a.svg")
    assert cli.main(["flows", "plot", f"{tmp_path}/run", "--out", f"{tmp_path}/b.svg"]) == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    flows.plot("braess", out=tmp_path / "other.svg")
    assert (tmp_path / "a.svg").read_bytes() != (tmp_path / "other.svg").read_bytes()
    words = ["flows", "plot", f"{tmp_path}/run", "--inflow", "2", "--out", f"{tmp_path}/c.svg"]
    assert cli.main(words) == 2
    assert "knows its own inflow" in capsys.readouterr().err
    # its network is one like any other
    again = flows.nash(tmp_path / "run", source="s", sink="t", inflow=1)
    assert again.phases == flows.nash("braess").phases


@pytest.mark.parametrize("name", ["braess", "braess-spillback"])
def test_pictures(name, tmp_path):
    pytest.importorskip("matplotlib")
    spilled = name.endswith("spillback")
    if spilled:
        pytest.importorskip("highspy")
    eq = flows.nash(name, spillback=spilled)
    made = {key: data for key, _, data in pictures.pictures_of(eq)}
    assert set(made) == {"phases", "travel_time", "queues", "cumulative"}
    assert all(b"<svg" in data for data in made.values())
    assert flows.plot(eq, out=tmp_path / "p.png").path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="ends neither"):
        flows.plot(eq, out=tmp_path / "p.gif")


def test_pictures_of_simulations_and_refinements(tmp_path):
    pytest.importorskip("matplotlib")
    run = flows.simulate("braess", step=1, until=30)
    assert flows.plot(run, out=tmp_path / "t.svg").kind == "trajectories"
    found = flows.refine("braess", levels=2, seeds=2, iterations=3)
    assert flows.plot(found, out=tmp_path / "d.svg").kind == "deviation"


def test_the_animation_holds_the_curves():
    eq = flows.nash("braess")
    text = page(eq)
    data = json.loads(text.split("const D = ")[1].split(";\n")[0])
    assert len(data["arcs"]) == 7
    bridge = data["arcs"][2]
    assert (bridge["tail"], bridge["head"], bridge["transit"]) == ("2", "3", 5.0)
    assert "http" not in text


def test_a_film_needs_ffmpeg(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    eq = flows.nash("two-routes")
    if shutil.which("ffmpeg"):
        file = flows.write_animation(eq, tmp_path / "a.mp4", frames=4)
        assert file.stat().st_size > 500
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(flows.FlowsError, match="ffmpeg"):
        flows.write_animation(eq, tmp_path / "b.mp4")


def test_curves_at_arc_ends():
    eq = flows.nash("two-routes")
    enters, leaves = eq.inflow_curve("short"), eq.outflow_curve("short")
    assert [enters(t) for t in (0, 1, 2, 5)] == [0, 2, 4, 7]
    assert [leaves(t) for t in (1, 2, 3, 9)] == [0, 1, 2, 8]
    assert eq.queue_curve("short").integral(F(1), F(3)) == 2
    assert leaves.inverse(F(5)) == 6


def test_importing_the_area_loads_no_compiler():
    import subprocess
    import sys

    code = "import sys; import extremal.flows; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_refinement_on_a_ray_cluster_equals_the_serial_one(ray_cluster):
    study = {"levels": 2, "seeds": 4, "iterations": 5}
    here = flows.refine("braess", **study).as_json()
    there = flows.refine("braess", **study, executor="ray", workers=2).as_json()
    for found in (here, there):
        found.pop("seconds")
        for level in found["levels"]:
            level.pop("seconds", None)
    assert there == here
