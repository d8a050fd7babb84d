"""The streaming run: one block in memory at a time, a journal after each.

For every unit of blocks: load; dense targets before any weight is touched; statistics of the inputs
on the pruned chain; masks and updates; repair; write into the output shards; propagate; replace the
journal. A run that is killed anywhere repeats at most one unit, from files that are whole, and
gives the same bytes: nothing random has a state, every stream is derived from the seed and a name.

Where activations lie on the device there are no files of them to go on from; a run that goes on
then sends the windows through the finished blocks again, which costs a forward pass for each. On a
GPU the next block is read, and the last one written, while the present one is computed.

A little over 600 lines, because the steps of a unit are one object with one state.
"""

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from extremal.lab import Run, derive_seed, from_plain, progress, to_plain
from extremal.pruning import group_parameters
from extremal.training import load_tensors, save_tensors

from ._bits import pack_bits
from ._chain import Activations, Arguments, batches, capture, run_block
from ._closed_form import closed_form
from ._config import PruneConfig
from ._criteria import score
from ._entries import all_finite, finite, kept
from ._errors import LLMError
from ._experts import gates_of
from ._folder import ModelFolder, side_by_side
from ._masking import LayerReport, prune_layer
from ._owl import as_fraction, outlier_share, owl_sparsities
from ._pattern import Pattern
from ._reconstruct import Repaired, Split, reconstruct, split_block
from ._skeleton import Layer, Skeleton
from ._statistics import InputStatistics
from ._usage import Clock, give_back, keep_tensors_apart, memory_named, peak_bytes
from ._writer import FolderWriter

_COPIES = 6  # of the activations on a device: two chains twice, targets, the middle of a block


@dataclass(frozen=True)
class UnitReport:
    """What was done to one unit of blocks.

    Attributes:
        blocks: Their numbers.
        layers: Each pruned layer.
        repairs: Each reconstruction.
        trained: Tensors outside the pruned layers that changed.
        seconds: By phase.
        peak_bytes: Largest resident memory of the process so far.
    """

    blocks: tuple[int, ...]
    layers: tuple[LayerReport, ...]
    repairs: tuple[Repaired, ...]
    trained: tuple[str, ...]
    seconds: dict[str, float]
    peak_bytes: int


class _Enough(Exception):
    """The input of a block's last layer was seen."""


def crash_point(name: str) -> None:
    """Do nothing; tests put a kill -9 here."""


