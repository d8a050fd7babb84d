"""Beside llm-compressor: the same masks, no worse a model, no more time and memory?

Run:      python benchmarks/llm/beside_llmcompressor.py (makes the peer's environment if need be)
Expect:   row-Wanda masks of the first block agree in 99.9 % and more; perplexity as good or better;
          wall time and peak memory no worse.
Fairness: the same calibration windows, batches of 8, one thread, float32, a process for each run;
          from reading the folder to the written folder, imports before the clock; ours also writes
          masks, hashes, certificate and report. The real model is small (0.9 M parameters) and says
          what comes out; a random Llama of 100 M parameters says what it takes. Runs alternate. On
          a busy machine the processor's seconds are the fairer ones.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import tyro

from extremal.lab import Table, append_record, read_records

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
QUESTION = "Beside llm-compressor: the same masks, no worse a model, no more time and memory?"
LARGE = {
    "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 12, "num_key_value_heads": 12, "vocab_size": 16384,
    "max_position_embeddings": 512, "tie_word_embeddings": True,
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What is compared."""

    model: Path = Path("../shared/data/babyllama")
    """A small real model, with samples.txt in it."""
    peer: Path = Path(".venv-llmcompressor")
    """The peer's environment; built where it is missing."""
    sparsity: str = "0.5"
    samples: int = 64
    """Windows of 256 tokens on the real model; a quarter of them on the large one."""
    repeats: int = 3
    """Of each run on the large model."""
    methods: tuple[str, ...] = ("wanda", "sparsegpt")
    parts: tuple[str, ...] = ("real", "large")
    work: Path = Path("runs/llmcompressor")
    out: Path = HERE / "results" / "beside_llmcompressor.jsonl"


@dataclass(frozen=True)
class Pair:
    """A model and the same calibration for both."""

    model: Path
    text: Path
    windows: Path
    samples: int
    window: int


def prepared(options: Options, model: Path, text: str, samples: int) -> Pair:
    """Write the text for us and the very windows that we draw from it for the peer."""
    from safetensors.torch import save_file

    from extremal.llm._text import draw_windows, tokenizer_of

    folder = options.work / model.name
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "text.txt"
    file.write_text(text)
    ids = draw_windows(tokenizer_of(model), text, window=256, samples=samples, seed=0)
    save_file({"ids": ids}, folder / "windows.safetensors")
    return Pair(model, file, folder / "windows.safetensors", samples, 256)


def run(options: Options, pair: Pair, side: str, method: str) -> tuple[Path, dict[str, Any]]:
    """Prune once in a process of its own; return the folder and the measurements."""
    from _peer_environment import python_of

    out = options.work / f"{pair.model.name}-{side}-{method}"
    shutil.rmtree(out, ignore_errors=True)
    common = [str(out), method, options.sparsity, "8"]
    if side == "ours":
        words = [sys.executable, str(HERE / "_our_side.py"), str(pair.model), str(pair.text),
                 *common, str(pair.samples), str(pair.window)]  # fmt: skip
        environment = dict(os.environ)
    else:
        words = [str(python_of(options.peer)), str(HERE / "_llmcompressor_peer.py"),
                 str(pair.model), str(pair.windows), *common]  # fmt: skip
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        environment.pop("PYTHONPATH", None)
    found = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if found.returncode:
        raise RuntimeError(f"{side} failed: {found.stderr[-2000:]}")
    return out, json.loads(found.stdout.strip().splitlines()[-1])


def agreement(one: Path, two: Path) -> list[float]:
    """Share of equal mask entries in each block."""
    from extremal.llm._folder import ModelFolder

    a, b = ModelFolder(one), ModelFolder(two)
    shares: list[float] = []
    for block in range(100):
        names = [n for n in a.tensors if f".layers.{block}." in n and n.endswith("_proj.weight")]
        if not names:
            break
        same = [(a.read(n) == 0) == (b.read(n) == 0) for n in names]
        shares.append(sum(int(s.sum()) for s in same) / sum(s.numel() for s in same))
    return shares


