"""What does memory depend on: depth when pruning, weights when training mask_lora?

Run:      python benchmarks/llm/memory.py
Expect:   6 and 24 blocks of one width differ by less than a block; mask_lora keeps no byte per
          weight for the backward pass beyond the model, where the plain form keeps 5 in float32
          (W + s M*(BA) and a boolean mask), with bit-identical gradients; temporary memory is one
          tile.
Fairness: each depth in a process of its own, the largest resident memory of the process; the
          adapter against the same formula written with autograd, the bytes that autograd saves.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor, nn

from extremal.lab import Table, append_record, read_records

HERE = Path(__file__).resolve().parent
QUESTION = "What does memory depend on: depth when pruning, weights when training mask_lora?"
WIDTH = {"hidden_size": 512, "intermediate_size": 1408, "num_attention_heads": 8,
         "num_key_value_heads": 8, "vocab_size": 64, "max_position_embeddings": 64,
         "tie_word_embeddings": False}  # fmt: skip
BLOCK = 4 * (4 * 512 * 512 + 3 * 512 * 1408)  # bytes of one block
PROGRAM = """
import json, sys
from extremal import llm
from extremal.llm._usage import peak_bytes
llm.prune(sys.argv[1], out=sys.argv[2], calibration=sys.argv[3], samples=8, window=32,
          micro_batch=4, update=sys.argv[4], threads=1)
print(json.dumps(peak_bytes()))
"""


@dataclass(frozen=True)
class Options:
    """What is measured."""

    depths: tuple[int, ...] = (6, 12, 24)
    updates: tuple[str, ...] = ("none", "sparsegpt")
    size: int = 2048
    """Of the square layer with the adapter."""
    work: Path = Path("runs/memory")
    out: Path = HERE / "results" / "memory.jsonl"


def model(folder: Path, depth: int) -> None:
    """Write a random Llama with a tokenizer of characters."""
    import transformers
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(num_hidden_layers=depth, **WIDTH)
    network = transformers.AutoModelForCausalLM.from_config(config)
    network.save_pretrained(folder, max_shard_size="50MB")
    words = {c: i for i, c in enumerate(["<unk>", *"abcdefghijklmnopqrstuvwxyz "])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))


def depth(options: Options) -> dict[str, Any]:
    """Peak memory of pruning, by depth."""
    options.work.mkdir(parents=True, exist_ok=True)
    text = options.work / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog " * 100)
    peaks: dict[str, dict[str, int]] = {u: {} for u in options.updates}
    for n in options.depths:
        model(options.work / f"m{n}", n)
        for update in options.updates:
            out = options.work / f"o{n}{update}"
            words = [sys.executable, "-W", "ignore", "-c", PROGRAM,
                     str(options.work / f"m{n}"), str(out), str(text), update]  # fmt: skip
            found = subprocess.run(words, capture_output=True, text=True, check=True)
            peaks[update][str(n)] = int(found.stdout.split()[-1])
            shutil.rmtree(out)
    return {"peak bytes": peaks, "block bytes": BLOCK}


def adapter(options: Options) -> dict[str, Any]:
    """Bytes that are kept for the backward pass, and the gradients."""
    from torch.autograd.graph import saved_tensors_hooks

    from extremal.llm import AdaptedLinear, effective

    torch.manual_seed(0)
    n = options.size
    layer = nn.Linear(n, n, bias=False)
    mask = torch.rand(n, n) > 0.5
    with torch.no_grad():
        layer.weight.masked_fill_(~mask, 0)
    adapted = AdaptedLinear(layer, "mask_lora", mask)
    with torch.no_grad():
        adapted.B.copy_(0.1 * torch.randn(adapted.B.shape))
    x = torch.randn(64, n, requires_grad=True)
    given = {t.untyped_storage().data_ptr() for t in (layer.weight, adapted.A, adapted.B, x)}

    def saved(forward: Any) -> tuple[int, list[Tensor]]:
        kept: dict[int, int] = {}

        def note(t: Tensor) -> Tensor:
            if t.untyped_storage().data_ptr() not in given:
                kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        held: list[Tensor] = []
        with saved_tensors_hooks(lambda t: held.append(t) or note(t), lambda t: t):
            y = forward()
        for p in (x, adapted.A, adapted.B):
            p.grad = None
        y.backward(torch.ones_like(y))
        grads = [p.grad.clone() for p in (x, adapted.A, adapted.B) if p.grad is not None]
        return sum(kept.values()), grads

    def plain() -> Tensor:
        weight = effective("mask_lora", layer.weight, mask, adapted.A, adapted.B, adapted.scaling)
        return nn.functional.linear(x, weight)

    ours, one = saved(lambda: adapted(x))
    theirs, two = saved(plain)
    adapted.tile = n * 256
    tiled, three = saved(lambda: adapted(x))
    return {
        "weights": n * n,
        "saved bytes": ours,
        "saved bytes, plain form": theirs,
        "saved bytes, tiled": tiled,
        "tile bytes": 4 * adapted.tile,
        "gradients identical": all(torch.equal(a, b) for a, b in zip(one, two, strict=True)),
        "largest difference, tiled": max(
            float((a - b).abs().max() / b.abs().max()) for a, b in zip(three, two, strict=True)
        ),
    }


def table(records: list[dict[str, Any]]) -> list[Table]:
    """The newest record of each part."""
    newest = {r["configuration"]["part"]: r["samples"] for r in records}
    peaks, block = newest["depth"]["peak bytes"], newest["depth"]["block bytes"]
    a = newest["adapter"]
    n = a["weights"]
    return [
        Table(
            ["update", "blocks", "peak MB", "above the least, in blocks"],
            [
                [update, int(d), round(p / 1e6, 1), round((p - min(by.values())) / block, 3)]
                for update, by in peaks.items()
                for d, p in by.items()
            ],
            f"Pruning, width 512: one block has {block / 1e6:.1f} MB",
        ),
        Table(
            ["form", "saved bytes a weight", "gradients"],
            [
                ["mask_lora", a["saved bytes"] / n,
                 "bit-identical" if a["gradients identical"] else "differ"],
                ["mask_lora, tiled", a["saved bytes, tiled"] / n,
                 f"within {a['largest difference, tiled']:.1e}"],
                ["autograd", round(a["saved bytes, plain form"] / n, 2), "the same formula"],
            ],
            f"mask_lora on a layer of {n:,} weights, float32",
        ),
    ]  # fmt: skip


def main() -> None:
    """Measure both, then print the tables."""
    options = tyro.cli(Options)
    for part, measure in (("adapter", adapter), ("depth", depth)):
        append_record(
            options.out, question=QUESTION,
            configuration={"part": part, "depths": list(options.depths), "size": options.size},
            seed=0, samples=measure(options), notes="one thread",
        )  # fmt: skip
    shutil.rmtree(options.work, ignore_errors=True)
    for one in table(read_records(options.out)):
        print(one.as_text(), end="\n\n")


if __name__ == "__main__":
    main()
