"""The verb `retrain`: train few parameters of a pruned model and keep its zeros (PERP).

Source: Zimmer, Andoni, Spiegel, Pokutta, arXiv:2312.15230. Differs from it: text is packed instead
of padded; the merged model is saved; the head is untied explicitly before it is trained.
"""

import json
import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from extremal.lab import (
    Run,
    Section,
    Table,
    Text,
    atomic_write,
    command,
    derive_seed,
    from_plain,
    progress,
    resolve,
    sha256_file,
    to_plain,
    write_report,
)
from extremal.pruning import group_parameters
from extremal.training import load_tensors, save_tensors

from ._adapter_files import check_free, hashes, load_adapters, read_adapters, save_adapters
from ._adapters import AdaptedLinear, attach, merge
from ._bits import pack_bits
from ._certificate import MASKS, ClaimedLayer, write_model_certificate, write_parent
from ._entries import all_finite, kept
from ._errors import LLMError
from ._experts import take_apart
from ._folder import NAME_OF, ModelFolder, Stored
from ._load import Sparse, load_model, open_sparse
from ._skeleton import find_blocks
from ._text import context_of, draw_windows, read_text, text_sha256, tokenizer_of
from ._train import DEFAULT_LR, Trainer, check_groups
from ._writer import FolderWriter, copy_files

