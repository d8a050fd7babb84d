"""The peer's side of `beside_llmcompressor.py`; runs in its environment, prints a line of JSON.

Usage:  PYTHON _llmcompressor_peer.py MODEL WINDOWS.safetensors OUT METHOD SPARSITY BATCH
"""

import json
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def peak() -> int:
    """Largest resident memory of this process so far; getrusage begins with the parent's."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def main() -> None:
    """Prune and save, as the peer's examples do."""
    model, windows, out, method, sparsity, batch = sys.argv[1:]
    torch.set_num_threads(1)
    imported, begun, worked = peak(), time.perf_counter(), time.process_time()
    ids = load_file(windows)["ids"]
    data = Dataset.from_dict(
        {"input_ids": ids.tolist(), "attention_mask": torch.ones_like(ids).tolist()}
    )
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    kind = {"wanda": WandaPruningModifier, "sparsegpt": SparseGPTModifier}[method]
    recipe = kind(sparsity=float(sparsity), mask_structure="0:0", targets=[r"re:.*proj$"])
    oneshot(
        model=network, dataset=data, recipe=recipe, max_seq_length=ids.shape[1],
        num_calibration_samples=len(ids), shuffle_calibration_samples=False,
        batch_size=int(batch),
    )  # fmt: skip
    network.save_pretrained(out)
    seconds = time.perf_counter() - begun
    about = {"seconds": seconds, "cpu_seconds": time.process_time() - worked}
    print(json.dumps({**about, "imported_bytes": imported, "peak_bytes": peak()}))


if __name__ == "__main__":
    main()
