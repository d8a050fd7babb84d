"""Forgeries of `flows/nash`: every fraction changed by 1/10^12, every word changed."""

import copy
import json
from fractions import Fraction

import pytest

from extremal import flows, verify

TINY = Fraction(1, 10**12)
NETWORKS = {
    "braess": lambda: flows.nash("braess"),
    "zero-inflow": lambda: flows.nash(
        flows.Network.from_arcs([("s", "t", 1, 1)]), source="s", sink="t", inflow="0:2, 3:0"
    ),
    "horizon": lambda: flows.nash("braess", horizon="100/3"),
    "limit": lambda: flows.nash("braess", max_phases=2),
    "parallel": lambda: flows.nash("two-routes", inflow=3),
}


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    """The body of each certificate, made once."""
    folder = tmp_path_factory.mktemp("nash")
    return {
        name: json.loads(make().save(folder / name).read_text()) for name, make in NETWORKS.items()
    }


def verdict(body, folder):
    file = folder / "certificate.json"
    file.write_text(json.dumps(body))
    return verify.file(file)


def fractions_of(value, path=()):
    """Every place that holds a fraction written as text."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in {"nodes", "source", "sink", "status", "instance_sha256"}:
                yield from fractions_of(item, (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            if len(path) >= 2 and path[-2] == "arcs" and i < 2:
                continue  # the ends of an arc are names
            if len(path) >= 2 and path[-2] == "origins" and i == 0:
                continue  # and so are origins
            yield from fractions_of(item, (*path, i))
    elif isinstance(value, str):
        yield path


def changed(body, path, change):
    forged = copy.deepcopy(body)
    at = forged["parts"][0]
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = change(at[path[-1]])
    return forged


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
            found = verdict(forged, tmp_path)
            assert found.status == "rejected", path


def test_rejects_other_words(genuine, tmp_path):
    body = genuine["braess"]
    for path, value in (
        (("claim", "source"), "1"),
        (("claim", "sink"), "4"),
        (("claim", "status"), "horizon"),
        (("claim", "status"), "done"),
        (("claim", "until"), "100"),
        (("claim", "phases"), 3),
        (("claim", "phases"), 4.0),
        (("claim", "nodes"), ["s", "1", "2", "3", "4", "4"]),
        (("claim", "instance_sha256"), "0" * 64),
        (("witness", "phases"), []),
        (("witness", "phases", 0, "end"), None),
        (("witness", "phases", 3, "end"), "1000"),
        (("witness", "phases", 0, "flow"), ["1"] * 7),
        (("witness", "phases", 0, "labels", 1), 5),
        (("witness", "phases", 0, "labels", 1), "5.0"),
        (("witness", "phases", 0, "labels", 1), "5/0"),
    ):
        assert verdict(changed(body, path, lambda _, v=value: v), tmp_path).status == "rejected", (
            path
        )


def test_rejects_phases_left_out_or_swapped(genuine, tmp_path):
    for order in ([0, 1, 3], [0, 2, 1, 3], [1, 2, 3], [0, 1, 2]):
        forged = copy.deepcopy(genuine["braess"])
        part = forged["parts"][0]
        part["witness"]["phases"] = [part["witness"]["phases"][i] for i in order]
        part["claim"]["phases"] = len(order)
        assert verdict(forged, tmp_path).status == "rejected"


def test_rejects_a_consistent_lie_about_routes(genuine, tmp_path):
    """A flow of the right value on shortest routes whose labels do not follow from it."""
    forged = copy.deepcopy(genuine["braess"])
    phase = forged["parts"][0]["witness"]["phases"][1]
    names = [(a[0], a[1]) for a in forged["parts"][0]["claim"]["arcs"]]
    for arc, x in {("1", "2"): "1/2", ("2", "3"): "1/2", ("1", "3"): "1/2"}.items():
        phase["flow"][names.index(arc)] = x
    assert verdict(forged, tmp_path).status == "rejected"


def test_a_network_changed_where_no_flow_feels_it_needs_a_new_hash(genuine, tmp_path):
    forged = copy.deepcopy(genuine["parallel"])
    forged["parts"][0]["claim"]["inflow"].append(["1000000", "5"])
    assert "SHA-256" in verdict(forged, tmp_path).reason