KIND = "llm/retrain"
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class RetrainConfig:
    """What `llm.retrain` trains."""

    train: tuple[str, ...] = ("mask_lora", "norm")
    """Any of bias, norm, head and one adapter (lora, lora_prune, mask_lora, scale_lora, spp, hira);
    or full: everything, with pruned weights held at zero."""
    text: str | None = None
    """A text file (.txt, .jsonl)."""
    steps: int = 200
    """Optimiser steps; 0 merges the adapters of --start as they are."""
    batch_size: int = 8
    """Windows of a step."""
    lr: float | None = None
    """Largest rate; None takes one that suits each group."""
    warmup: float = 0.1
    """Share of the steps in which the rate rises; then it falls to 0."""
    clip: float = 1.0
    """Norm to which gradients are clipped."""
    rank: int = 16
    """Of the adapter and of the head's LoRA."""
    alpha: float = 32.0
    """The scaling is alpha / rank."""
    start: str | None = None
    """A folder of adapters to start from: of --adapters, or a LoRA or HiRA of PEFT."""
    adapters: str | None = None
    """A folder for the trained adapters, apart from the model; lora and hira as PEFT reads them."""
    window: int | None = None
    """Tokens of a window; None is the model's context, at most 2048."""
    distill: str | None = None
    """The dense model's folder: learn its predictions too."""
    distill_weight: float = 0.5
    """Share of the loss that is the divergence from the dense model."""
    untie: bool = False
    """Give the output layer a weight of its own, where it is tied to the embedding."""
    allow_dense: bool = False
    """Merge a plain lora although the zeros are lost."""
    checkpointing: bool = False
    """Trade time for memory: gradient checkpointing."""
    save_every: int = 100
    """Steps between checkpoints."""
    shard_bytes: int = 5_000_000_000
    """Size of an output shard."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = 0
    """Of torch; 0 leaves its own number."""
    seed: int = 0
    """Of windows and adapters."""

    def __post_init__(self) -> None:
        adapter = check_groups(self.train)
        if self.batch_size < 1 or self.rank < 1 or self.save_every < 1:
            raise ValueError("batch_size, rank and save_every must be 1 or more.")
        if self.steps < (0 if self.start is not None else 1):
            raise ValueError(f"steps={self.steps} trains nothing; give 1 or more (0 with --start).")
        if adapter is None and (self.start is not None or self.adapters is not None):
            raise ValueError(
                f"start and adapters belong to an adapter, but {' '.join(self.train)} trains none."
            )
        if not 0 <= self.warmup < 1 or not 0 <= self.distill_weight <= 1:
            raise ValueError("warmup must be in [0, 1) and distill_weight in [0, 1].")
        if self.lr is not None and not self.lr > 0:
            raise ValueError(f"lr={self.lr} moves nothing; give a rate above 0.")


@dataclass(frozen=True)
class Retrained:
    """What `retrain` wrote.

    Attributes:
        path: The folder.
        certificate: `certificate.json` in it.
        config: The options.
        losses: Of every step.
        trained: Number of trained parameters.
        parameters: Of the whole model.
        sparsity: Of the pruned layers; 0 where a plain lora was merged.
        seconds: Of the training.
    """

    path: Path
    certificate: Path | None
    config: RetrainConfig
    losses: tuple[float, ...]
    trained: int
    parameters: int
    sparsity: float
    seconds: float

    def table(self) -> Table:
        """One row."""
        tenth = max(1, len(self.losses) // 10)
        first, last = (
            round(sum(part) / tenth, 4) if part else None
            for part in (self.losses[:tenth], self.losses[-tenth:])
        )
        return Table(
            ["trained", "parameters", "share", "steps", "loss, first tenth", "loss, last tenth",
             "sparsity", "seconds"],
            [[
                self.trained, self.parameters, f"{self.trained / self.parameters:.3%}",
                len(self.losses), first, last, round(self.sparsity, 6), round(self.seconds, 1),
            ]],
            f"{' '.join(self.config.train)}; {self.path}",
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return to_plain(self)


@command(options=RetrainConfig, inputs=("model",))
def retrain(
    model: str | Path,
    *,
    config: RetrainConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Retrained:
    """Train few parameters of a pruned model; its zeros stay exactly where they are.

    Args:
        model: A folder of `prune`; or any folder, whose zeros are then its masks.
        config: All options at once; or give any of its fields as keywords.
        out: The new folder.
        resume: Go on with an interrupted run in `out`, to the same bytes.
        force: Replace the run in `out`.
        **options: Fields of `RetrainConfig`; they replace those of `config`.

    Returns:
        Losses, counts and the folder.

    Raises:
        ValueError: An option makes no sense.
        LLMError: Folder, masks or text cannot be used, or the training diverged.
        RunError: `out` holds another run.
    """
    from ._prune import open_run

    settings = resolve(RetrainConfig, config, options)
    if out is None:
        raise ValueError("retrain writes a model folder: give out, or --out FOLDER.")
    if settings.text is None and settings.steps:
        raise ValueError("retrain needs text: give text, or --text FILE.")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    out = Path(out)
    sparse = open_sparse(model)
    if out.resolve() == sparse.folder.path.resolve():
        raise ValueError("out is the model's own folder; choose another.")
    adapter = check_groups(settings.train)
    if adapter == "lora" and sparse.masks and not settings.allow_dense:
        raise LLMError(
            "merging a plain LoRA makes the model dense again. Train mask_lora instead, use "
            "lora_prune, or say --allow-dense."
        )
    if adapter not in (None, "lora") and not sparse.masks:
        raise LLMError(
            f"{sparse.folder.path} has neither masks nor zeros, so {adapter} has nothing to keep; "
            "prune it first."
        )
    if settings.start is not None:
        read_adapters(settings.start)  # refused now rather than when they are attached
    if settings.adapters is not None:
        check_free(Path(settings.adapters))
    text = "" if settings.text is None else read_text(Path(settings.text))
    ready = prepare(sparse, settings, text)
    identity = {
        **to_plain(settings),
        "text": text_sha256(text),
        "start": None if settings.start is None else hashes(settings.start),
        "source": sparse.folder.file_hashes(),
        "masks": sha256_file(sparse.folder.path / MASKS)
        if (sparse.folder.path / MASKS).exists()
        else None,
    }
    with open_run(out, KIND, identity, resume=resume, force=force) as run:
        if resume and (run.path / "result.json").exists():
            return load_retrained(out)
        result = train_into(ready, out, run)
        _report(out, result)
        run.log(**result.as_json())
        run.write_json("result.json", result.as_json())
        (run.path / CHECKPOINT).unlink(missing_ok=True)
        return result


@dataclass(frozen=True)
class Ready:
    """What a training starts from.

    Attributes:
        network: The whole model.
        sparse: Its folder and masks.
        config: The options.
        ids: Windows of all steps, in order.
        untied: Name of a tensor that the folder does not store, or None.
    """

    network: nn.Module
    sparse: Sparse
    config: RetrainConfig
    ids: Tensor
    untied: str | None


def prepare(sparse: Sparse, config: RetrainConfig, text: str) -> Ready:
    """Load the model and draw the windows; refuse what cannot be trained.

    Raises:
        ValueError: The window is longer than the context.
        LLMError: The text is too short, or the head is tied.
    """
    from ._prune import device_of

    network: Any = load_model(sparse.folder.path, device_of(config.device))
    if sparse.leaves is not None:
        take_apart(network, sparse.leaves)
    ids = torch.empty(0, 0, dtype=torch.int64)
    if config.steps:
        window = context_of(network.config, config.window)
        ids = draw_windows(
            tokenizer_of(sparse.folder.path), text, window=window,
            samples=config.steps * config.batch_size, seed=config.seed, stream="retrain",
        )  # fmt: skip
    return Ready(network, sparse, config, ids, _untie(network, sparse, config))


def train_into(ready: Ready, out: Path, run: Run, parent: ModelFolder | None = None) -> Retrained:
    """Train, merge and write the folder.

    Args:
        ready: What to start from.
        out: The new folder.
        run: Where checkpoints lie.
        parent: The model that the certificate compares with; by default the one trained.
    """
    config = ready.config
    teacher = None
    if config.distill is not None:
        teacher = load_model(config.distill, next(ready.network.parameters()).device)
    session = _Session(ready.network, ready.sparse, config, teacher)
    losses, seconds = _train(session, ready.ids, run)
    session.finish()
    return _saved(session, ready, out, parent, losses, seconds)


def load_retrained(out: str | Path) -> Retrained:
    """Open the result of a finished run of `retrain`.

    Raises:
        RunError: There is none, or it is not finished.
    """
    held = Run.open(Path(out) / "run", KIND).read_json("result.json")
    return from_plain(Retrained, held)


class _Session:
    """A model with what trains in it."""

    def __init__(
        self, network: nn.Module, sparse: Sparse, config: RetrainConfig, teacher: nn.Module | None
    ) -> None:
        self.network, self.config, self.teacher = network, config, teacher
        for p in network.parameters():
            p.requires_grad_(False)
        parameters: dict[str, Tensor] = {}
        lrs: dict[str, float] = {}
        held: dict[str, Tensor] = {}

        def rate(group: str) -> float:
            return DEFAULT_LR[group] if config.lr is None else config.lr

        for group in config.train:
            if group in ("bias", "norm"):
                for name, p in group_parameters(network, group).items():
                    parameters[name] = p
                    lrs[name] = rate(group)
        if "full" in config.train:
            for name, p in network.named_parameters():
                parameters[name] = p
                lrs[name] = rate("full")
            for name, mask in sparse.masks.items():
                weight = parameters[f"{name}.weight"]
                stored = mask.T if sparse.transposed[name] else mask
                held[f"{name}.weight"] = stored.to(weight.device)
        adapter = check_groups(config.train)
        self.adapters: dict[str, AdaptedLinear] = {}
        layers = sparse.transposed if sparse.masks else {}
        if adapter is not None:
            if not layers:
                layers = sparse.transposed
            masks = {n: m.to(next(network.parameters()).device) for n, m in sparse.masks.items()}
            if config.start is not None:
                self.adapters |= load_adapters(network, config.start, layers, masks, kind=adapter)
            else:
                self.adapters |= attach(
                    network, layers, adapter, masks, rank=config.rank, alpha=config.alpha,
                    seed=config.seed,
                )  # fmt: skip
        self.head: dict[str, AdaptedLinear] = {}
        if "head" in config.train:
            output: Any = network.get_output_embeddings()  # pyright: ignore[reportCallIssue]
            name = next(n for n, m in network.named_modules() if m is output)
            self.head = attach(
                network, {name: False}, "lora", {}, rank=config.rank, alpha=config.alpha,
                seed=derive_seed(config.seed, "head"),
            )  # fmt: skip
        for name, module in {**self.adapters, **self.head}.items():
            for leaf in ("A", "B"):
                parameters[f"{name}.{leaf}"] = getattr(module, leaf)
                lrs[f"{name}.{leaf}"] = rate("head" if name in self.head else module.kind)
        if not parameters:
            raise LLMError(
                f"{type(network).__name__} has no parameters of the groups "
                f"{', '.join(config.train)} (Llama has no biases, for instance); train others."
            )
        self.count = sum(p.numel() for p in parameters.values())
        self.trainer = Trainer(
            parameters, lrs, steps=config.steps, clip=config.clip, masks=held,
            warmup=config.warmup,
        )  # fmt: skip
        if config.checkpointing:
            _checkpoint_blocks(network)

    def loss(self, ids: Tensor) -> Tensor:
        """Next-token cross-entropy, with the teacher's divergence where there is one."""
        given: Any = self.network(input_ids=ids, use_cache=False)
        logits = given.logits[:, :-1].float().flatten(0, 1)
        loss = nn.functional.cross_entropy(logits, ids[:, 1:].flatten())
        if self.teacher is None:
            return loss
        with torch.no_grad():
            wanted: Any = self.teacher(input_ids=ids, use_cache=False)
            soft = wanted.logits[:, :-1].float().flatten(0, 1).log_softmax(-1)
        apart = nn.functional.kl_div(
            logits.log_softmax(-1), soft, log_target=True, reduction="batchmean"
        )
        w = self.config.distill_weight
        return (1 - w) * loss + w * apart

    def finish(self) -> None:
        """Merge what was attached."""
        self.trainer.release()
        if self.config.checkpointing:
            _plain_blocks(self.network)
        if self.config.adapters is not None:
            save_adapters(self.adapters, self.config.adapters)
        merge(self.network, self.adapters, allow_dense=self.config.allow_dense)
        merge(self.network, self.head)