def real(options: Options) -> None:
    """Masks and perplexity on the real model."""
    from extremal import llm

    text = (options.model / "samples.txt").read_text()
    cut = text.index("\n\n", int(0.8 * len(text)))
    held = options.work / "held-out.txt"
    held.parent.mkdir(parents=True, exist_ok=True)
    held.write_text(text[cut:])
    pair = prepared(options, options.model, text[:cut], options.samples)
    for method in options.methods:
        ours, about = run(options, pair, "ours", method)
        theirs, peer = run(options, pair, "theirs", method)
        for side in (ours, theirs):  # one transformers reads both
            shutil.copyfile(options.model / "tokenizer.json", side / "tokenizer.json")
        losses = {
            name: list(llm.evaluate(folder, text=str(held)).losses)
            for name, folder in (("ours", ours), ("theirs", theirs), ("dense", options.model))
        }
        record(options, "real", method, {
            "agreement by block": agreement(ours, theirs), "losses": losses, "ours": [about],
            "theirs": [peer],
        })  # fmt: skip


def large(options: Options) -> None:
    """Time and memory on a random model of 100 M parameters."""
    import torch
    import transformers

    folder = options.work / "llama-100m"
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        config = transformers.LlamaConfig(**LARGE)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(options.model / name, folder / name)
    text = (options.model / "samples.txt").read_text()
    pair = prepared(options, folder, text, options.samples // 4)
    for method in options.methods:
        found: dict[str, list[Any]] = {"ours": [], "theirs": []}
        for i in range(options.repeats):
            for side in ("ours", "theirs") if i % 2 == 0 else ("theirs", "ours"):
                found[side].append(run(options, pair, side, method)[1])
        record(options, "large", method, found)


def record(options: Options, part: str, method: str, samples: dict[str, Any]) -> None:
    """Append a record."""
    from _peer_environment import PINS

    append_record(
        options.out,
        question=QUESTION,
        configuration={
            "part": part, "method": method, "sparsity": options.sparsity, "pins": list(PINS),
            "samples": options.samples,
            "network": LARGE if part == "large" else options.model.name,
        },
        seed=0,
        samples=samples,
        notes="one thread",
    )  # fmt: skip


def table(records: list[dict[str, Any]]) -> list[Table]:
    """What comes out, and what it takes; the newest record of each."""
    newest = {(r["configuration"]["part"], r["configuration"]["method"]): r for r in records}
    out: list[list[str | int | float | None]] = []
    cost: list[list[str | int | float | None]] = []
    for (part, method), r in sorted(newest.items()):
        about, samples = r["configuration"], r["samples"]
        if part == "real":
            logs = {k: sum(v) / len(v) for k, v in samples["losses"].items()}
            steps = [
                a - b
                for a, b in zip(samples["losses"]["ours"], samples["losses"]["theirs"], strict=True)
            ]
            shares = samples["agreement by block"]
            out.append(
                [method, about["sparsity"], f"{shares[0]:.4%}", f"{min(shares):.4%}",
                 round(logs["dense"], 4), round(logs["ours"], 4), round(logs["theirs"], 4),
                 round(sum(steps) / len(steps), 4)]
            )  # fmt: skip
        else:
            for side in ("ours", "theirs"):
                runs = samples[side]
                seconds = [x["seconds"] for x in runs]
                most, imported = (
                    round(max(x[k] for x in runs) / 1e6) for k in ("peak_bytes", "imported_bytes")
                )
                cost.append(
                    [method, side, len(runs), round(median(seconds), 1), round(min(seconds), 1),
                     round(max(seconds), 1), cpu(runs), most, imported]
                )  # fmt: skip
    return [
        Table(
            ["method", "sparsity", "masks agree, first block", "worst block", "log dense",
             "ours", "llm-compressor", "difference"],
            out,
            "Real model, held-out text",
        ),
        Table(
            ["method", "side", "runs", "seconds, median", "least", "most", "CPU seconds", "peak MB",
             "MB after imports"],
            cost,
            "Random Llama of 100 M parameters",
        ),
    ]  # fmt: skip


def cpu(runs: list[dict[str, Any]]) -> float | None:
    """Median of the processor's seconds, which others on the machine do not lengthen."""
    found = [x["cpu_seconds"] for x in runs if "cpu_seconds" in x]
    return round(median(found), 1) if found else None


def main() -> None:
    """Measure, then print the tables."""
    options = tyro.cli(Options)
    if not options.model.is_dir():
        print(f"{options.model} is not there; give --model FOLDER. Nothing is measured.")
        return
    for name, part in (("real", real), ("large", large)):
        if name in options.parts:
            part(options)
    shutil.rmtree(options.work, ignore_errors=True)
    for one in table(read_records(options.out)):
        print(one.as_text(), end="\n\n")


if __name__ == "__main__":
    main()
