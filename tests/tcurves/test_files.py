"""Run folders, .pcom files, pictures, polynomials, catalogue and the shell."""

import json
import xml.etree.ElementTree as ET
from fractions import Fraction

import pytest

from extremal import cli, tcurves, verify
from extremal.lab import RunError
from extremal.tcurves import _catalogue
from extremal.tcurves._scheme import scheme_of

BAT = "4 0 8 18 29 42 57 4 1 1 10 22 36 16 5 0 4 17 30 18 8 0 45 34 25 62 52 81"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "bat"
    tcurves.census(heights=BAT, out=out)
    return out


def test_a_census_run_is_read_back_and_verified(run):
    found = tcurves.read_census(run)
    assert found.entries == tcurves.census("bat").entries
    assert (run / "report.html").stat().st_size > 10_000
    assert {p.name for p in (run / "figures").iterdir()} == {"counts.svg", "most-ovals.svg"}
    assert tcurves.read(run) == tcurves.named("bat")
    again = tcurves.census(heights=BAT, out=run, resume=True)
    assert again.entries == found.entries
    with pytest.raises(RunError, match="exists already"):
        tcurves.census(heights=BAT, out=run)
    with pytest.raises(RunError, match="another configuration"):
        tcurves.census("moth", out=run, resume=True)


def test_a_run_that_was_cut_off_is_taken_again(tmp_path):
    first = tcurves.census("honeycomb-5", out=tmp_path / "run")
    (tmp_path / "run" / "census.json").unlink()  # written last
    again = tcurves.census("honeycomb-5", out=tmp_path / "run", resume=True)
    assert again.entries == first.entries
    assert verify.file(tmp_path / "run").accepted


def test_draw_a_scheme_of_a_run(run, tmp_path):
    drawn = tcurves.draw(run, scheme="<5 u 1<5>>", out=tmp_path / "bat.svg")
    root = ET.parse(tmp_path / "bat.svg").getroot()
    assert root.tag.endswith("svg")
    strokes = {e.get("stroke") for e in root.iter() if e.tag.endswith("path")}
    assert {"#0072B2", "#D55E00"} <= strokes  # two depths
    assert len(drawn.schemes) == 1
    with pytest.raises(FileExistsError, match="--force"):
        tcurves.draw(run, scheme="<5 u 1<5>>", out=tmp_path / "bat.svg")
    with pytest.raises(tcurves.TCurveError, match="no signs give"):
        tcurves.draw(run, scheme="<10>")
    with pytest.raises(ValueError, match=r"written as \.svg"):
        tcurves.draw(run, out=tmp_path / "bat.png")
    with pytest.raises(ValueError, match="needs signs="):
        tcurves.draw("bat")
    with pytest.raises(ValueError, match="at least 40 pixels"):
        tcurves.draw("bat", signs="0" * 28, size=3)


@pytest.mark.parametrize("d", range(1, 8))
def test_a_drawn_curve_has_its_ovals(d):
    """Chains of segments close up over opposite boundary points to one cycle an oval."""
    from extremal.tcurves._draw import DrawConfig, _curve

    t = tcurves.honeycomb(d)
    signs = [int((i % 2, j % 2) == (1, 0)) for i, j in t.points]
    body = _curve(t, signs, DrawConfig(), 640)
    tree = ET.fromstring(f"<g>{body}</g>")
    lines = [p for p in tree.iter("path") if p.get("stroke-linecap") == "round"]
    assert sum(p.get("stroke-dasharray") is not None for p in lines) == d % 2
    chains = [part for p in lines for part in p.get("d").split("M") if part]
    closed = sum(part.endswith("Z") for part in chains)
    loose = [part for part in chains if not part.endswith("Z")]
    leader = list(range(len(loose)))
    for k, one in enumerate(loose):  # join chains whose ends are opposite boundary points
        for j, other in enumerate(loose):
            for a in (one.split("L")[0], one.split("L")[-1]):
                for b in (other.split("L")[0], other.split("L")[-1]):
                    (x, y), (u, v) = (map(float, end.split()) for end in (a, b))
                    if abs(x + u - 640) < 0.3 and abs(y + v - 640) < 0.3:
                        old, new = leader[k], leader[j]
                        leader = [new if value == old else value for value in leader]
    assert closed + len(set(leader)) == tcurves.scheme(t, signs).components


def test_pictures_of_all_septics_with_one_command(tmp_path, capsys):
    assert cli.main(["tcurves", "draw", "catalogue-7", "--out", str(tmp_path / "all.svg")]) == 0
    assert "121" in capsys.readouterr().out
    text = (tmp_path / "all.svg").read_text()
    ET.fromstring(text)
    assert text.count("<text ") == 121


@pytest.mark.parametrize("name", ["honeycomb-3", "bat"])
def test_pcom_files_both_ways(name, tmp_path):
    found = tcurves.census(name)
    path = tcurves.write_pcom(tmp_path / "x.pcom", found)
    back = tcurves.read_pcom(path)
    assert back.triangulation == found.triangulation
    assert back.triangulation.heights == found.triangulation.heights
    assert [(p.scheme, p.signs, p.count) for p in back.patchworks] == [
        (e.scheme, e.witness, e.count) for e in found.entries
    ]
    assert tcurves.read(path) == found.triangulation


def test_the_shipped_sample_file_holds_the_cubics():
    from importlib import resources

    with resources.as_file(
        resources.files("extremal.tcurves").joinpath("_data", "honeycomb-3.pcom")
    ) as path:
        found = tcurves.read_pcom(path)
    assert {str(p.scheme): p.count for p in found.patchworks} == {"<J>": 64, "<J u 1>": 64}
    for p in found.patchworks:
        assert scheme_of(found.triangulation, p.signs) == p.scheme