def _train(session: _Session, ids: Tensor, run: Run) -> tuple[list[float], float]:
    import time

    config, trainer = session.config, session.trainer
    losses: list[float] = []
    spent = 0.0
    file = run.path / CHECKPOINT
    if file.exists():
        tensors = load_tensors(file)
        losses = tensors.pop("losses").tolist()
        spent = float(tensors.pop("seconds"))
        trainer.restore(tensors, len(losses))
    device = next(session.network.parameters()).device
    begun = time.perf_counter()
    with progress(config.steps, "steps") as bar:
        bar.advance(len(losses))
        for step in range(len(losses), config.steps):
            part = ids[step * config.batch_size : (step + 1) * config.batch_size].to(device)
            loss = session.loss(part)
            loss.backward()
            trainer.step()
            losses.append(float(loss.detach()))
            if losses[-1] != losses[-1] or losses[-1] == float("inf"):
                raise LLMError(
                    f"the loss of step {step} is not finite; train again with a smaller --lr."
                )
            bar.advance(1, f"loss {losses[-1]:.4f}")
            done = step + 1
            if done % config.save_every == 0 and done < config.steps:
                seconds = spent + time.perf_counter() - begun
                log = {
                    "losses": torch.tensor(losses, dtype=torch.float64),
                    "seconds": torch.tensor(seconds, dtype=torch.float64),
                }
                save_tensors(file, {**trainer.state(), **log})
                _crash_point("checkpoint")
    return losses, spent + time.perf_counter() - begun


