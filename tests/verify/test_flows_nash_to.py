"""Forgeries of `flows/nash-to`: every fraction changed by 1/10^12, every word changed."""

import copy
import json
from fractions import Fraction

import pytest

from extremal import flows

from .test_flows_nash import TINY, changed, fractions_of, verdict

BOTTLENECK = [("a", "m", 3, 9), ("b", "m", 1, 9), ("m", "t", 1, 1)]
NETWORKS = {
    "two origins": lambda: flows.nash_to(
        flows.Network.from_arcs(BOTTLENECK), "t", {"a": "0:1, 4:0", "b": "0:1, 4:0"}
    ),
    # nobody arrives for a while, and labels before the drained queue jump
    "a pause": lambda: flows.nash_to(
        flows.Network.from_arcs([("a", "m", 1, 2), ("m", "t", 1, 1), ("a", "t", 6, 5)]), "t",
        {"a": "0:3, 2:0, 20:1, 21:0"},
    ),
    "for ever": lambda: flows.nash_to("braess", "t", {"s": 1}),
    "horizon": lambda: flows.nash_to("braess", "t", {"s": 1}, horizon=20),
    "limit": lambda: flows.nash_to("braess", "t", {"s": 1, "2": "1/3"}, max_phases=2),
}  # fmt: skip


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    """The body of each certificate, made once."""
    folder = tmp_path_factory.mktemp("nash-to")
    return {
        name: json.loads(make().save(folder / name).read_text()) for name, make in NETWORKS.items()
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_accepts_and_says_what_is_proved(genuine, name, tmp_path):
    found = verdict(genuine[name], tmp_path)
    assert found.accepted, found.reason
    assert [p.strength for p in found.parts] == ["proved"]


@pytest.mark.parametrize("name", NETWORKS)
def test_rejects_any_fraction_changed_by_the_least(genuine, name, tmp_path):
    body = genuine[name]
    part = {k: body["parts"][0][k] for k in ("claim", "witness")}
    paths = list(fractions_of(part))
    assert len(paths) > 10
    for path in paths:
        for sign in (1, -1):
            forged = changed(body, path, lambda v, sign=sign: str(Fraction(v) + sign * TINY))
            assert verdict(forged, tmp_path).status == "rejected", path


@pytest.mark.parametrize("name", NETWORKS)
def test_rejects_labels_moved_as_a_whole(genuine, name, tmp_path):
    """A node's label earlier or later in all phases alike, so that phases still join."""
    body = genuine[name]
    claim = body["parts"][0]["claim"]
    for node, title in enumerate(claim["nodes"]):
        for step in (Fraction(1, 7), -Fraction(1, 7)):
            forged = copy.deepcopy(body)
            for phase in forged["parts"][0]["witness"]["phases"]:
                phase["labels"][node] = str(Fraction(phase["labels"][node]) + step)
            assert verdict(forged, tmp_path).status == "rejected", (title, step)


def test_rejects_other_words(genuine, tmp_path):
    body = genuine["two origins"]
    for path, value in (
        (("claim", "sink"), "m"),
        (("claim", "sink"), "q"),
        (("claim", "status"), "horizon"),
        (("claim", "status"), "done"),
        (("claim", "known"), ["4", "4"]),
        (("claim", "phases"), 4),
        (("claim", "phases"), 3.0),
        (("claim", "nodes"), ["a", "m", "m", "t"]),
        (("claim", "origins"), []),
        (("claim", "origins", 0, 0), "b"),
        (("claim", "origins", 0, 0), "t"),
        (("claim", "origins", 0, 1), "0:1"),
        (("claim", "instance_sha256"), "0" * 64),
        (("witness", "phases"), []),
        (("witness", "phases", 0, "end"), None),
        (("witness", "phases", 2, "end"), None),
        (("witness", "phases", 2, "end"), "9"),
        (("witness", "phases", 0, "flow"), ["1"] * 3),
        (("witness", "phases", 0, "labels", 1), 5),
        (("witness", "phases", 0, "labels", 1), "5/0"),
    ):
        forged = changed(body, path, lambda _, v=value: v)
        assert verdict(forged, tmp_path).status == "rejected", path


@pytest.mark.parametrize("name", NETWORKS)
def test_rejects_phases_left_out_or_swapped(genuine, name, tmp_path):
    phases = genuine[name]["parts"][0]["witness"]["phases"]
    count = len(phases)
    orders = [[*range(k), *range(k + 1, count)] for k in range(count)]
    orders += [[*range(k), k + 1, k, *range(k + 2, count)] for k in range(count - 1)]
    for order in orders:
        forged = copy.deepcopy(genuine[name])
        part = forged["parts"][0]
        part["witness"]["phases"] = [part["witness"]["phases"][i] for i in order]
        part["claim"]["phases"] = len(order)
        assert verdict(forged, tmp_path).status == "rejected", order


def test_rejects_a_flow_in_which_somebody_could_be_earlier(tmp_path):
    """All over the slow route: flow is conserved and queues are right, but it is no equilibrium."""
    slow = flows.Network.from_arcs([("a", "t", 5, 2)])
    body = json.loads(flows.nash_to(slow, "t", {"a": "0:1, 3:0"}).save(tmp_path).read_text())
    part = body["parts"][0]
    both = flows.Network.from_arcs([("a", "t", 5, 2), ("a", "t", 4, 1)])
    honest = flows.nash_to(both, "t", {"a": "0:1, 3:0"})
    claim = json.loads(honest.save(tmp_path / "b").read_text())["parts"][0]["claim"]
    for phase in part["witness"]["phases"]:
        phase["flow"].append("0")
    for name in ("last_arrival", "total_travel_time", "phases"):
        claim[name] = part["claim"][name]
    part["claim"] = claim
    found = verdict(body, tmp_path)
    assert found.status == "rejected"
    # with a slower second route the same phases are one
    part["claim"] = json.loads(
        flows.nash_to(
            flows.Network.from_arcs([("a", "t", 5, 2), ("a", "t", 6, 1)]), "t", {"a": "0:1, 3:0"}
        ).save(tmp_path / "c").read_text()
    )["parts"][0]["claim"]  # fmt: skip
    assert verdict(body, tmp_path).accepted