class Stream:
    """A pruning in progress."""

    def __init__(
        self,
        folder: ModelFolder,
        config: PruneConfig,
        run: Run,
        out: Path,
        ids: Tensor | None,
        clock: Clock,
    ) -> None:
        """Build the frame and check every layer before any work.

        Raises:
            LLMError: The model, the pattern or the text do not fit.
        """
        keep_tensors_apart()
        self.folder, self.config, self.run, self.out, self.ids = folder, config, run, out, ids
        self.clock = clock
        self.device = torch.device(config.device)
        self.skeleton = Skeleton(folder, self.device)
        self.pattern = Pattern.parse(config.pattern)
        self.overrides = config.overrides()
        self.depth = len(self.skeleton.blocks)
        self.names: list[str] = []
        owner: dict[str, str] = {}
        for b in range(self.depth):
            for layer in self.skeleton.layers(b, config.skip):
                if owner.setdefault(layer.tensor, layer.name) != layer.name:
                    raise LLMError(
                        f"{layer.name} and {owner[layer.tensor]} share one weight; skip both."
                    )
                stored = folder.tensors[layer.tensor]
                inputs = stored.shape[0] if layer.transposed else stored.shape[1]
                self.pattern_of(layer, self.pattern).check(inputs, layer.name)
                self.names.append(layer.name)
        if (
            self.skeleton.leaves is not None
            and config.repair == "reconstruct"
            and config.granularity == "matrix"
            and config.targets == "sparse_to_dense"
        ):
            raise LLMError(
                "the experts of this model get other tokens in the pruned than in the dense model, "
                "so single matrices have no pairs to learn from; use --targets sparse or dense, or "
                "--granularity block."
            )
        if not self.names:
            raise LLMError(
                f"no linear layer of {folder.path} is left to prune; see what --skip matches."
            )
        for glob, _ in self.overrides:
            if not any(fnmatchcase(n, glob) for n in self.names):
                raise LLMError(f"--sparsities {glob} matches no layer; there is {self.names[0]}.")
        for glob in config.skip:
            if not any(
                fnmatchcase(n, glob) or fnmatchcase(n.removesuffix(".weight"), glob)
                for n, _ in self.skeleton.model.named_parameters()
            ):
                raise LLMError(f"--skip {glob} matches no layer; there is {self.names[0]}.")
        self.writer = FolderWriter(out, folder.tensors, shard_bytes=config.shard_bytes)
        self.arguments: dict[int, list[Arguments]] = {}
        self.first: Activations | None = None
        self.resident: bool | None = None  # whether activations lie on the device
        self.readers: Executor | None = None
        self.behind: Executor | None = None  # one thread: what it is given is done in order
        self.pending: Future[None] | None = None

    def pattern_of(self, layer: Layer, default: Pattern) -> Pattern:
        """Return the pattern of a layer."""
        for glob, pattern in self.overrides:
            if fnmatchcase(layer.name, glob):
                return pattern
        return default

    def work(self) -> list[UnitReport]:
        """Prune every block that the journal does not name as finished."""
        with ExitStack() as stack:
            if self.device.type == "cuda":
                self.readers = stack.enter_context(ThreadPoolExecutor(4))
                self.behind = stack.enter_context(ThreadPoolExecutor(1))
            return self._work()

    def _work(self) -> list[UnitReport]:
        config, run = self.config, self.run
        journal = {"block": 0, "turn": 0}
        if (run.path / "journal.json").exists():
            journal = run.read_json("journal.json")
        self.writer.prepare()
        sparse: Activations | None = None
        dense: Activations | None = None
        if self.ids is not None:
            fresh, self.arguments = capture(
                self.skeleton, self.ids, lambda shape, dtype: self._store("first", shape, dtype),
                config.micro_batch, extra=config.batch_size,
            )  # fmt: skip
            self.first = fresh
            if journal["block"] == 0:
                sparse = dense = fresh
            elif self.resident or not self.activations(f"sparse-{journal['turn']}").exists():
                sparse, dense = self._replay(journal["block"], fresh)
            else:
                sparse = self._chain("sparse", journal["turn"], fresh)
                dense = self._chain("dense", journal["turn"], fresh)
        self.clock.mark("embeddings")
        patterns = self._block_patterns()
        self.clock.mark("owl")
        crash_point("captured")
        reports = [self._report(n) for n in range(self._units_before(journal["block"]))]
        with progress(self.depth, "blocks") as bar:
            bar.advance(journal["block"])
            while journal["block"] < self.depth:
                start = journal["block"]
                unit = list(range(start, min(start + config.unit, self.depth)))
                turn = 1 - journal["turn"]
                with memory_named(f"block {unit[0]}"):
                    report, sparse, dense = self._unit(unit, patterns, sparse, dense, turn)
                crash_point("before journal")
                reports.append(report)
                journal = {"block": unit[-1] + 1, "turn": turn}
                self._later(partial(run.write_json, "journal.json", journal))
                crash_point("after journal")
                bar.advance(len(unit))
        self.clock.last = time.perf_counter()  # the units have clocks of their own
        self._settle()
        self.clock.mark("write")
        return reports

    # What is done behind the computation ---------------------------------------------------------

    @property
    def overlaps(self) -> bool:
        """Whether a unit is written while the next one is computed.

        Never with activations in files: the next unit writes over those that a repetition needs.
        """
        return self.behind is not None and self.resident is not False

    def _later(self, work: Callable[[], object]) -> None:
        """Do it now, or behind the computation after what was given before."""
        if not self.overlaps:
            work()
            return
        before, self.pending = self.pending, None

        def task() -> None:
            if before is not None:
                before.result()  # done already; a failure of it is a failure of this
            work()

        assert self.behind is not None
        self.pending = self.behind.submit(task)

    def _settle(self) -> None:
        """Wait until everything given to `_later` is done."""
        if self.pending is not None:
            self.pending.result()
            self.pending = None

    def _replay(
        self, block: int, first: Activations
    ) -> tuple[Activations | None, Activations | None]:
        """Run the finished blocks again, as they were and as the output's shards have them."""
        skeleton = self.skeleton
        sparse = dense = first
        for number in range(self._units_before(block)):
            report = self._report(number)
            written = {skeleton.tensor_of[f"{x.name}.weight"] for x in report.layers}
            written |= set(report.trained)
            for b in report.blocks:
                root = f"{skeleton.blocks_name}.{b}"
                skeleton.load(skeleton.blocks[b], root)
                if self.config.dense_chain:
                    following = self._like(dense, f"dense-again-{b % 2}")
                    self._propagate([b], dense, following)
                    dense = following
                with torch.no_grad():
                    for name, p in skeleton.blocks[b].named_parameters():
                        tensor = skeleton.tensor_of[f"{root}.{name}"]
                        if tensor in written:
                            p.copy_(self.writer.read(tensor))
                if block < self.depth:
                    following = self._like(sparse, f"sparse-again-{b % 2}")
                    self._propagate([b], sparse, following)
                    sparse = following
                skeleton.drop(skeleton.blocks[b])
        return sparse, dense if self.config.dense_chain else None

    def _store(self, name: str, shape: tuple[int, int, int], dtype: torch.dtype) -> Activations:
        """Return a store for activations: a file of this name, or device memory."""
        if self.resident is None:
            copy_bytes = shape[0] * shape[1] * shape[2] * dtype.itemsize
            self.resident = self.config.activations == "device" or (
                self.config.activations == "auto"
                and self.device.type == "cuda"
                and 2 * _COPIES * copy_bytes <= torch.cuda.mem_get_info(self.device)[0]
            )
        if self.resident:
            return Activations(None, shape, dtype, self.device)
        return Activations(self.activations(name), shape, dtype)

    def activations(self, name: str) -> Path:
        """Return the path of a file of activations."""
        return self.run.path / "activations" / name

    def _chain(self, name: str, turn: int, like: Activations) -> Activations | None:
        path = self.activations(f"{name}-{turn}")
        if not path.exists():
            if name == "dense" and not self.config.dense_chain:
                return None
            raise LLMError(f"{path} is missing, so the run cannot go on; start it with --force.")
        return Activations(path, like.shape, like.values.dtype)

    def _units_before(self, block: int) -> int:
        return -(-block // self.config.unit)

    def _unit_file(self, number: int, end: str) -> str:
        return f"blocks/{number:05}.{end}"

    def _report(self, number: int) -> UnitReport:
        return from_plain(UnitReport, self.run.read_json(self._unit_file(number, "json")))

    # One unit ------------------------------------------------------------------------------------

    def _unit(
        self,
        unit: list[int],
        patterns: list[Pattern],
        sparse: Activations | None,
        dense: Activations | None,
        turn: int,
    ) -> tuple[UnitReport, Activations | None, Activations | None]:
        config, skeleton = self.config, self.skeleton
        clock = Clock(self.device)
        layers: list[Layer] = []
        reports: list[LayerReport] = []
        masks: dict[str, Tensor] = {}
        repairs: list[Repaired] = []
        for b in unit:
            skeleton.load(skeleton.blocks[b], f"{skeleton.blocks_name}.{b}")
        if self.readers is not None:
            for b in range(unit[-1] + 1, min(unit[-1] + 1 + config.unit, self.depth)):
                skeleton.read_ahead(skeleton.blocks[b], f"{skeleton.blocks_name}.{b}", self.readers)
        original = self._small_values(unit)
        clock.mark("load")

        train = config.repair == "reconstruct" and config.granularity != "matrix"
        split: Split | None = None
        middle: Activations | None = None
        dense_out: Activations | None = None
        targets: Activations | None = None
        if train:
            assert sparse is not None
            source = sparse if config.targets == "sparse" else dense
            assert source is not None
            if config.granularity == "attn_mlp":
                split = split_block(
                    skeleton, unit[0], skeleton.layers(unit[0], config.skip), source,
                    self.arguments, config.micro_batch,
                )  # fmt: skip
                middle = self._like(source, "middle")
            targets = self._like(
                source, "targets" if config.targets == "sparse" else f"dense-{turn}"
            )
            self._propagate(unit, source, targets, split, middle)
            if config.targets != "sparse":
                dense_out = targets
        elif config.dense_chain:  # of single matrices, whose targets are taken as they are needed
            assert dense is not None
            dense_out = self._like(dense, f"dense-{turn}")
            self._propagate(unit, dense, dense_out)
        if config.repair == "reconstruct":
            clock.mark("dense targets")

        current = sparse
        for b in unit:
            found = skeleton.layers(b, config.skip)
            seen = self._statistics(b, found, current) if config.needs_text else {}
            clock.mark("statistics")
            for layer in found:
                random = torch.Generator().manual_seed(derive_seed(config.seed, "mask", layer.name))
                with memory_named(f"the layer {layer.name}"):
                    new, mask, report = prune_layer(
                        layer.name, layer.weight.detach(), self.pattern_of(layer, patterns[b]),
                        seen.pop(layer.name, None), 0 if self.ids is None else len(self.ids),
                        config, random, layer.transposed,
                    )  # fmt: skip
                self._set(layer, new)
                layers.append(layer)
                masks[layer.name] = mask
                reports.append(report)
            del seen
            clock.mark("masks and updates")
            if b != unit[-1] and current is not None:
                following = self._like(current, f"inner-{b % 2}")
                self._propagate([b], current, following)
                current = following
                clock.mark("propagation")

        if config.repair == "reconstruct" and config.granularity == "matrix":
            assert sparse is not None
            repairs = closed_form(
                skeleton, unit[0], layers, masks, sparse, dense, self.arguments, config
            )
        elif train:
            assert sparse is not None
            assert dense is not None or config.targets != "dense"
            assert targets is not None
            inputs = dense if config.targets == "dense" else sparse
            assert inputs is not None
            repairs = reconstruct(
                skeleton, unit, layers, masks, inputs, targets, self.arguments, config,
                split=split, middle=middle,
            )  # fmt: skip
        clock.mark("repair")

        for layer in layers:
            weight = layer.weight.detach()
            if not all_finite(weight):
                raise LLMError(f"{layer.name} is not finite after its repair; use a smaller --lr.")
            if config.repair != "none":
                self._set(layer, kept(weight, masks[layer.name]))
        trained = [
            n
            for n, value in self._small_values(unit).items()
            if not torch.equal(value, original[n])
        ]
        number = self._units_before(unit[-1] + 1) - 1
        packed = {
            x.tensor: pack_bits(masks[x.name].T if x.transposed else masks[x.name]) for x in layers
        }
        self._settle()  # one unit at a time waits to be written: that bounds the memory
        self._later(partial(self._write, self._values(layers, trained), packed, number))
        clock.mark("write")
        crash_point("written")

        sparse_out: Activations | None = None
        if sparse is not None:
            if unit[-1] + 1 < self.depth:
                sparse_out = self._like(sparse, f"sparse-{turn}")
                self._propagate(unit, sparse, sparse_out)
                sparse_out.sync()
            if dense_out is not None:
                dense_out.sync()
        for b in unit:
            skeleton.drop(skeleton.blocks[b])
        give_back()
        clock.mark("propagation")
        unit_report = UnitReport(
            tuple(unit), tuple(reports), tuple(repairs), tuple(trained), clock.seconds, peak_bytes()
        )
        plain = to_plain(unit_report)
        self._later(partial(self.run.write_json, self._unit_file(number, "json"), plain))
        return unit_report, sparse_out, dense_out

    def _made(self, name: str) -> Path:
        path = self.run.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _like(self, other: Activations, name: str) -> Activations:
        return self._store(name, other.shape, other.values.dtype)

    def _set(self, layer: Layer, weight: Tensor) -> None:
        with torch.no_grad():
            stored: Any = layer.module.weight
            stored.copy_(weight.T if layer.transposed else weight)

    def _small_values(self, unit: list[int]) -> dict[str, Tensor]:
        """Biases and norms of a unit by tensor name: what a reconstruction may change."""
        if self.config.repair == "none":
            return {}
        found: dict[str, Tensor] = {}
        for b in unit:
            root = f"{self.skeleton.blocks_name}.{b}"
            for group in ("bias", "norm"):
                for name, p in group_parameters(self.skeleton.blocks[b], group).items():
                    found[self.skeleton.tensor_of[f"{root}.{name}"]] = p.detach().clone()
        return found

    def _values(self, layers: list[Layer], trained: list[str]) -> dict[str, Tensor]:
        """What a unit changed, by tensor name, in the host's memory."""
        by_tensor = {t: n for n, t in self.skeleton.tensor_of.items()}
        found = {x.tensor: x.stored.detach() for x in layers}
        found |= {n: self.skeleton.model.get_parameter(by_tensor[n]).detach() for n in trained}
        if self.device.type != "cuda":
            return found
        host = {n: torch.empty(v.shape, dtype=v.dtype, pin_memory=True) for n, v in found.items()}
        for name, value in found.items():
            host[name].copy_(value, non_blocking=True)
        torch.cuda.synchronize(self.device)
        return host

    def _write(self, values: dict[str, Tensor], packed: dict[str, Tensor], number: int) -> None:
        for name, value in values.items():
            self.writer.write(name, value)
        self.writer.sync()
        save_tensors(self._made(self._unit_file(number, "safetensors")), packed)

    @torch.no_grad()
    def _propagate(
        self,
        unit: list[int],
        source: Activations,
        out: Activations,
        split: Split | None = None,
        middle: Activations | None = None,
    ) -> None:
        blocks = self.skeleton.blocks
        caught: list[Tensor] = []
        handle: Any = None
        if split is not None:

            def note(_: nn.Module, args: tuple[Any, ...]) -> None:
                caught.append(args[0])

            handle = blocks[unit[0]].get_submodule(split.norm).register_forward_pre_hook(note)
        try:
            fine = torch.ones((), dtype=torch.bool, device=self.device)
            for part in batches(len(source), self.config.micro_batch):
                hidden = source.values[part].to(self.device)
                for b in unit:
                    hidden = run_block(blocks[b], hidden, self.arguments[hidden.shape[0]][b])
                fine &= finite(hidden)  # asked once below: a GPU need not wait
                out.values[part] = hidden
                if middle is not None:
                    middle.values[part] = caught.pop().reshape(hidden.shape)
        finally:
            if handle is not None:
                handle.remove()
        if not bool(fine):
            raise LLMError(
                f"the output of block {unit[-1]} is not finite on the calibration text; the type "
                "may be too short for this model."
            )

    @torch.no_grad()
    def _statistics(
        self,
        b: int,
        layers: list[Layer],
        inputs: Activations | None,
        gram: bool | None = None,
    ) -> dict[str, InputStatistics]:
        """Gather the inputs of a block's layers; layers that share an input share one sum."""
        assert inputs is not None
        wants = self.config.needs_gram if gram is None else gram
        sums: dict[str, InputStatistics] = {}
        leader: dict[str, str] = {}
        current: dict[int, tuple[str, Tensor]] = {}
        order: list[str] = []
        last: str | None = None

        def hook(name: str) -> Any:
            def gather(_: nn.Module, args: tuple[Any, ...]) -> None:
                x: Tensor = args[0]
                order.append(name)
                if name not in leader:
                    known = current.get(id(x))
                    leader[name] = known[0] if known is not None else name
                if leader[name] == name:
                    current.setdefault(id(x), (name, x))  # kept alive, so that the id stays its own
                    if name not in sums:
                        sums[name] = InputStatistics.empty(x.shape[-1], gram=wants, device=x.device)
                    sums[name].add(x)
                if name == last:
                    raise _Enough

            return gather

        handles = [x.module.register_forward_pre_hook(hook(x.name)) for x in layers]
        try:
            for part in batches(len(inputs), self.config.micro_batch):
                current.clear()
                hidden = inputs.values[part].to(self.device)
                with suppress(_Enough):
                    run_block(self.skeleton.blocks[b], hidden, self.arguments[hidden.shape[0]][b])
                # What follows the last layer's input is not needed again; with experts, which
                # layer is the last depends on the tokens.
                once = len(order) == len(layers) and not gates_of(self.skeleton.blocks[b])
                last = order[-1] if last is None and once else last
        finally:
            for handle in handles:
                handle.remove()
        empty: dict[str, InputStatistics] = {}
        for layer in layers:
            if layer.name in leader:
                empty[layer.name] = sums[leader[layer.name]]
            else:
                d = layer.weight.shape[1]
                empty[layer.name] = InputStatistics.empty(d, gram=False, device=self.device)
        return empty

    # Sparsity of each block ----------------------------------------------------------------------

    def _block_patterns(self) -> list[Pattern]:
        if not self.config.owl:
            return [self.pattern] * self.depth
        file = self.run.path / "owl.json"
        if not file.exists():
            self.run.write_json("owl.json", self._owl())
        return [Pattern(as_fraction(s)) for s in self.run.read_json("owl.json")["sparsities"]]

    def _owl(self) -> dict[str, Any]:
        """One pass over the dense model: outlying Wanda scores of each block."""
        assert self.ids is not None
        skeleton, config = self.skeleton, self.config
        assert self.first is not None
        current = self.first
        shares: list[float] = []
        sizes: list[int] = []
        for b in range(self.depth):
            skeleton.load(skeleton.blocks[b], f"{skeleton.blocks_name}.{b}")
            layers = skeleton.layers(b, config.skip)
            seen = self._statistics(b, layers, current, gram=False)
            scores = [
                score("wanda", x.weight.detach(), seen[x.name].norms(len(self.ids))) for x in layers
            ]
            shares.append(outlier_share(scores, config.owl_outlier) if scores else 0.0)
            sizes.append(sum(s.numel() for s in scores))
            following = self._like(current, f"owl-{b % 2}")
            self._propagate([b], current, following)
            current = following
            skeleton.drop(skeleton.blocks[b])
        found = owl_sparsities(
            shares, float(self.pattern.sparsity), spread=config.owl_spread, sizes=sizes
        )
        return {"outlier_percent": shares, "sparsities": found}

    # The end -------------------------------------------------------------------------------------

    def copy_rest(self, changed: set[str]) -> None:
        """Write every tensor that no block wrote, and give the shards their names."""
        for name in self.folder.tensors:
            if name not in changed:
                self.writer.write(name, self.folder.read(name))
        self.writer.finish()

    def masks(self, units: int) -> dict[str, Tensor]:
        """Return the packed masks of all units."""
        files = [self.run.path / self._unit_file(n, "safetensors") for n in range(units)]
        found: dict[str, Tensor] = {}
        for part in side_by_side(load_tensors, files):
            found |= part
        return found
