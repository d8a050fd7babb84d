"""Every command and every Python block in README and the pages of the areas runs as it stands.

The blocks of a page run in order in an empty folder that has the real data beside it. Where a page
shows output, it must come out: words and integers exactly, hashes as hashes, decimal fractions to
ten percent (they depend on the processor), and `...` as whatever there is.
"""

import itertools
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "tutorials").glob("*.md")),
]
# These train networks, search for minutes, or study a network over many seeds.
SLOW = {
    "README.md", "colour-the-plane.md", "coloring.md", "compression.md", "flows.md", "index.md",
    "interpret.md", "llm.md", "prune-to-deploy.md", "pruning.md", "tcurves.md", "training.md",
}  # fmt: skip

DENSE = "extremal training fit --model resnet20 --data digits --epochs 20 --out runs/dense"
# What a page supposes to be there: commands before its console blocks, code before its Python.
COMMANDS = {"pruning.md": [DENSE]}
FILES = {"llm.md"}  # whose code below makes files that the commands use too
CODE = {
    "compression.md": """
from extremal import training
training.fit(model="cnn", data="digits", epochs=3, out="runs/aware")
""",
    "frankwolfe.md": """
from sklearn.datasets import load_breast_cancer
import torch
X, y = load_breast_cancer(return_X_y=True)
X, y = (X - X.mean(0)) / X.std(0), 2.0 * y - 1
model = torch.nn.Linear(3, 2)
""",
    "interpret.md": """
import numpy as np
def my_arthur(codes, masks):
    return np.where(masks.any(axis=1), 0, -1)
def my_explainer(codes, classes):
    masks = np.zeros(codes.shape, bool)
    masks[:, :2] = True
    return masks
from sklearn.datasets import load_wine
rows, kinds = load_wine(return_X_y=True)
x, y, x_new, y_new = rows[::2], kinds[::2], rows[1::2], kinds[1::2]
""",
    "llm.md": """
import pathlib
for name in ("samples.txt", "held-out.txt"):
    pathlib.Path(name).write_text(pathlib.Path("../shared/data/babyllama/samples.txt").read_text())
pathlib.Path("MODEL").symlink_to("../shared/data/babyllama")
""",
    "pruning.md": """
import torch
from extremal import pruning, training
data = training.load_data("digits")
train_loader, test_loader = (
    [(s.images[:64].float(), s.labels[:64])] for s in (data.train, data.test)
)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(train_loader[0][0][0].numel(), 10))
my_loss = torch.nn.functional.cross_entropy
""",
}


@dataclass(frozen=True)
class Command:
    """A line after `$`, and the output shown below it."""

    words: list[str]
    shown: list[str]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[Command]:
    found: list[Command] = []
    for line in block.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            found.append(Command(shlex.split(line[2:], comments=True), []))
        else:
            found[-1].shown.append(line)
    return found


def with_block(language: str):
    slow = pytest.mark.slow
    return [
        pytest.param(page, id=page.stem, marks=[slow] if page.name in SLOW else [])
        for page in PAGES
        if blocks(page, language)
    ]


@pytest.fixture
def folder(tmp_path, shared_data):
    """An empty folder that has the real data beside it, as a checkout has."""
    (tmp_path / "shared").symlink_to(shared_data.parent)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "benchmarks").symlink_to(ROOT / "benchmarks")
    return tmp_path / "here"


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", with_block("console"))
def test_the_commands_of_a_page(page, folder):
    pytest.importorskip("torch")
    if page.name in FILES:
        assert run([sys.executable, "-c", CODE[page.name]], folder).returncode == 0
    shown = [c for block in blocks(page, "console") for c in commands(block)]
    for command in [*(Command(shlex.split(w), []) for w in COMMANDS.get(page.name, [])), *shown]:
        if command.words[0] == "make":
            target = re.compile(rf"^{command.words[1]}:", re.MULTILINE)
            assert target.search((ROOT / "Makefile").read_text()), command.words
            continue
        if command.words[0] in {"pip", "torchrun"} or "mynets:resnet" in command.words:
            continue  # installing, and networks of the reader's own, have tests of their own
        assert command.words[0] == "extremal", f"nothing checks {command.words}"
        ended = run([sys.executable, "-m", "extremal.cli", *command.words[1:]], folder)
        allowed = {0, 1, 3} if command.shown else {0, 3}  # 1: what is shown says no
        assert ended.returncode in allowed, f"{command.words}: {ended.stderr[-2000:]}"
        if command.shown:
            agree(command.shown, ended.stdout.splitlines())


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", with_block("python"))
def test_the_python_of_a_page(page, folder):
    pytest.importorskip("torch")
    code = "\n".join([CODE.get(page.name, ""), *blocks(page, "python")])
    ended = run([sys.executable, "-c", code], folder)
    assert ended.returncode == 0, ended.stderr[-2000:]


def agree(shown: list[str], found: list[str]) -> None:
    """Compare output with what a page shows of it."""
    left = iter(found)
    for line in shown:
        if line.strip() == "...":
            continue
        if not any(_alike(line, other) for other in left):
            raise AssertionError(
                f"the page shows {line!r}, but the output is:\n" + "\n".join(found)
            )


_HASH = re.compile(r"[0-9a-f]{12,}")


def _alike(shown: str, found: str) -> bool:
    old, new = shown.split(), found.split()
    if len(old) != len(new) and "..." not in old:
        return False
    pairs = zip(old, new, strict=False)  # beyond `...` nothing is compared
    return all(_same(a, b) for a, b in itertools.takewhile(lambda p: p[0] != "...", pairs))


def _same(a: str, b: str) -> bool:
    a, b = a.strip("[](),"), b.strip("[](),")
    if a == b or (_HASH.fullmatch(a) and _HASH.fullmatch(b)):
        return True
    try:
        x, y = float(a), float(b)
    except ValueError:
        return False
    return ("." in a or "." in b) and abs(x - y) <= 0.1 * max(abs(x), abs(y))


def test_output_that_differs_is_noticed():
    agree(["rejected 2 of 0.53"], ["something", "rejected 2 of 0.55"])
    for wrong in ("rejected 3 of 0.53", "accepted 2 of 0.53", "rejected 2 of 0.7", "rejected 2"):
        with pytest.raises(AssertionError):
            agree(["rejected 2 of 0.53"], [wrong])
