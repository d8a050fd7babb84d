"""Figures repeat byte for byte; a report needs nothing beside itself."""

import re

import pytest

from extremal import lab

pytest.importorskip("matplotlib")


def drawn(kind: str) -> bytes:
    figure, axes = lab.new_figure(3.0, 2.0)
    axes.plot([0, 1, 2], [0, 1, 4], label="a")
    axes.legend()
    return lab.figure_bytes(figure, kind)


@pytest.mark.parametrize(("kind", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_equal_figures_are_equal_files(kind, start):
    assert drawn(kind).startswith(start)
    assert drawn(kind) == drawn(kind)


def test_a_report_is_one_file_and_escapes_its_text(tmp_path):
    pytest.importorskip("jinja2")
    path = lab.write_report(
        tmp_path / "report.html",
        "a < b",
        [
            lab.Text("Results", heading=True),
            lab.Text("<script>alert(1)</script>"),
            lab.Table(["name", "n"], [["x", 1000]], title="T"),
            lab.Picture(drawn("png"), "a curve"),
            lab.Picture(drawn("svg"), "the same"),
        ],
        footer="end",
    )
    html = path.read_text()
    assert "<script>" not in html
    assert "a &lt; b" in html
    assert "1,000" in html
    assert html.count("data:image/") == 2
    assert not re.search(r'(src|href)="(?!data:)', html)


def test_pictures_become_files_that_are_whole(tmp_path, monkeypatch):
    one, two = lab.Picture(drawn("svg"), "a curve"), lab.Picture(drawn("png"), "the same")
    assert lab.write_figures(tmp_path, {"one": one, "none": None, "two": two}) == [one, two]
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == ["one.svg", "two.png"]

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="disk is full"):
        lab.write_figures(tmp_path, {"one": two})
    monkeypatch.undo()
    assert (tmp_path / "figures" / "one.svg").read_bytes() == one.data