def _checkpoint_blocks(network: nn.Module) -> None:
    """Keep only the inputs of every block for the backward pass, which runs the block again.

    The switch of transformers does nothing in evaluation mode, in which we train (no dropout).
    """
    from functools import partial

    from torch.utils.checkpoint import checkpoint

    for block in find_blocks(network)[1]:
        again = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
        block.__dict__["forward"] = again


def _plain_blocks(network: nn.Module) -> None:
    for block in find_blocks(network)[1]:
        block.__dict__.pop("forward", None)


def _crash_point(name: str) -> None:
    """Do nothing; tests put a kill -9 here."""


def _untie(network: nn.Module, sparse: Sparse, config: RetrainConfig) -> str | None:
    """Untie the output layer where the head is to train; return the new tensor's name."""
    if "head" not in config.train:
        return None
    output: Any = network.get_output_embeddings()  # pyright: ignore[reportCallIssue]
    entrance: Any = network.get_input_embeddings()  # pyright: ignore[reportCallIssue]
    if output is None:
        raise LLMError(f"{type(network).__name__} has no output layer of its own to train.")
    if output.weight is not entrance.weight:
        return None
    if not config.untie:
        raise LLMError(
            "the output layer is tied to the embedding, and training the head would change both. "
            "Say --untie to store a weight of its own, or leave out head."
        )
    output.weight = nn.Parameter(output.weight.detach().clone())
    config_of(network).tie_word_embeddings = False
    name = next(n for n, m in network.named_modules() if m is output) + ".weight"
    if name in sparse.folder.tensors:
        return None
    sparse.tensor_of[name] = name
    return name


