"""One page about any run: its own report inside, the certificate checked anew."""

import pytest

from extremal import cli
from extremal.lab import (
    Picture,
    Run,
    RunError,
    Text,
    report,
    timing_part,
    write_certificate,
    write_report,
)

pytest.importorskip("jinja2")


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    with Run.create(folder, kind="lab/test", config={"n": 3, "inner": {"rate": 0.5}}) as made:
        write_certificate(folder / "certificate.json", [timing_part("x", [0.1, 0.2], data="d")])
        picture = Picture(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "A <drawn> thing")
        write_report(folder / "report.html", "Two & a half", [Text("Its words"), picture])
        return made.path


def test_the_page_holds_all_of_it(run):
    done = report(run)
    page = done.path.read_text()
    assert done.exit_code == 0
    assert "<h1>Two &amp; a half</h1>" in page
    assert page.count("Its words") == 1
    assert "data:image/svg+xml;base64," in page
    assert "A &lt;drawn&gt; thing" in page
    assert "accepted  lab/measured" in page
    assert "inner.rate" in page
    assert "certificate.json" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")  # needs nothing else


def test_a_forged_certificate_is_shown_and_exits_1(run, capsys):
    file = run / "certificate.json"
    file.write_text(file.read_text().replace("0.2", "0.3"))
    assert cli.main(["report", str(run)]) == 1
    assert "rejected" in capsys.readouterr().out
    assert "REJECTED" in (run / "full-report.html").read_text()


def test_a_page_is_not_overwritten(run, tmp_path):
    report(run, out=tmp_path / "page.html")
    with pytest.raises(RunError, match="exists already"):
        report(run, out=tmp_path / "page.html")
    report(run, out=tmp_path / "page.html", force=True)


def test_an_unfinished_run_says_so(run):
    (run / "report.html").unlink()
    (run / "certificate.json").unlink()
    page = report(run).path.read_text()
    assert "it has not been finished" in page
    assert "has no certificate" in page


@pytest.mark.parametrize("what", ["nothing", "foreign"])
def test_unusable_folders(run, tmp_path, what):
    if what == "nothing":
        with pytest.raises(RunError, match="is not a run folder"):
            report(tmp_path / "nothing")
    else:
        (run / "report.html").write_text("<p>other</p>")
        with pytest.raises(RunError, match="no report that extremal wrote"):
            report(run)
