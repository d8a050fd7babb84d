"""Our side of `beside_llmcompressor.py`, in a process of its own; prints one line of JSON.

Usage:  python _our_side.py MODEL TEXT OUT METHOD SPARSITY BATCH SAMPLES WINDOW
"""

import json
import sys
import time

import numba
import torch
import transformers

from extremal import llm
from extremal.llm._usage import peak_bytes


def main() -> None:
    """Prune and save, with masks, certificate and report."""
    model, text, out, method, sparsity, batch, samples, window = sys.argv[1:]
    torch.set_num_threads(1)
    # Imported before the clock starts, as all of the peer is.
    assert transformers.AutoModelForCausalLM
    assert transformers.AutoTokenizer
    assert transformers.LlamaForCausalLM
    assert numba
    imported, begun, worked = peak_bytes(), time.perf_counter(), time.process_time()
    result = llm.prune(
        model, out=out, criterion=method, pattern=sparsity, calibration=text, samples=int(samples),
        window=int(window), micro_batch=int(batch), threads=1,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_seconds": time.process_time() - worked,
                "imported_bytes": imported,
                "peak_bytes": peak_bytes(),
                "phases": result.seconds,
            }
        )
    )


if __name__ == "__main__":
    main()
