"""On one GPU, are 7 billion weights pruned in seconds, and can 30 billion be retrained?

Run:      python benchmarks/llm/gpu.py (makes the random model once, on a file system in memory;
          --parts chooses, --blocks 2 tries it out)
Expect:   128 windows of 2048 tokens: Wanda in 30 s, SparseGPT in 60 s, an epoch of reconstruction
          in 30 s; 2:4 kernels faster than dense ones for large products only; bias and norms of a
          model with 30 billion weights train within 80 GB.
Floor:    T = 262,144 tokens; a block has 202,375,168 weights, 32 of them 6.48e9. Rates assumed: 700
          TFLOP/s in bfloat16, 45 in float32, 50 in float64, 3 TB/s.
          a forward chain    2 * 6.48e9 * T + 1.4e14 (attention)  3.5e15 FLOP      5.1 s
          Wanda              two chains; the first needs no down projection, the second no last
                             block: 6.2e15 FLOP                                    8.9 s
          SparseGPT          and Grams 2 T (3 * 4096^2 + 11008^2) a block, 2.9e15  4.1 s
                             factors 4/3 d^3, four a block, 6.6e13 in float32      1.5 s
                             to the right of slabs, sum of o d^2, 3.7e13 float32   0.8 s
                             layer errors, three o d^2 products, 2.2e14 float64    4.4 s
          an epoch           three forward costs, 1.06e16 FLOP                     15 s
                             AdamW, some 60 bytes a weight and step, 32 steps      4.1 s
          The folder: 13.5 GB are read, hashed, written and hashed again.
Fairness: times are of the whole verb, from the folder to the folder with masks, certificate and
          report; imports and the making of the model are before the clock, loading of kernels is in
          it. Random weights and tokens: quality is not a question here. No peer was at hand on
          the machine of these records. 2:4 products rotate through more weights
          than the cache holds; both forms in bfloat16, by CUDA graphs (kernels alone) and by single
          calls (with what launching costs).
"""

import gc
import json
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
import tyro
from torch import Tensor, nn

from extremal.lab import Table, append_record, read_records, to_plain

HERE = Path(__file__).resolve().parent
QUESTION = (
    "Does a model with 7 billion weights prune in seconds on one GPU, and one with 30 retrain?"
)
PARTS = ("wanda", "sparsegpt", "kernels", "retrain-30b", "reconstruct")
PRUNING = ("wanda", "sparsegpt", "reconstruct")
SQUARE = (4096, 4096)
SHAPES = (SQUARE, (11008, 4096), (4096, 11008))
TOKENS = (1, 16, 128, 2048, 8192)
_CACHE = 200_000_000  # bytes of weights to rotate through: several times the cache


@dataclass(frozen=True)
class Options:
    """What is measured."""

    parts: tuple[str, ...] = PARTS
    blocks: int = 32
    width: int = 4096
    inner: int = 11008
    heads: int = 32
    vocabulary: int = 32000
    samples: int = 128
    window: int = 2048
    repair_blocks: int = 32
    """Of the reconstruction: the first so many; 0 for as many as fit into the seconds left."""
    layers: int = 48
    """Of the model with 30 billion weights; fewer where they do not fit."""
    steps: int = 6
    """Of its retraining, of 4 windows of 512 tokens."""
    seconds: float = 1e9
    """For all parts: none is started after so long."""
    device: str = "cuda"
    profile: Path | None = None
    """A folder for tables of where the time of each part goes."""
    work: Path = Path("/dev/shm/extremal-llm")
    out: Path = HERE / "results" / "gpu.jsonl"


