"""Reports as a browser shows them: nothing is fetched, every picture is drawn, nothing is too wide.

Needs Chromium or Chrome; without one these tests are skipped.
"""

import base64
import json
import re
import shutil
import subprocess
import sys

import pytest

CHROME = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROME is None, reason="Chromium is not installed"),
]
RUNS = {
    "flows": ["flows", "nash", "braess"],
    "interpret": ["interpret", "certify", "--k", "2", "--samples", "200"],
    "sos": ["sos", "certify", "2*x^4 + 2*x^3*y - x^2*y^2 + 5*y^4"],
    "tcurves": ["tcurves", "scheme", "honeycomb-4", "000000000000000"],
    "training": ["training", "fit", "--model", "mlp", "--data", "digits", "--epochs", "1"],
}
# Written into a copy of the page; the answer is read from the title.
PROBE = """<script>addEventListener("load", () => {
  const broken = [...document.images].filter(i => !i.complete || !i.naturalWidth).length;
  document.title = JSON.stringify({
    pictures: document.images.length, broken: broken,
    outside: performance.getEntriesByType("resource").filter(r => !r.name.startsWith("data:"))
      .length,
    wide: document.documentElement.scrollWidth > innerWidth,
    words: document.body.innerText.length});
});</script>"""


def chrome(*words: str, folder) -> str:
    ended = subprocess.run(
        [CHROME, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         f"--user-data-dir={folder / 'profile'}", "--window-size=1200,1600", *words],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return ended.stdout


@pytest.mark.parametrize("area", RUNS)
def test_a_report_is_whole_in_a_browser(area, tmp_path):
    run = tmp_path / "run"
    for words in ([*RUNS[area], "--out", str(run)], ["report", str(run)]):
        subprocess.run([sys.executable, "-m", "extremal.cli", *words], check=True, cwd=tmp_path)
    page = (run / "full-report.html").read_text()
    probed = tmp_path / "probed.html"
    probed.write_text(page.replace("</head>", PROBE + "</head>"))
    shown = chrome("--dump-dom", "--virtual-time-budget=5000", probed.as_uri(), folder=tmp_path)
    title = re.search(r"<title>(.*?)</title>", shown)
    assert title is not None
    seen = json.loads(title[1].replace("&quot;", '"'))
    assert seen["words"] > 200
    assert seen["broken"] == 0
    assert seen["outside"] == 0
    assert not seen["wide"], "the page scrolls sideways"
    assert seen["pictures"] == page.count("<img ")
    for source in re.findall(r'src="data:image/png;base64,([^"]+)"', page):
        assert base64.b64decode(source).startswith(b"\x89PNG")


def test_a_missing_picture_is_noticed(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(f"<html><head>{PROBE}</head><body><img src='none.png'></body></html>")
    shown = chrome("--dump-dom", "--virtual-time-budget=5000", page.as_uri(), folder=tmp_path)
    seen = re.search(r"<title>(.*?)</title>", shown)
    assert seen is not None
    assert json.loads(seen[1].replace("&quot;", '"'))["broken"] == 1