def test_lenient_reading(tmp_path):
    t = tcurves.honeycomb(2)
    # No weights, integers as numbers, points in another order, homogeneous rows.
    order = [5, 3, 4, 0, 1, 2]
    rows = [[2 - i - j, i, j] for i, j in (t.points[k] for k in order)]
    cells = [[order.index(k) for k in triangle] for triangle in t.triangles]
    value = {"DUAL_SUBDIVISION": {"POINTS": rows, "MAXIMAL_CELLS": cells}}
    signs = [k == 0 for k in order]
    value["PATCHWORK"] = [{"SIGNS": signs, "TYPE": "<1>"}]
    (tmp_path / "x.pcom").write_text(json.dumps(value))
    found = tcurves.read_pcom(tmp_path / "x.pcom")
    assert found.triangulation == t
    assert found.triangulation.heights is None
    assert found.patchworks[0].signs == "100000"
    assert found.patchworks[0].count is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"DUAL_SUBDIVISION": {"MAXIMAL_CELLS": [[0]]}}'])
def test_damaged_pcom_files_are_refused(text, tmp_path):
    (tmp_path / "x.pcom").write_text(text)
    with pytest.raises(tcurves.TCurveError):
        tcurves.read_pcom(tmp_path / "x.pcom")


def test_polynomials():
    t = tcurves.honeycomb(2)
    f = tcurves.polynomial(t, "100001")
    assert str(f) == "-1 + t*y + t^4*y^2 + t*x + t^3*x*y - t^4*x^2"
    # For small t the conic is <1>: its values take both signs.
    small = Fraction(1, 50)
    assert f.at(small, 0, 0) < 0 < f.at(small, 0, 100)
    with pytest.raises(tcurves.NotRegular, match="no heights"):
        tcurves.polynomial(tcurves.random_triangulation(3, 0, steps=20), "0" * 10)


def test_the_shipped_catalogue_is_complete_and_right():
    for d in range(1, 8):
        witnesses = tcurves.catalogue(d).witnesses
        assert {w.scheme for w in witnesses} == tcurves.known_schemes(d)
        for w in witnesses:
            assert w.triangulation.heights is not None
            assert scheme_of(w.triangulation, w.signs) == w.scheme
    with pytest.raises(ValueError, match="degrees 1 to 7"):
        tcurves.catalogue(8)
    with pytest.raises(ValueError, match=r"has no <J u 16>"):
        tcurves.catalogue(7, scheme="<J u 16>")


def test_the_shipped_catalogue_is_what_the_censuses_give():
    from importlib import resources

    text = resources.files("extremal.tcurves").joinpath("_data", "catalogue.json").read_text()
    assert json.loads(text) == json.loads(_catalogue.as_file())


@pytest.mark.slow
@pytest.mark.parametrize("d", range(1, 8))
def test_the_whole_catalogue_verifies(d, tmp_path):
    found = tcurves.catalogue(d, out=tmp_path / "run")
    verdict = verify.file(found.certificate)
    assert verdict.accepted
    assert len(verdict.parts) == len(tcurves.known_schemes(d))


def test_a_catalogue_of_sextics_verifies(tmp_path):
    found = tcurves.catalogue(5, out=tmp_path / "run")
    assert verify.file(found.certificate).accepted
    assert "sheet.svg" in {p.name for p in (tmp_path / "run" / "figures").iterdir()}


def test_the_commands_of_the_area(tmp_path, capsys):
    out = tmp_path / "bat"
    assert cli.main(["tcurves", "census", "--heights", BAT, "--out", str(out)]) == 0
    assert "53 schemes" in capsys.readouterr().out
    picture = tmp_path / "bat.svg"
    words = ["tcurves", "draw", str(out), "--scheme", "<5 u 1<5>>", "--out", str(picture)]
    assert cli.main(words) == 0
    capsys.readouterr()
    assert cli.main(["tcurves", "scheme", "honeycomb-4", "0" * 15, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scheme"] == "<1<1>>"
    assert cli.main(["tcurves", "sample", str(out), "<9 u 1<1>>", "--count", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert cli.main(["tcurves", "catalogue", "4"]) == 0
    assert "5 of 5 schemes of degree 4" in capsys.readouterr().out
    assert cli.main(["tcurves", "census", "honeycomb-3", "--fixed-signs", "01"]) == 2
    assert capsys.readouterr().err.startswith("extremal: fixed signs are a word of 10")


@pytest.mark.slow
def test_the_census_of_bat_verifies_from_the_shell(run, capsys):
    # 2 s of plain Python; instrumented by the type checker of the tests it is no default test
    assert cli.main(["verify", str(run / "certificate.json")]) == 0
    assert "every count was found again" in capsys.readouterr().out


def test_a_census_without_heights_says_so(tmp_path):
    rows = "0 1 6; 0 5 10; 0 6 10; 1 2 6; 2 3 6; 3 4 6; 4 6 7; 4 7 8; 5 9 10; 6 7 10; 7 8 11; "
    rows += "7 10 14; 7 11 13; 7 13 14; 9 10 12; 10 12 14"
    t = tcurves.from_triangles(4, [[int(x) for x in r.split()] for r in rows.split(";")])
    found = tcurves.census(t, out=tmp_path / "run")
    assert "no algebraic curve guaranteed" in found.table().title
    verdict = verify.file(found.certificate)
    assert verdict.accepted
    assert "schemes of patchworks" in verdict.parts[0].statements[1]
