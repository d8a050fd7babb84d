"""An environment of its own for llm-compressor, which pins another transformers than ours."""

import subprocess
import sys
from pathlib import Path

PINS = ("torch==2.13.0", "llmcompressor==0.14.0.1", "compressed-tensors==0.19.0",
        "transformers==5.17.0")  # fmt: skip


def python_of(folder: Path) -> Path:
    """Return the interpreter of the environment in `folder`, which is made where it is missing.

    Raises:
        CalledProcessError: It cannot be installed.
    """
    python = folder / "bin" / "python"
    done = folder / ".installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        for step in (PINS[:1], PINS):  # torch first, or the peer chooses another build
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *step], check=True)
        done.write_text("\n".join(PINS) + "\n")
    return python
