"""The verb `export`: what is left of a pruning on this machine, measured, in files to deploy."""

import copy
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from extremal import training
from extremal.lab import (
    Run,
    Table,
    accuracy_part,
    append_record,
    atomic_write,
    command,
    resolve,
    timing_part,
    to_plain,
)
from extremal.training import Data

from ._architecture import PARENT, WEIGHTS, load_network
from ._certificate import PACKED, counts, write_networks, write_with
from ._config import ExportConfig
from ._errors import CompressionError
from ._export_report import write_export_report
from ._int8 import int8_file, rounded
from ._load import KERNELS
from ._measure import difference, latencies, outputs_of
from ._n_to_m import Projection, project
from ._onnx import write_onnx
from ._packed import dense_bytes
from ._probe import probe
from ._sparse_linear import Kernel, with_sparse_kernels
from ._start import EXPORT, Start, find_start

_COMPARED = 100
_INT8, _ONNX = "int8.packed", "model.onnx"


@dataclass(frozen=True)
class Exported:
    """What was written and measured.

    Attributes:
        model: The network as deployed, with the sparse kernels that were kept.
        kernels: What was measured of each linear layer with enough zeros.
        files: Bytes of each file.
        dense_bytes: Of the values of the dense network, as they are in memory.
        latency: Median seconds "before" and "after" export, by batch; where a run of `compress`
            was given, also of the "dense" network that it was cut from.
        memory: Bytes that a fresh process needs for network and forward pass, "before", "after".
        difference: The largest difference of outputs, before and after.
        reloaded: The largest difference between this process and a fresh one.
        accuracy: By the same names, where there are data.
        projection: What a pattern cost, where one was asked for.
    """

    model: nn.Module
    config: ExportConfig
    kernels: tuple[Kernel, ...]
    files: dict[str, int]
    dense_bytes: int
    latency: dict[str, dict[int, float]]
    memory: dict[str, int]
    difference: float
    reloaded: float
    accuracy: dict[str, float]
    projection: Projection | None
    note: str = ""
    path: Path | None = None
    certificate: Path | None = None

    def table(self) -> Table:
        """Before and after."""
        rows: list[list[Any]] = []
        for name in self.latency:
            file = {"after": self.files[PACKED], next(iter(self.latency)): self.dense_bytes}
            row: list[Any] = [name, file.get(name), self.memory.get(name)]
            row += [round(1000 * self.latency[name][b], 3) for b in self.config.batches]
            row.append(f"{self.accuracy[name]:.2%}" if self.accuracy else None)
            rows.append(row)
        if _INT8 in self.files:
            blanks: list[Any] = [None] * (len(self.config.batches) + 2)
            rows.append(["int8 file", self.files[_INT8], *blanks])
        kept = sum(k.kept for k in self.kernels)
        title = (
            f"{kept} of {len(self.kernels)} sparse linear layers kept; outputs differ by at most "
            f"{self.difference:.3g}"
        )
        if self.projection is not None:
            title += f"; {self.projection.pattern} cost {self.projection.lost:.2%} of the survivors"
        if self.note:
            title += f". {self.note}"
        columns = ["network", "file bytes", "memory bytes"]
        columns += [f"ms, batch {b}" for b in self.config.batches]
        return Table([*columns, "accuracy"], rows, title)

    def as_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return {
            "files": self.files,
            "dense_bytes": self.dense_bytes,
            "latency": {k: {str(b): s for b, s in v.items()} for k, v in self.latency.items()},
            "memory": self.memory,
            "kernels": [
                {
                    "layer": k.layer,
                    "sparsity": k.sparsity,
                    "dense": {str(b): s for b, s in k.dense.items()},
                    "sparse": {str(b): s for b, s in k.sparse.items()},
                    "kept": k.kept,
                }
                for k in self.kernels
            ],
            "max_difference": self.difference,
            "reloaded_difference": self.reloaded,
            "accuracy": self.accuracy,
            "projection": None
            if self.projection is None
            else {**to_plain(self.projection), "lost": self.projection.lost},
            "note": self.note,
            "path": None if self.path is None else str(self.path),
            "certificate": None if self.certificate is None else str(self.certificate),
            "config": to_plain(self.config),
        }


