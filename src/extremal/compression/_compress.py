"""The verb `compress`: a network and a ratio or a target in; a smaller network out."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from torch import Tensor, nn

from extremal import pruning, training
from extremal.lab import (
    Run,
    Table,
    accuracy_part,
    append_record,
    command,
    resolve,
    timing_part,
    to_plain,
)
from extremal.training import Data, TrainingError

from ._architecture import describe, load_network
from ._certificate import counts, write_networks, write_with
from ._compress_report import write_compress_report
from ._config import CompressConfig
from ._cut import Cut, Operator, changed, check_ratio
from ._errors import CompressionError, MaskedInsteadWarning
from ._filters import Filters
from ._low_rank import LowRank
from ._measure import accuracy_of, difference, latencies, latency, outputs_of
from ._operators import operator_of
from ._realise import Realised, realised, twin_of
from ._sparse_linear import with_sparse_kernels
from ._start import COMPRESS, Start, find_start
from ._target import Target
from ._unstructured import Unstructured

_COMPARED = 100  # test images whose outputs are stored
_STEPS = 1000  # resolution of a ratio that a target asks for


@dataclass(frozen=True)
class Compressed:
    """A smaller network with everything that is known about it.

    Attributes:
        model: The network, in eval mode; a `torch.fx.GraphModule` where it could be traced.
        status: "sliced", "factorised", "zeros" (kind unstructured), or "masked": channels could
            not be cut out and are only zeroed; `reason` names the layer.
        ratio: The share that went; None where a budget set ranks layer by layer.
        detail: Removed channels by group, ranks by layer, or counts of weights.
        before: Counts of the dense network: parameters, nonzero, macs, nonzero_macs.
        after: The same of this one.
        accuracy: "dense", "raw" (as cut) and "recalibrated", where there are data.
        difference: The largest difference of outputs to the masked twin.
        seconds: Median latency of the batch, "before" and "after".
    """

    model: nn.Module
    config: CompressConfig
    status: str
    reason: str
    ratio: float | None
    detail: dict[str, Any]
    before: dict[str, int]
    after: dict[str, int]
    accuracy: dict[str, float]
    difference: float
    seconds: dict[str, float]
    start: Start = field(repr=False)
    path: Path | None = None
    certificate: Path | None = None

    @property
    def exit_code(self) -> int:
        """3 where channels could only be zeroed."""
        return 3 if self.status == "masked" else 0

    @property
    def architecture(self) -> dict[str, Any]:
        """The network as plain values."""
        return describe(self.model, self.start.shape)

    def table(self) -> Table:
        """Before and after."""
        rows: list[list[Any]] = []
        for name, found, accuracy, seconds in (
            ("before", self.before, self.accuracy.get("dense"), self.seconds["before"]),
            (self.status, self.after, self._final, self.seconds["after"]),
        ):
            rows.append(
                [
                    name,
                    found["parameters"],
                    found["nonzero"],
                    found["macs"],
                    found["nonzero_macs"],
                    round(1000 * seconds, 3),
                    None if accuracy is None else f"{accuracy:.2%}",
                ]
            )
        what = self.config.target or f"ratio {self.ratio:g}"
        title = f"{self.config.kind}, {what}"
        if self.reason:
            title += f"; not sliced: {self.reason}"
        if self.start.note:
            title += f". {self.start.note}"
        return Table(
            ["network", "parameters", "not zero", "MACs", "on nonzero", "ms", "accuracy"],
            rows,
            title,
        )

    @property
    def _final(self) -> float | None:
        return self.accuracy.get("recalibrated", self.accuracy.get("raw"))

    def as_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return {
            "status": self.status,
            "reason": self.reason,
            "ratio": self.ratio,
            "before": self.before,
            "after": self.after,
            "accuracy": self.accuracy,
            "max_difference": self.difference,
            "seconds": self.seconds,
            "detail": self.detail,
            "note": self.start.note,
            "path": None if self.path is None else str(self.path),
            "certificate": None if self.certificate is None else str(self.certificate),
            "config": to_plain(self.config),
        }


@command(options=CompressConfig, inputs=("model_or_run",))
def compress(
    model_or_run: Any,
    data: Data | None = None,
    *,
    config: CompressConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Compressed:
    """Make a network smaller, by a ratio or to a target, without retraining.

    Args:
        model_or_run: A run folder of `fit`, `prune` or `compress`, one of their results, or a
            torch module; it is never changed.
        data: What accuracy is measured on; by default the run's. Without any, give `shape`.
        config: All options at once; or give any of its fields as keywords.
        out: Folder for the run: both networks as data, packed file, certificate, report.
        resume: Go on with the run in `out`; one that is finished is returned at once.
        force: Replace the run in `out`.
        **options: Fields of `CompressConfig`.

    Returns:
        The smaller network. Its outputs were compared with those of the masked twin.

    Raises:
        ValueError: An option makes no sense, or the target is out of reach (the text says what
            is reachable).
        CompressionError: There is nothing to cut, or cutting changed nothing.
        TrainingError: Data or weights cannot be read.
        RunError: `out` holds another run.

    Example:
        >>> from extremal import training
        >>> dense = training.fit(model="cnn", epochs=1)
        >>> small = compress(dense, kind="filters", target="3x macs")
        >>> small.status, small.before["macs"] / small.after["macs"] >= 3
        ('sliced', True)

    Cost: two evaluations and a recalibration; a latency target measures about ten networks.
    """
    settings = resolve(CompressConfig, config, options)
    if settings.ratio is None and settings.target is None:
        raise ValueError('give a ratio (such as 0.5) or a target (such as "3x macs").')
    start = find_start(model_or_run, data, settings)
    if out is None:
        return _compressed(start, settings)[0]
    plain = {
        **to_plain(settings),
        "start_sha256": training.weights_digest(start.model),
        "data_sha256": start.data_key,
    }
    with Run.create(out, kind=COMPRESS, config=plain, resume=resume, force=force) as run:
        if resume and (run.path / "result.json").exists():
            return _again(run, settings, start)
        result, outputs, samples, answers = _compressed(start, settings)
        run.write_json("start.json", {"data": start.origin(), "shape": list(start.shape)})
        part = write_networks(run.path, result.model, start.model, start.shape, outputs)
        others = [
            accuracy_part(
                subject,
                found.correct,
                found.labels,
                data=f"{start.data.name}, test split" if start.data else "",
                seed=settings.seed,
                note=start.note,
            )
            for subject, found in answers
        ]
        others += [
            timing_part(f"forward pass of {settings.batch} inputs, {k}", v, data="random inputs")
            for k, v in samples.items()
        ]
        certificate = write_with(run.path, part, others)
        result = replace(result, path=run.path, certificate=certificate)
        write_compress_report(run.path, result, part.claim)
        if not run.records():
            append_record(
                run.path / "records.jsonl",
                question=f"What does {settings.kind} leave of a network?",
                configuration=run.config,
                seed=settings.seed,
                samples={"accuracy": result.accuracy, "seconds": samples},
                notes=start.note,
            )
        run.write_json("result.json", result.as_json())
        return result


def _again(run: Run, config: CompressConfig, start: Start) -> Compressed:
    plain = run.read_json("result.json")
    model, _ = load_network(run.path)
    return Compressed(
        model=model,
        config=config,
        **{k: plain[k] for k in ("status", "reason", "ratio", "detail", "before", "after")},
        accuracy=plain["accuracy"],
        difference=plain["max_difference"],
        seconds=plain["seconds"],
        start=start,
        path=run.path,
        certificate=run.path / "certificate.json",
    )


def _compressed(
    start: Start, config: CompressConfig
) -> tuple[Compressed, tuple[Tensor, Tensor], dict[str, list[float]], list[tuple[str, Any]]]:
    with training.threads_used(config.threads):
        dense_outputs: dict[str, float] = {}
        answers: list[tuple[str, Any]] = []
        try:
            operator = operator_of(config.kind, start, config)
        except TrainingError as error:
            operator, cut, ratio = None, *_filter_masks(start, config, str(error))
        else:
            cut, ratio = _chosen(start, operator, config)
        if not changed(start.model, cut):
            raise CompressionError(
                f"{config.kind} changes no number of the network (ratio {ratio}): every layer is "
                "too small to lose anything. Choose a larger ratio, or another kind."
            )
        twin = twin_of(start, cut)
        if start.data is not None:
            whole = training.evaluate(start.model, start.data)
            found = accuracy_of(twin, start.data, config.recalibrate)
            dense_outputs = {"dense": whole.top1, "raw": found.raw.top1}
            answers = [("network before", whole), (f"{config.kind}, as cut", found.raw)]
            if found.recalibrated is not None:
                dense_outputs["recalibrated"] = found.recalibrated.top1
                answers.append((f"{config.kind}, recalibrated", found.recalibrated))
        if operator is None:
            made = Realised(twin, "masked", cut.detail["reason"])
        else:
            made = realised(start, operator, cut, twin, config.tolerance)
        inputs = start.inputs(_COMPARED, config.seed)
        outputs = (outputs_of(twin, inputs), outputs_of(made.model, inputs))
        samples = latencies(
            {"before": start.model, "after": made.model}, start.shape, config.batch, 7
        )
        before, after = counts(start.model, start.shape), counts(made.model, start.shape)
        before.pop("layers")
        after.pop("layers")
        result = Compressed(
            model=made.model,
            config=config,
            status=made.status,
            reason=made.reason,
            ratio=ratio,
            detail=dict(cut.detail),
            before=before,
            after=after,
            accuracy=dense_outputs,
            difference=difference(*outputs),
            seconds={name: median(values) for name, values in samples.items()},
            start=start,
        )
        return result, outputs, samples, answers


def _filter_masks(start: Start, config: CompressConfig, reason: str) -> tuple[Cut, float]:
    """Zero whole filters where channels cannot be followed."""
    if config.ratio is None:
        raise CompressionError(
            f"a target needs a network whose channels can be cut out, and {reason}"
        )
    warnings.warn(
        f"channels are only zeroed and the network keeps its size: {reason}",
        MaskedInsteadWarning,
        stacklevel=3,
    )
    masks = pruning.select(
        pruning.prunable_weights(start.model),
        check_ratio(config.ratio),
        "filter",
        on_layer_collapse="allow",
    )
    cut = Unstructured(start.model, start.macs).with_masks(masks)
    return replace(cut, detail={**cut.detail, "reason": reason}), config.ratio


def _chosen(start: Start, operator: Operator, config: CompressConfig) -> tuple[Cut, float | None]:
    if config.ratio is not None:
        return operator.at(config.ratio), config.ratio
    assert config.target is not None
    target = Target.parse(config.target)
    if target.unit == "latency":
        return _by_latency(start, operator, target, config)
    whole = operator.at(0.0)
    name = "parameters" if target.unit == "params" else "nonzero_macs"
    budget = int(target.keep * getattr(whole, name) + 1e-9)
    if isinstance(operator, LowRank):
        return operator.with_ranks(operator.within(budget, target.unit)), None
    return _by_count(operator, budget, lambda cut: getattr(cut, name), target)


def _by_count(
    operator: Operator, budget: int, size: Callable[[Cut], int], target: Target
) -> tuple[Cut, float]:
    """The smallest ratio, in thousandths, whose network fits into a budget."""
    low, high = 0, _STEPS - 1
    last = operator.at(high / _STEPS)
    if size(last) > budget:
        if isinstance(operator, Filters) and size(smallest := operator.smallest()) <= budget:
            return smallest, high / _STEPS
        least = size(operator.smallest() if isinstance(operator, Filters) else last)
        raise ValueError(
            f"{budget:,} {target.unit} are out of reach for {operator.kind}: the smallest network "
            f"still needs {least:,}, {size(operator.at(0.0)) / max(least, 1):.3g} times fewer than "
            "the dense one. Give a larger target, or another kind."
        )
    while high - low > 1:
        middle = (low + high) // 2
        if size(operator.at(middle / _STEPS)) <= budget:
            high = middle
        else:
            low = middle
    return operator.at(high / _STEPS), high / _STEPS


def _by_latency(
    start: Start, operator: Operator, target: Target, config: CompressConfig
) -> tuple[Cut, float | None]:
    """Bisect the ratio by measured times; each candidate is made, compared and timed."""

    def seconds(cut: Cut) -> float:
        made = realised(start, operator, cut, twin_of(start, cut), config.tolerance).model
        if operator.kind == "unstructured":
            made = with_sparse_kernels(copy.deepcopy(made), start.shape, (config.batch,), 5)[0]
        return latency(made, start.shape, config.batch)

    whole = latency(start.model, start.shape, config.batch)
    wanted = target.keep * whole
    if isinstance(operator, Filters | LowRank):
        last, top = operator.smallest(), None
    else:
        last, top = operator.at(0.99), 0.99
    least = seconds(last)
    if least > wanted:
        raise ValueError(
            f"{1000 * wanted:.3g} ms a batch of {config.batch} are out of reach for "
            f"{operator.kind} on this machine: the dense network takes {1000 * whole:.3g} ms and "
            f"the smallest one {1000 * least:.3g} ms. Give a larger target, or another kind."
        )
    low, high, best = 0.0, 0.999, (last, top)
    for _ in range(7):
        middle = (low + high) / 2
        cut = operator.at(middle)
        if changed(start.model, cut) and seconds(cut) <= wanted:
            high, best = middle, (cut, middle)
        else:
            low = middle
    return best