def _saved(
    session: _Session,
    ready: Ready,
    out: Path,
    parent: ModelFolder | None,
    losses: list[float],
    seconds: float,
) -> Retrained:
    network, sparse, config, untied = session.network, ready.sparse, ready.config, ready.untied
    folder = sparse.folder
    lost = "lora" in config.train
    final = {sparse.tensor_of[n]: p.detach() for n, p in network.named_parameters()}
    planned = dict(folder.tensors)
    if untied is not None:
        weight = final[untied]
        planned[untied] = Stored("", NAME_OF[weight.dtype], tuple(weight.shape))
    pruned = {sparse.tensor_of[f"{n}.weight"]: n for n in sparse.masks} if not lost else {}
    writer = FolderWriter(out, planned, shard_bytes=config.shard_bytes)
    writer.prepare()
    trained: list[str] = []
    for name in planned:
        if name == untied:
            writer.write(name, final[name])
            trained.append(name)
            continue
        old = folder.read(name)
        new = final.get(name, old).to("cpu", old.dtype)
        if name in pruned:
            mask = sparse.masks[pruned[name]]
            mask = mask.T if sparse.transposed[pruned[name]] else mask
            if bool((new[~mask] != 0).any()):
                raise LLMError(f"{name} has a weight outside its mask after training.")
            new = kept(new, mask)
        elif not torch.equal(new, old):
            trained.append(name)
        if not all_finite(new):
            raise LLMError(f"{name} is not finite after training; use a smaller --lr.")
        writer.write(name, new)
    writer.finish()
    copy_files(folder.path, folder.other_files(), out)
    if untied is not None:
        changed = {**folder.config, "tie_word_embeddings": False}
        atomic_write(out / "config.json", json.dumps(changed, indent=2) + "\n")
    packed = {
        t: pack_bits(sparse.masks[n].T if sparse.transposed[n] else sparse.masks[n])
        for t, n in pruned.items()
    }
    size = sum(sparse.masks[n].numel() for n in pruned.values())
    zeros = size - sum(int(sparse.masks[n].sum()) for n in pruned.values())
    certificate = None
    if packed:
        source = folder.path / MASKS
        (out / MASKS).parent.mkdir(exist_ok=True)
        if source.exists():
            shutil.copyfile(source, out / MASKS)
        else:
            save_tensors(out / MASKS, packed)
        if parent is None:
            write_parent(out, folder, sha256_file(source) if source.exists() else None)
        else:
            write_parent(out, parent, None)
        certificate = write_model_certificate(
            out,
            [
                ClaimedLayer(t, sparse.transposed[n], sparse.rules.get(t, "none"))
                for t, n in pruned.items()
            ],
            packed,
            trained,
            untied=untied,
        )
    return Retrained(
        out, certificate, config, tuple(losses), session.count,
        sum(p.numel() for p in network.parameters()),
        float(Fraction(zeros, size)) if size else 0.0, seconds,
    )  # fmt: skip


def config_of(network: Any) -> Any:
    """Return a model's configuration."""
    return network.config


def sections(result: Retrained) -> list[Section]:
    """What a report says about a training."""
    from extremal.lab import PALETTE, Picture, figure_bytes, new_figure

    figure, axes = new_figure()
    axes.plot(range(1, len(result.losses) + 1), result.losses, color=PALETTE[0], linewidth=0.9)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss (nats a token)")
    return [
        Text(
            f"Trained {' and '.join(result.config.train)}: {result.trained:,} of "
            f"{result.parameters:,} parameters. The masks are the parent's, bit for bit."
        ),
        result.table(),
        Picture(figure_bytes(figure), "Loss of every step."),
    ]


def _report(out: Path, result: Retrained) -> None:
    write_report(
        out / "report.html", f"Retrained at {result.sparsity:.2%} sparsity", sections(result),
        "Check this folder: extremal verify certificate.json",
    )  # fmt: skip
