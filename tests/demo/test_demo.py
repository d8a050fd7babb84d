"""The tour as a newcomer meets it."""

import json

import pytest

pytest.importorskip("torch")
from extremal import cli, verify


@pytest.mark.slow
def test_the_tour_verifies_and_is_refused_a_second_time(tmp_path, capsys):
    out = tmp_path / "demo"
    assert cli.main(["demo", "--epochs", "2", "--json", "--out", str(out)]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [s["area"] for s in answers["stops"]] == [
        "training",
        *["pruning"] * 3,
        "frankwolfe",
        "compression",
        "llm",
        "interpret",
        "flows",
        "coloring",
        "sos",
        "tcurves",
    ]
    for stop in answers["stops"]:
        assert stop["verdict"]["status"] == "accepted"
        assert verify.file(stop["certificate"]).accepted
    html = (out / "report.html").read_text()
    assert "weights removed" in html or "data:image/svg" in html
    before = html
    assert cli.main(["demo", "--out", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert (out / "report.html").read_text() == before
