"""The verb `prune`: a model folder and a pattern in; the same model with zeros out."""

import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from extremal.lab import Run, RunError, Table, command, from_plain, resolve, to_plain
from extremal.training import write_tensors

from ._certificate import MASKS, ClaimedLayer, write_model_certificate, write_parent
from ._config import PruneConfig
from ._errors import FewTokensWarning
from ._folder import RUN, ModelFolder
from ._load import open_sparse
from ._masking import LayerReport
from ._report import write_prune_report
from ._retrain import CHECKPOINT, RetrainConfig, Retrained, prepare, train_into
from ._skeleton import Skeleton
from ._stream import Stream, UnitReport
from ._text import context_of, draw_windows, read_text, text_sha256, tokenizer_of
from ._usage import Clock
from ._writer import copy_files

KIND = "llm/prune"


@dataclass(frozen=True)
class LLMPruned:
    """What `prune` wrote.

    Attributes:
        path: The folder; transformers loads it as it is.
        certificate: `certificate.json` in it.
        config: The options.
        units: What was done to every unit of blocks.
        tokens: Calibration tokens, 0 where none were needed.
        retrained: What the retraining afterwards did, where it was asked for.
        around: Seconds before the first unit and after the last one, by phase.
    """

    path: Path
    certificate: Path
    config: PruneConfig
    units: tuple[UnitReport, ...]
    tokens: int
    retrained: Retrained | None = None
    around: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def layers(self) -> tuple[LayerReport, ...]:
        """Every pruned layer, from input to output."""
        return tuple(layer for unit in self.units for layer in unit.layers)

    @property
    def size(self) -> int:
        """Weights of the pruned layers."""
        return sum(layer.size for layer in self.layers)

    @property
    def pruned(self) -> int:
        """How many of them are pruned."""
        return sum(layer.pruned for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """The fraction pruned, over the linear layers of the blocks."""
        return self.pruned / self.size

    @property
    def seconds(self) -> dict[str, float]:
        """Time by phase."""
        total = dict(self.around)
        for unit in self.units:
            for phase, value in unit.seconds.items():
                total[phase] = total.get(phase, 0.0) + value
        return total

    @property
    def peak_bytes(self) -> int:
        """Largest resident memory of the process."""
        return max(unit.peak_bytes for unit in self.units)

    def table(self) -> Table:
        """A row for every unit of blocks."""

        def mean(values: list[float | None]) -> float | None:
            known = [v for v in values if v is not None]
            return sum(known) / len(known) if known else None

        rows: list[list[str | int | float | None]] = []
        for unit in self.units:
            size = sum(x.size for x in unit.layers)
            rows.append(
                [
                    ", ".join(map(str, unit.blocks)),
                    size,
                    sum(x.pruned for x in unit.layers),
                    sum(x.pruned for x in unit.layers) / size if size else None,
                    mean([x.error_masked for x in unit.layers]),
                    mean([x.error_updated for x in unit.layers]),
                    sum(r.before for r in unit.repairs) if unit.repairs else None,
                    sum(r.after for r in unit.repairs) if unit.repairs else None,
                    round(sum(unit.seconds.values()), 2),
                ]
            )
        return Table(
            ["blocks", "weights", "pruned", "sparsity", "error masked", "error updated",
             "mse before", "mse after", "seconds"],
            rows,
            f"{self.pruned:,} of {self.size:,} weights pruned ({self.sparsity:.4%})"
            f"{self._training()}; {self.path}",
        )  # fmt: skip

    def _training(self) -> str:
        if self.retrained is None:
            return ""
        losses = self.retrained.losses
        tenth = max(1, len(losses) // 10)
        first, last = sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth
        return (
            f"; {self.retrained.trained:,} parameters retrained in {len(losses)} steps, loss "
            f"{first:.4f} to {last:.4f}"
        )

    def as_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return {
            "path": str(self.path),
            "certificate": str(self.certificate),
            "sparsity": self.sparsity,
            "pruned": self.pruned,
            "size": self.size,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "peak_bytes": self.peak_bytes,
            "units": [to_plain(unit) for unit in self.units],
            "config": to_plain(self.config),
            "retrained": None if self.retrained is None else self.retrained.as_json(),
        }


@command(options=PruneConfig, inputs=("model",))
def prune(
    model: str | Path,
    *,
    config: PruneConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> LLMPruned:
    """Prune a Hugging Face causal language model block by block, and write it as a plain folder.

    Args:
        model: The model's folder, with safetensors.
        config: All options at once; or give any of its fields as keywords.
        out: The new folder. It holds the model as any tool loads it (dense tensors with zeros), and
            beside it `certificate.json`, `report.html` and `run/` (masks, journal).
        resume: Go on with an interrupted run in `out`; the bytes are the same as without the stop.
        force: Replace the run in `out`.
        **options: Fields of `PruneConfig`; they replace those of `config`.

    Returns:
        What was pruned, layer by layer, with errors, time and memory.

    Raises:
        ValueError: An option makes no sense.
        LLMError: The folder, its layers or the text cannot be used.
        RunError: `out` holds another run.

    Cost: memory for the embeddings and one block with its Gram matrices; on the disk the output and
    one or two files of activations.
    """
    settings = resolve(PruneConfig, config, options)
    if out is None:
        raise ValueError("prune writes a model folder: give out, or --out FOLDER.")
    if settings.needs_text and settings.calibration is None:
        raise ValueError(
            f"criterion {settings.criterion}, update {settings.update}, repair {settings.repair} "
            "need calibration text: give --calibration FILE."
        )
    out = Path(out)
    folder = ModelFolder(model)
    if out.resolve() == folder.path.resolve():
        raise ValueError("out is the model's own folder; choose another.")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device_of(settings.device)
    text = "" if settings.calibration is None else read_text(Path(settings.calibration))
    use = settings.needs_text
    clock = Clock(torch.device(settings.device))
    identity = {
        **to_plain(settings),
        "calibration": text_sha256(text) if use else None,
        "source": folder.file_hashes(),
    }
    clock.mark("hashes")
    with open_run(out, KIND, identity, resume=resume, force=force) as run:
        if resume and (run.path / "result.json").exists():
            return load_llm_pruned(out)
        if settings.repair == "retrain":
            return _with_retraining(folder, settings, out, run, text)
        ids = None
        if use:
            window = context_of(_text_config(folder), settings.window)
            ids = draw_windows(
                tokenizer_of(folder.path), text, window=window, samples=settings.samples,
                seed=settings.seed, mode=settings.mode,
            )  # fmt: skip
        clock.mark("text")
        stream = Stream(folder, settings, run, out, ids, clock)
        if ids is not None and settings.needs_gram:
            _warn_few(stream.skeleton, settings.skip, ids.numel())
        clock.mark("frame")
        units = stream.work()
        return _finished(stream, units, 0 if ids is None else ids.numel())


def _with_retraining(
    folder: ModelFolder, config: PruneConfig, out: Path, run: Run, text: str
) -> LLMPruned:
    """Prune into a folder inside the run, train what lies there, write the result, remove it."""
    stage = run.path / "pruned"
    plain = replace(config, repair="none", train=(), steps=PruneConfig.steps)
    pruned = prune(folder.path, out=stage, config=plain, resume=stage.exists())
    training = RetrainConfig(
        train=config.groups, steps=config.steps, batch_size=config.batch_size, lr=config.lr,
        rank=config.rank, alpha=config.alpha, window=config.window, device=config.device,
        shard_bytes=config.shard_bytes, seed=config.seed,
    )  # fmt: skip
    retrained = train_into(prepare(open_sparse(stage), training, text), out, run, folder)
    assert retrained.certificate is not None
    result = replace(
        pruned, path=out, certificate=retrained.certificate, config=config, retrained=retrained
    )
    write_prune_report(out, result)
    _keep(run, result)
    (run.path / CHECKPOINT).unlink(missing_ok=True)
    shutil.rmtree(stage)
    return result


def _keep(run: Run, result: LLMPruned) -> None:
    """Note the result; `result.json` comes last and says that all is whole."""
    run.log(**result.as_json())
    run.write_json(
        "result.json",
        {
            "config": to_plain(result.config),
            "units": [to_plain(u) for u in result.units],
            "tokens": result.tokens,
            "retrained": None if result.retrained is None else result.retrained.as_json(),
            "around": result.around,
        },
    )


def _finished(stream: Stream, units: list[UnitReport], tokens: int) -> LLMPruned:
    folder, out, run = stream.folder, stream.out, stream.run
    tensor_of = stream.skeleton.tensor_of
    trained = {name for unit in units for name in unit.trained}
    claimed = [
        ClaimedLayer(tensor_of[f"{x.name}.weight"], x.transposed, x.rule)
        for unit in units
        for x in unit.layers
    ]
    masks = stream.masks(len(units))
    table = {name: (mask.dtype, tuple(mask.shape)) for name, mask in masks.items()}
    with ThreadPoolExecutor(2) as pool:  # hashing and writing: a core each, while others copy
        side = [
            pool.submit(write_tensors, out / MASKS, table, lambda name: [masks[name]]),
            pool.submit(write_parent, out, folder, None),
        ]
        stream.copy_rest(trained | {c.tensor for c in claimed})
        copy_files(folder.path, folder.other_files(), out)
        for job in side:
            job.result()
    stream.clock.mark("masks, other tensors, parent")
    certificate = write_model_certificate(out, claimed, masks, trained)
    stream.clock.mark("certificate")
    result = LLMPruned(
        out, certificate, stream.config, tuple(units), tokens, around=stream.clock.seconds
    )
    write_prune_report(out, result)
    _keep(run, result)
    shutil.rmtree(run.path / "activations", ignore_errors=True)
    return result


def load_llm_pruned(out: str | Path) -> LLMPruned:
    """Open the result of a finished run of `prune`.

    Raises:
        RunError: There is none, or it is not finished.
    """
    out = Path(out)
    held = Run.open(out / RUN, KIND).read_json("result.json")
    return LLMPruned(
        out,
        out / "certificate.json",
        from_plain(PruneConfig, held["config"]),
        tuple(from_plain(UnitReport, u) for u in held["units"]),
        held["tokens"],
        None if held["retrained"] is None else from_plain(Retrained, held["retrained"]),
        held.get("around", {}),
    )


def open_run(out: Path, kind: str, identity: dict[str, Any], *, resume: bool, force: bool) -> Run:
    """Open the run inside an output folder; the folder itself must be new or ours.

    Raises:
        RunError: It holds files that are not ours, or another run.
    """
    entries = [p for p in out.iterdir() if p.name != RUN] if out.is_dir() else []
    ours = (out / RUN / "config.json").exists()
    if entries and not ours:
        raise RunError(
            f"{out} has files in it that no run of ours wrote, so nothing in it is touched; choose "
            "another --out."
        )
    run = Run.create(out / RUN, kind=kind, config=identity, resume=resume, force=force)
    fresh = not (run.path / "journal.json").exists() and not resume
    if entries and fresh:
        for entry in entries:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return run


def device_of(name: str) -> torch.device:
    """Return a device.

    Raises:
        ValueError: There is no such device here.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"there is no device {name!r}; there are cpu and cuda.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("the device cuda was asked for, but torch finds no GPU here; use cpu.")
    return device


def _text_config(folder: ModelFolder) -> Any:
    from types import SimpleNamespace

    config = folder.config
    for name in ("max_position_embeddings", "n_positions"):
        if isinstance(config.get(name), int):
            return SimpleNamespace(max_position_embeddings=config[name])
    return SimpleNamespace(max_position_embeddings=None)


def _warn_few(skeleton: Skeleton, skip: tuple[str, ...], tokens: int) -> None:
    widest = 0
    for layer in skeleton.layers(0, skip):
        widest = max(widest, layer.weight.shape[1])
    if tokens < 2 * widest:
        warnings.warn(
            f"{tokens} calibration tokens are fewer than twice the {widest} inputs of the widest "
            "layer, so its Gram matrix is noisy; raise --samples or --window.",
            FewTokensWarning,
            stacklevel=3,
        )
