"""What importing costs, and what the doors show."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
{statement}
heavy = [m for m in ("torch", "numba", "scipy", "matplotlib", "ray", "sklearn") if m in sys.modules]
sys.exit(", ".join(heavy) or 0)
"""


@pytest.mark.parametrize(
    "statement",
    ["import extremal", "import extremal.lab", "import extremal.verify",
     "from extremal import cli; cli.main(['--help'])"],
)  # fmt: skip
def test_light_doors_load_no_heavy_package(statement):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(statement=statement)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr


def test_verify_needs_the_standard_library_only():
    program = (
        "import sys; before = set(sys.modules); import extremal.verify; "
        "new = {m.partition('.')[0] for m in set(sys.modules) - before}; "
        "sys.exit(', '.join(new - set(sys.stdlib_module_names) - {'extremal'}) or 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