@command(options=ExportConfig, inputs=("model_or_run",))
def export(
    model_or_run: Any,
    data: Data | None = None,
    *,
    config: ExportConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Exported:
    """Write a network for deployment and measure what it costs on this machine.

    Args:
        model_or_run: A run folder of `compress`, `prune` or `fit`, one of their results, or a
            torch module; it is never changed.
        data: What accuracy is measured on; by default the run's. Without any, give `shape`.
        config: All options at once; or give any of its fields as keywords.
        out: The folder, which this verb must have. `compression.load(out)` opens it again.
        resume: A folder that is finished is measured no second time.
        force: Replace what is in `out`.
        **options: Fields of `ExportConfig`.

    Returns:
        Files, latencies, memory and differences, before and after.

    Raises:
        ValueError: An option makes no sense, or `out` is missing.
        CompressionError: The network cannot be written, torch.compile does not work, or a fresh
            process does not give the same outputs.
        RunError: `out` holds another run.

    Cost: two fresh processes (3 s each), and for each sparse linear layer its timed repetitions;
    compiling one takes some seconds.
    """
    settings = resolve(ExportConfig, config, options)
    if out is None:
        raise ValueError("export writes files: give out, or --out FOLDER.")
    start = find_start(model_or_run, data, settings)
    if start.reason:
        raise CompressionError(f"the network cannot be written: {start.reason}")
    plain = {
        **to_plain(settings),
        "start_sha256": training.weights_digest(start.model),
        "data_sha256": start.data_key,
    }
    with Run.create(out, kind=EXPORT, config=plain, resume=resume, force=force) as run:
        if resume and (run.path / "result.json").exists():
            return _again(run, settings)
        with training.threads_used(settings.threads):
            return _exported(run, start, settings)


def _exported(run: Run, start: Start, config: ExportConfig) -> Exported:
    folder, shape = run.path, start.shape
    run.write_json("start.json", {"data": start.origin(), "shape": list(shape)})
    model = copy.deepcopy(start.model).eval()
    projection = None if config.pattern is None else project(model, config.pattern)
    files: dict[str, int] = {}
    if config.int8:
        integers = rounded(model)
        atomic_write(folder / _INT8, int8_file(model, integers))
        files[_INT8] = (folder / _INT8).stat().st_size
    inputs = start.inputs(_COMPARED, config.seed)
    reference = outputs_of(start.model, inputs)
    dense = copy.deepcopy(model)  # what the files hold; the deployed one may have sparse kernels
    kernels: list[Kernel] = []
    if config.target == "cpu":
        model, kernels = with_sparse_kernels(
            model, shape, config.batches, config.repeats, config.dense
        )
    elif config.target == "cuda":
        model = with_semi_structured(model)
    atomic_write(
        folder / KERNELS,
        json.dumps({"sparse": [k.layer for k in kernels if k.kept]}, indent=1) + "\n",
    )
    found = _on_its_device(model, inputs)
    part = write_networks(folder, dense, start.model, shape, (reference, found))
    for name in (WEIGHTS, PACKED):
        files[name] = (folder / name).stat().st_size
    if config.onnx:
        files[_ONNX] = write_onnx(folder / _ONNX, dense, shape)

    memory: dict[str, int] = {}
    # The files hold float32 values; on a GPU half-precision ones answer.
    held = found if config.target != "cuda" else outputs_of(dense, inputs)
    outputs = held
    threads = torch.get_num_threads()
    for name, prefix in (("before", PARENT), ("after", "")):
        outputs, used = probe(folder, prefix, inputs, threads)
        memory[name] = max(used["peak"] - used["before"], 0)
    reloaded = difference(outputs, held)
    if reloaded > 1e-4 * max(1.0, float(found.abs().max())):
        raise CompressionError(
            f"a fresh process gives outputs that differ by {reloaded:.3g}; the export is not what "
            "was measured. Restore the folder, or report the network."
        )
    # Where the run knows what it was cut from, that is what a reader compares with.
    older: dict[str, nn.Module] = {} if start.parent is None else {"dense": start.parent}
    timed = {**older, "before": start.model, "after": model}
    samples = {
        b: _cuda_latencies(timed, shape, b, config.repeats)
        if config.target == "cuda"
        else latencies(timed, shape, b, config.repeats)
        for b in config.batches
    }
    latency = {name: {b: median(s[name]) for b, s in samples.items()} for name in timed}
    accuracy: dict[str, float] = {}
    others = [
        timing_part(f"forward pass of {b} inputs, {name}", s[name], data="random inputs")
        for b, s in samples.items()
        for name in (*older, "before", "after")
    ]
    if start.data is not None:
        for name, network in (*older.items(), ("before", start.model), ("after", dense)):
            evaluation = training.evaluate(network, start.data)
            accuracy[name] = evaluation.top1
            others.append(
                accuracy_part(
                    f"network {name} export",
                    evaluation.correct,
                    evaluation.labels,
                    data=f"{start.data.name}, test split",
                    seed=config.seed,
                    note=start.note,
                )
            )
    certificate = write_with(folder, part, others)
    result = Exported(
        model=model,
        config=config,
        kernels=tuple(kernels),
        files=files,
        dense_bytes=dense_bytes((start.parent or start.model).state_dict()),
        latency=latency,
        memory=memory,
        difference=difference(reference, found),
        reloaded=reloaded,
        accuracy=accuracy,
        projection=projection,
        note=start.note,
        path=folder,
        certificate=certificate,
    )
    write_export_report(folder, result, counts(start.model, shape), counts(dense, shape))
    if not run.records():
        append_record(
            folder / "records.jsonl",
            question="What does a network cost on this machine before and after export?",
            configuration=run.config,
            seed=config.seed,
            samples={**result.as_json(), "seconds": {str(b): s for b, s in samples.items()}},
            notes=start.note,
        )
    run.write_json("result.json", result.as_json())
    return result


def _again(run: Run, config: ExportConfig) -> Exported:
    from ._load import load

    plain = run.read_json("result.json")

    def by_batch(values: dict[str, float]) -> dict[int, float]:
        return {int(b): s for b, s in values.items()}

    load_network(run.path)  # refuses a folder whose files were changed
    projection = plain["projection"]
    if projection is not None:
        projection = Projection(
            projection["pattern"],
            projection["before"],
            projection["after"],
            tuple(projection["skipped"]),
        )
    return Exported(
        model=load(run.path),
        config=config,
        kernels=tuple(
            Kernel(
                k["layer"], k["sparsity"], by_batch(k["dense"]), by_batch(k["sparse"]), k["kept"]
            )
            for k in plain["kernels"]
        ),
        files=plain["files"],
        dense_bytes=plain["dense_bytes"],
        latency={name: by_batch(v) for name, v in plain["latency"].items()},
        memory=plain["memory"],
        difference=plain["max_difference"],
        reloaded=plain["reloaded_difference"],
        accuracy=plain["accuracy"],
        projection=projection,
        note=plain["note"],
        path=run.path,
        certificate=run.path / "certificate.json",
    )


def with_semi_structured(model: nn.Module) -> nn.Module:
    """Move a network to the GPU in half precision, its 2:4 linear layers in torch's 2:4 storage.

    Raises:
        CompressionError: There is no CUDA device of capability 8.0 or newer, or no layer is 2:4.
    """
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0):
        raise CompressionError(
            "target='cuda' needs a CUDA device of capability 8.0 or newer, and torch finds none; "
            "use target='cpu', or target='file' to write files only."
        )
    moved = model.half().cuda()
    count = 0
    for module in moved.modules():
        if not isinstance(module, nn.Linear) or any(n % 64 for n in module.weight.shape):
            continue
        groups = module.weight.detach().reshape(-1, 4)
        if int((groups != 0).sum(1).max()) <= 2:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # torch calls it a prototype
                sparse: Any = torch.sparse.to_sparse_semi_structured(module.weight.detach())
            module.weight = nn.Parameter(sparse, requires_grad=False)
            count += 1
    if not count:
        raise CompressionError(
            "no linear layer whose sides are multiples of 64 has the pattern 2:4; give "
            "pattern='2:4' to project the weights first."
        )
    return moved


def _on_its_device(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    weight = next(model.parameters(), None)
    if weight is None or weight.device.type == "cpu":
        return outputs_of(model, inputs)
    return outputs_of(model, inputs.to(weight.device, torch.float16)).cpu()


def _cuda_latencies(
    models: dict[str, nn.Module], shape: tuple[int, ...], batch: int, repeats: int
) -> dict[str, list[float]]:
    """As `latencies`, in half precision on the GPU, by its own clock."""
    inputs = torch.randn(batch, *shape, device="cuda", dtype=torch.float16)
    samples: dict[str, list[float]] = {}
    for name, model in models.items():
        there = model if name == "after" else copy.deepcopy(model).half().cuda()
        samples[name] = _cuda_seconds(there.eval(), inputs, repeats)
    return samples


def _cuda_seconds(model: nn.Module, inputs: torch.Tensor, repeats: int) -> list[float]:
    samples: list[float] = []
    with torch.inference_mode():
        for number in range(repeats + 3):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            model(inputs)
            end.record()
            torch.cuda.synchronize()
            if number >= 3:
                samples.append(begin.elapsed_time(end) / 1000)
    return samples
