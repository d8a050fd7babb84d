"""A fresh process that opens an exported folder: the same outputs? how much memory?

Run by `export` as `python -m extremal.compression._probe FOLDER PREFIX INPUTS OUT`; it writes the
outputs to OUT and prints one line of JSON.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from extremal import training

from ._errors import CompressionError


def probe(folder: Path, prefix: str, inputs: Tensor, threads: int) -> tuple[Tensor, dict[str, int]]:
    """Open a network in a fresh process and run it.

    Returns:
        Its outputs, and bytes: "peak" in use while loading and running, "before" it, both of the
        whole process.

    Raises:
        CompressionError: The process failed; its last words are given.
    """
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place) / "inputs.safetensors", Path(place) / "outputs.safetensors"
        training.save_tensors(source, {"inputs": inputs})
        command = [sys.executable, "-W", "ignore", "-m", __name__]
        command += [str(folder), prefix, str(source), str(target), str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            words = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise CompressionError(
                f"a fresh process cannot run the network in {folder}: {words}. Export it again."
            )
        outputs = training.load_tensors(target)["outputs"]
        return outputs, json.loads(done.stdout.strip().splitlines()[-1])


def _peak() -> int:
    """Bytes of memory at most so far (since the last reset, where the system can)."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    import resource

    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _reset() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not allowed: the peak then includes importing torch
        return


def _main(words: list[str]) -> dict[str, Any]:
    from ._load import load

    folder, prefix, source, target, threads = words
    torch.set_num_threads(int(threads))
    inputs = training.load_tensors(source)["inputs"]
    _reset()
    before = _peak()
    model = load(folder, prefix=prefix)
    with torch.inference_mode():
        outputs = torch.cat([model(part) for part in inputs.split(100)])
    peak = _peak()
    training.save_tensors(target, {"outputs": outputs})
    return {"before": before, "peak": peak}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_main(sys.argv[1:])) + "\n")