def model(options: Options) -> Path:
    """Write the random model: a Llama of these sizes a shard for each block, with a tokenizer."""
    import transformers
    from safetensors.torch import save_file

    folder = options.work / "model"
    if (folder / "model.safetensors.index.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    d, i = options.width, options.inner
    config = transformers.LlamaConfig(
        vocab_size=options.vocabulary, hidden_size=d, intermediate_size=i,
        num_hidden_layers=options.blocks, num_attention_heads=options.heads,
        num_key_value_heads=options.heads, max_position_embeddings=max(4096, options.window),
        tie_word_embeddings=False, architectures=["LlamaForCausalLM"], dtype="bfloat16",
    )  # fmt: skip
    config.save_pretrained(folder)
    block = {
        **{f"self_attn.{x}_proj.weight": (d, d) for x in "qkvo"},
        "mlp.gate_proj.weight": (i, d), "mlp.up_proj.weight": (i, d),
        "mlp.down_proj.weight": (d, i), "input_layernorm.weight": (d,),
        "post_attention_layernorm.weight": (d,),
    }  # fmt: skip
    groups: list[dict[str, tuple[int, ...]]] = [
        {
            "model.embed_tokens.weight": (options.vocabulary, d), "model.norm.weight": (d,),
            "lm_head.weight": (options.vocabulary, d),
        }
    ]  # fmt: skip
    groups += [
        {f"model.layers.{b}.{name}": shape for name, shape in block.items()}
        for b in range(options.blocks)
    ]
    torch.manual_seed(0)
    weights: dict[str, str] = {}
    with ThreadPoolExecutor(4) as pool:
        jobs: list[Any] = []
        for n, group in enumerate(groups):
            file = f"model-{n + 1:05}-of-{len(groups):05}.safetensors"
            tensors = {name: values(shape, options.device).cpu() for name, shape in group.items()}
            weights |= dict.fromkeys(group, file)
            jobs.append(pool.submit(save_file, tensors, folder / file, {"format": "pt"}))
        for job in jobs:
            job.result()
    tokenizer(folder, options.vocabulary)
    index = {"metadata": {}, "weight_map": weights}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def values(shape: tuple[int, ...], device: str) -> Tensor:
    """Normal weights as transformers starts them; ones for a norm."""
    if len(shape) == 1:
        return torch.ones(shape, device=device, dtype=torch.bfloat16)
    return 0.02 * torch.randn(shape, device=device, dtype=torch.bfloat16)


def tokenizer(folder: Path, size: int) -> None:
    """Write a tokenizer whose words are numbers, and a text of random ones."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({f"{i}": i for i in range(size)}, unk_token="0"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "0"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    numbers = torch.randint(size, (150_000,), generator=torch.Generator().manual_seed(0))
    (folder / "text.txt").write_text(" ".join(map(str, numbers.tolist())))


def first_blocks(folder: Path, count: int) -> Path:
    """Return a folder of the same model's first blocks, with links to its shards."""
    config = json.loads((folder / "config.json").read_text())
    if count >= config["num_hidden_layers"]:
        return folder
    short = folder.parent / f"first-{count}"
    shutil.rmtree(short, ignore_errors=True)
    short.mkdir()
    table = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    files = sorted(set(table.values()))[: 1 + count]
    for file in (*files, "tokenizer.json", "tokenizer_config.json"):
        (short / file).symlink_to(folder / file)
    (short / "config.json").write_text(json.dumps({**config, "num_hidden_layers": count}))
    index = {"metadata": {}, "weight_map": {n: f for n, f in table.items() if f in files}}
    (short / "model.safetensors.index.json").write_text(json.dumps(index))
    return short


def fitting(options: Options, begun: float) -> int:
    """How many blocks can be reconstructed in the seconds left, from the record of Wanda."""
    if options.repair_blocks:
        return options.repair_blocks
    done = [r for r in read_records(options.out) if r["configuration"]["part"] == "wanda"]
    samples = done[-1]["samples"]
    chain = samples["phases"]["propagation"] / max(samples["blocks"] - 1, 1)
    # Statistics, targets, propagation, two errors and three for training; AdamW; files; the rest.
    left = options.seconds - (time.perf_counter() - begun) - 10
    return max(1, min(options.blocks, int(left / (8.5 * chain + 0.5))))


def pruned(options: Options, part: str, begun: float) -> dict[str, Any]:
    """Time and memory of `llm.prune`, by phase and by block."""
    from extremal import llm

    folder = model(options)
    repair: dict[str, Any] = {"criterion": part}
    if part == "reconstruct":
        folder = first_blocks(folder, fitting(options, begun))
        repair = {"repair": "reconstruct", "epochs": 1, "batch_size": 4}
    out = options.work / "pruned"
    shutil.rmtree(out, ignore_errors=True)
    if options.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    begun = time.perf_counter()
    result = llm.prune(
        folder, out=out, pattern="0.5", calibration=str(options.work / "model" / "text.txt"),
        samples=options.samples, window=options.window, micro_batch=8, device=options.device,
        shard_bytes=1_000_000_000, **repair,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    shutil.rmtree(out)
    found: dict[str, Any] = {
        "seconds": seconds,
        "phases": result.seconds,
        "by block": [sum(unit.seconds.values()) for unit in result.units],
        "blocks": sum(len(unit.blocks) for unit in result.units),
        "weights": result.size,
        "pruned": result.pruned,
        "host peak bytes": result.peak_bytes,
        "gpu peak bytes": gpu_peak(options.device),
        "relative layer errors": [x.error_updated for x in result.layers],
        "notes": sorted({x.note for x in result.layers if x.note}),
    }
    if part == "reconstruct":
        repairs = [r for unit in result.units for r in unit.repairs]
        found["epoch seconds"] = sum(r.seconds for r in repairs)
        found["mean squared errors"] = [[r.before, r.after] for r in repairs]
    return found


def gpu_peak(device: str) -> int | None:
    """Most bytes allocated on the GPU."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else None


# Dense against 2:4 ------------------------------------------------------------------------------


def kernels(options: Options) -> dict[str, Any]:
    """Seconds of a product of each shape: dense, and 2:4 by each of torch's libraries."""
    lt = torch.sparse.SparseSemiStructuredTensorCUSPARSELT
    sparse: dict[str, Any] = {
        "cuSPARSELt": lt, "searched": lt, "CUTLASS": torch.sparse.SparseSemiStructuredTensorCUTLASS,
    }  # fmt: skip
    d, i = options.width, options.inner
    rows: list[dict[str, Any]] = []
    for shape in ((d, d), (i, d), (d, i)):
        weights = [two_four(shape) for _ in range(max(2, -(-_CACHE // (2 * d * shape[1]))))]
        forms: dict[str, list[Any]] = {"dense": weights}
        refused: dict[str, str] = {}
        for name, kind in sparse.items():
            try:
                forms[name] = [kind.from_dense(w) for w in weights]
                nn.functional.linear(torch.zeros(64, shape[1]).to(weights[0]), forms[name][0])
            except (RuntimeError, NotImplementedError, ValueError, AttributeError) as error:
                refused[name] = str(error).splitlines()[0][:200]
                forms.pop(name, None)
        for tokens in TOKENS:
            x = torch.randn(tokens, shape[1], device="cuda", dtype=torch.bfloat16)
            wanted = x.float() @ weights[0].float().T
            for name, several in forms.items():
                row: dict[str, Any] = {"shape": list(shape), "tokens": tokens, "form": name}
                try:
                    if name == "searched":
                        row["algorithm"] = search(x, several)
                    given = nn.functional.linear(x, several[0]).float()
                    row["relative error"] = float((given - wanted).norm() / wanted.norm())
                    row["single calls"] = single_calls(x, several)
                    row["graphs"] = graphs(x, several)
                except RuntimeError as error:
                    row["refused"] = str(error).splitlines()[0][:200]
                rows.append(row)
            for name, why in refused.items():
                rows.append({"shape": list(shape), "tokens": tokens, "form": name, "refused": why})
        del weights, forms
    return {"products": rows}


def search(x: Tensor, weights: list[Any]) -> int:
    """Let cuSPARSELt try all its algorithms on this product, and note the best."""
    padded = torch.zeros(-(-len(x) // 16) * 16, x.shape[1], device=x.device, dtype=x.dtype)
    best = int(torch._cslt_sparse_mm_search(weights[0].packed, padded.T))
    for weight in weights:
        weight.alg_id_cusparselt = best
    return best


def two_four(shape: tuple[int, int]) -> Tensor:
    """A random bfloat16 weight with two random zeros in every four."""
    weight = values(shape, "cuda")
    order = torch.rand(shape[0], shape[1] // 4, 4, device="cuda").argsort(-1)
    return weight * (order < 2).reshape(shape)


def single_calls(x: Tensor, weights: list[Any], repeats: int = 20) -> list[float]:
    """Seconds of single products, each waited for."""
    found: list[float] = []
    for i in range(repeats + 5):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        nn.functional.linear(x, weights[i % len(weights)])
        torch.cuda.synchronize()
        found.append(time.perf_counter() - begun)
    return found[5:]


def graphs(x: Tensor, weights: list[Any], repeats: int = 20) -> list[float]:
    """Seconds of a product within a graph of one product with each weight."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for w in weights:
            nn.functional.linear(x, w)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for w in weights:
            nn.functional.linear(x, w)
    found: list[float] = []
    for _ in range(repeats + 3):
        one, two = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        one.record()
        graph.replay()
        two.record()
        torch.cuda.synchronize()
        found.append(one.elapsed_time(two) / 1e3 / len(weights))
    return found[3:]


# 30 billion weights -----------------------------------------------------------------------------


def retrain_30b(options: Options) -> dict[str, Any]:
    """Retrain bias and norms of an OPT-30B-shaped model, built on the GPU, half of it zero."""
    import transformers

    from extremal.llm._load import Sparse
    from extremal.llm._retrain import RetrainConfig, _Session, _train

    d, heads = (7168, 56) if options.width == 4096 else (options.width, options.heads)
    about: dict[str, Any] = {
        "hidden_size": d, "ffn_dim": 4 * d, "num_attention_heads": heads, "word_embed_proj_dim": d,
        "vocab_size": 50272, "max_position_embeddings": 2048, "dropout": 0.0,
    }  # fmt: skip
    gc.collect()
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0]
    block = 2 * (12 * d * d + 13 * d)
    layers = min(options.layers, int((free - 8e9 - 2 * 52320 * d) // block))
    with torch.device("meta"):
        config = transformers.OPTConfig(num_hidden_layers=layers, **about)
        network: Any = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    network.to_empty(device="cuda")
    network.tie_weights()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, p in network.named_parameters():
            if p.dim() == 1:
                p.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            p.normal_(0, 0.02)
            if ".layers." in name:
                p.view(-1, 4)[:, ::2] = 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    settings = RetrainConfig(
        train=("bias", "norm"), text="random tokens", steps=options.steps, batch_size=4,
        window=512, checkpointing=True, save_every=10**6, device="cuda",
    )  # fmt: skip
    nothing: Any = None
    session = _Session(network.eval(), Sparse(nothing, {}, {}, {}, {}, None), settings, None)
    ids = torch.randint(50272, (4 * options.steps, 512), generator=torch.Generator().manual_seed(0))
    run: Any = SimpleNamespace(path=options.work)
    losses, seconds = _train(session, ids, run)
    return {
        "layers": layers,
        "parameters": sum(p.numel() for p in network.parameters()),
        "trained": session.count,
        "gpu bytes before": held,
        "gpu peak bytes": gpu_peak("cuda"),
        "gpu peak bytes reserved": torch.cuda.max_memory_reserved(),
        "seconds": seconds,
        "losses": losses,
        "tokens a step": 4 * 512,
    }


# Records ----------------------------------------------------------------------------------------


def profiled(options: Options, part: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Measure, and write a table of where the time went."""
    if options.profile is None:
        return measure()
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        found = measure()
    options.profile.mkdir(parents=True, exist_ok=True)
    for key in ("self_cuda_time_total", "self_cpu_time_total"):
        text = profiler.key_averages().table(sort_by=key, row_limit=40, max_name_column_width=60)
        (options.profile / f"{part}-{key}.txt").write_text(text)
    return found


def imported() -> None:
    """Import what the verbs import when they run, before any clock starts."""
    from importlib import import_module

    for name in ("matplotlib.pyplot", "transformers.models.llama", "transformers.models.auto"):
        import_module(name)
    transformers: Any = import_module("transformers")
    for name in ("AutoModelForCausalLM", "AutoTokenizer", "LlamaForCausalLM"):
        getattr(transformers, name)


def machine(options: Options) -> dict[str, Any]:
    """The GPU and the file system of the folders."""
    if options.device != "cuda":
        return {"gpu": None}
    about = torch.cuda.get_device_properties(0)
    return {
        "gpu": about.name, "gpu bytes": about.total_memory, "cuda": torch.version.cuda,
        "folders": "in memory" if str(options.work).startswith("/dev/shm") else "on a disk",
        "cores": os.cpu_count(),
    }  # fmt: skip


def table(records: list[dict[str, Any]]) -> list[Table]:
    """The newest record of each part that is done."""
    newest = {r["configuration"]["part"]: r for r in records if r["status"] == "done"}
    on = " and ".join(sorted({str(r["configuration"].get("gpu")) for r in newest.values()}))
    times: list[list[str | int | float | None]] = []
    for part in PRUNING:
        if part not in newest:
            continue
        s = newest[part]["samples"]
        epoch = s.get("epoch seconds")
        rest = ", ".join(f"{k} {v:.1f}" for k, v in s["phases"].items() if v >= 0.05)
        times.append(
            [part, s["blocks"], s["weights"], round(s["seconds"], 1),
             None if epoch is None else round(epoch, 1),
             round((s["gpu peak bytes"] or 0) / 1e9, 1), round(s["host peak bytes"] / 1e9, 1), rest]
        )  # fmt: skip
    tables = [
        Table(
            ["part", "blocks", "weights", "seconds", "of these the epoch", "GPU peak GB",
             "host peak GB", "phases"],
            times,
            f"A model of 7B shape, 128 windows of 2048 tokens, on one {on}",
        )
    ]  # fmt: skip
    if "kernels" in newest:
        tables.append(_products(newest["kernels"]["samples"]["products"], on))
    if "retrain-30b" in newest:
        s = newest["retrain-30b"]["samples"]
        tables.append(
            Table(
                ["blocks", "parameters", "trained", "share", "weights GB", "peak GB",
                 "seconds a step", "tokens a step"],
                [[s["layers"], s["parameters"], s["trained"],
                  f"{s['trained'] / s['parameters']:.4%}", round(s["gpu bytes before"] / 1e9, 1),
                  round(s["gpu peak bytes"] / 1e9, 1),
                  round(s["seconds"] / len(s["losses"]), 2), s["tokens a step"]]],
                f"Bias and norms of an OPT-30B-shaped model, checkpointing, bfloat16, on one {on}",
            )
        )  # fmt: skip
    return tables


def _products(rows: list[dict[str, Any]], on: str) -> Table:
    by: dict[tuple[int, int, int], dict[str, dict[str, Any]]] = {}
    for r in rows:
        by.setdefault((*r["shape"], r["tokens"]), {})[r["form"]] = r
    lines: list[list[str | int | float | None]] = []
    for (o, d, tokens), forms in by.items():
        dense = forms["dense"]
        line: list[str | int | float | None] = [f"{o} x {d}", tokens]
        for how in ("graphs", "single calls"):
            base = median(dense[how])
            line.append(round(1e6 * base, 1))
            for name in ("cuSPARSELt", "searched", "CUTLASS"):
                r = forms.get(name, {})
                line.append(round(base / median(r[how]), 2) if how in r else "refused")
        lines.append(line)
    return Table(
        ["weight", "tokens", "dense, us", "cuSPARSELt", "searched", "CUTLASS", "dense call, us",
         "cuSPARSELt call", "searched call", "CUTLASS call"],
        lines,
        f"Dense against 2:4 in bfloat16 on one {on}: times as fast as dense (above 1: faster); "
        "searched: cuSPARSELt after trying its algorithms",
    )  # fmt: skip


def main() -> None:
    """Measure part by part, each recorded at once; then print the tables."""
    options = tyro.cli(Options)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU here; nothing is measured.")
        return
    imported()
    begun = time.perf_counter()
    if set(PRUNING) & set(options.parts):
        model(options)
        print(f"model made, {time.perf_counter() - begun:.1f} s", flush=True)
    for part in options.parts:
        if time.perf_counter() - begun > options.seconds:
            print(f"{part}: no time left", flush=True)
            continue
        work: dict[str, Callable[[], dict[str, Any]]] = {
            "kernels": lambda: kernels(options), "retrain-30b": lambda: retrain_30b(options),
        }  # fmt: skip
        measure = work.get(part, lambda part=part: pruned(options, part, begun))
        started = time.perf_counter()
        try:
            samples, status = profiled(options, part, measure), "done"
        except Exception as error:  # noqa: BLE001 - a failure is recorded, the next part goes on
            samples, status = {"error": f"{type(error).__name__}: {error}"[:2000]}, "failed"
        plain = to_plain(options)
        for name in ("parts", "work", "out", "profile", "seconds"):
            del plain[name]
        append_record(
            options.out, question=QUESTION,
            configuration={"part": part, **plain, **machine(options)}, seed=0, samples=samples,
            status=status, wall_seconds=time.perf_counter() - started,
        )  # fmt: skip
        said = {k: v for k, v in samples.items() if not isinstance(v, list)}
        print(f"{part}: {status} {said}", flush=True)
    shutil.rmtree(options.work / "pruned", ignore_errors=True)
    for one in table(read_records(options.out)):
        print(one.as_text(), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
