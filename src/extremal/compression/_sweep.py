"""The verb `sweep`: one checkpoint in, accuracy against size out, for every kind and ratio."""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from extremal import training
from extremal.lab import (
    Run,
    Table,
    accuracy_part,
    append_record,
    command,
    from_plain,
    progress,
    resolve,
    to_plain,
    write_certificate,
)
from extremal.training import Data, Evaluation

from ._config import SweepConfig
from ._cut import Cut, applied, changed
from ._errors import CompressionError
from ._measure import Accuracy, accuracy_of
from ._operators import operator_of
from ._start import SWEEP, Start, find_start
from ._sweep_report import write_sweep_report


@dataclass(frozen=True)
class Point:
    """The network at one kind and ratio. Accuracies are shares of the test split.

    Attributes:
        kind: "dense" for the network itself.
        ratio: The share that goes.
        parameters: Numbers kept: not zero, or in the sliced or thin layers.
        macs: After slicing or with thin layers; masks alone change nothing here.
        nonzero_macs: On weights that are not zero.
        raw: Accuracy as cut.
        accuracy: After recalibration; the same as `raw` where there is nothing to measure anew.
        top3: Share with the class among the three highest scores.
        loss: Mean cross-entropy after recalibration.
        distance: Norm of what was changed over the norm of all parameters.
        seconds: In forward passes.
    """

    kind: str
    ratio: float
    parameters: int
    macs: int
    nonzero_macs: int
    raw: float
    accuracy: float
    top3: float
    loss: float
    distance: float
    seconds: float


@dataclass(frozen=True)
class Sweep:
    """A curve of accuracy against size.

    Attributes:
        dense: The network itself.
        points: All others, by kind, then by ratio.
        preparing: Seconds for what all ratios of a kind share, by kind.
        seconds: Of the whole sweep, forward passes included.
    """

    dense: Point
    points: tuple[Point, ...]
    config: SweepConfig
    preparing: Mapping[str, float]
    seconds: float
    note: str = ""
    path: Path | None = None
    certificate: Path | None = None
    exit_code: int = field(default=0, repr=False)

    def __getitem__(self, key: tuple[str, float]) -> Point:
        """The point of a kind and ratio."""
        for point in self.points:
            if (point.kind, point.ratio) == key:
                return point
        raise KeyError(key)

    @property
    def forward_seconds(self) -> float:
        """Spent in evaluations and recalibrations."""
        return self.dense.seconds + sum(p.seconds for p in self.points)

    def pareto(self) -> tuple[Point, ...]:
        """The points that no other one beats in both MACs on nonzero weights and accuracy."""
        every = (self.dense, *self.points)
        best = [
            p
            for p in every
            if not any(
                q.nonzero_macs <= p.nonzero_macs
                and q.accuracy >= p.accuracy
                and (q.nonzero_macs, q.accuracy) != (p.nonzero_macs, p.accuracy)
                for q in every
            )
        ]
        return tuple(sorted(best, key=lambda p: p.nonzero_macs))

    def table(self) -> Table:
        """One row a point."""
        d = self.dense
        rows = [
            [
                p.kind,
                p.ratio,
                p.parameters,
                round(d.parameters / p.parameters, 2),
                p.macs,
                round(d.macs / p.macs, 2),
                round(d.macs / max(p.nonzero_macs, 1), 2),
                f"{p.raw:.2%}",
                f"{p.accuracy:.2%}",
                f"{p.top3:.2%}",
                round(1 - (d.accuracy - p.accuracy) / max(d.accuracy, 1e-12), 4),
                round(p.distance, 4),
            ]
            for p in (d, *self.points)
        ]
        return Table(
            [
                "kind", "ratio", "parameters", "fewer", "MACs", "fewer MACs", "on nonzero",
                "accuracy as cut", "recalibrated", "top 3", "stability", "distance",
            ],
            rows,
            self.note,
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """The curve as plain values."""
        return {
            "dense": to_plain(self.dense),
            "points": [to_plain(p) for p in self.points],
            "pareto": [[p.kind, p.ratio] for p in self.pareto()],
            "seconds": self.seconds,
            "forward_seconds": self.forward_seconds,
            "preparing": dict(self.preparing),
            "note": self.note,
            "path": None if self.path is None else str(self.path),
            "certificate": None if self.certificate is None else str(self.certificate),
            "config": to_plain(self.config),
        }


@command(options=SweepConfig, inputs=("model_or_run",))
def sweep(
    model_or_run: Any,
    data: Data | None = None,
    *,
    config: SweepConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Sweep:
    """Cut one network by every kind and ratio and measure each, without retraining.

    Args:
        model_or_run: A run folder of `fit`, `prune` or `compress`, one of their results, or a
            torch module; it is never changed.
        data: What to measure on; by default the run's.
        config: All options at once; or give any of its fields as keywords.
        out: Folder for the run: table, plot, every answer, certificate, report.
        resume: Go on with the run in `out`.
        force: Replace the run in `out`.
        **options: Fields of `SweepConfig`.

    Returns:
        The curve.

    Raises:
        ValueError: An option or input makes no sense.
        CompressionError: A kind finds nothing to cut, or a cut changed nothing.

    Example:
        >>> from extremal import training
        >>> dense = training.fit(model="mlp", epochs=2)
        >>> curve = sweep(dense, kinds=("unstructured",), ratios=(0.5, 0.9))
        >>> curve["unstructured", 0.9].parameters
        5437

    Cost: what all ratios share once (scores, one decomposition a layer), then the forward passes:
    one evaluation a point, with batch normalisation two and a recalibration.
    """
    settings = resolve(SweepConfig, config, options)
    start = find_start(model_or_run, data, settings)
    if start.data is None:
        raise ValueError("a sweep measures accuracy and has no data; give data (--data).")
    if out is None:
        return _swept(start, settings, None)[0]
    plain = {
        **to_plain(settings),
        "start_sha256": training.weights_digest(start.model),
        "data_sha256": start.data_key,
    }
    with Run.create(out, kind=SWEEP, config=plain, resume=resume, force=force) as run:
        result, found = _swept(start, settings, run)
        return _written(run, result, found, start)


def _swept(
    start: Start, config: SweepConfig, run: Run | None
) -> tuple[Sweep, dict[tuple[str, float], dict[str, Any]]]:
    assert start.data is not None
    data = start.data
    model = start.model
    device = training.chosen_device(config.device)
    # What is measured: the network itself, or a copy of it on the device.
    runner = model if device.type == "cpu" else copy.deepcopy(model).to(device)
    begun = time.perf_counter()
    found: dict[tuple[str, float], dict[str, Any]] = {}
    preparing: dict[str, float] = {}
    norm = _norm(model.parameters())

    def measured(kind: str, ratio: float, cut: Cut) -> Point:
        name = f"{kind}-{ratio!r}"
        kept: dict[str, Any] | None = _kept(run, name)
        if kept is None:
            with applied(runner, cut):
                accuracy = accuracy_of(runner, data, config.recalibrate)
            kept = {
                "point": to_plain(_point(kind, ratio, cut, accuracy, _distance(start, cut) / norm)),
                "raw": _answers(accuracy.raw),
                "recalibrated": _answers(accuracy.best),
            }
            if run is not None:
                run.write_json(f"checkpoints/{name}.json", kept)
        found[kind, ratio] = kept
        return from_plain(Point, kept["point"])

    with training.threads_used(config.threads):
        whole = Cut(
            {},
            sum(p.numel() for p in model.parameters()),
            sum(start.macs.values()),
            sum(start.macs.values()),
            {},
        )
        dense = measured("dense", 0.0, whole)
        points: list[Point] = []
        with progress(len(config.kinds) * len(config.ratios), "sweep") as bar:
            for kind in config.kinds:
                clock = time.perf_counter()
                operator = operator_of(kind, start, config)
                preparing[kind] = time.perf_counter() - clock
                for ratio in sorted(config.ratios):
                    cut = operator.at(ratio)
                    if ratio > 0 and not changed(model, cut):
                        raise CompressionError(
                            f"{kind} at ratio {ratio} changes no number of the network: every "
                            "layer is too small to lose anything at this ratio. Choose a larger "
                            "ratio, or another kind."
                        )
                    points.append(measured(kind, ratio, cut))
                    bar.advance(1, f"{kind} {ratio:g}: {points[-1].accuracy:.2%}")
    seconds = time.perf_counter() - begun
    return Sweep(dense, tuple(points), config, preparing, seconds, start.note), found


def _point(kind: str, ratio: float, cut: Cut, accuracy: Accuracy, distance: float) -> Point:
    return Point(
        kind=kind,
        ratio=ratio,
        parameters=cut.parameters,
        macs=cut.macs,
        nonzero_macs=cut.nonzero_macs,
        raw=accuracy.raw.top1,
        accuracy=accuracy.best.top1,
        top3=accuracy.top3,
        loss=accuracy.best.loss,
        distance=distance,
        seconds=accuracy.seconds,
    )


def _kept(run: Run | None, name: str) -> dict[str, Any] | None:
    if run is None or not (run.path / "checkpoints" / f"{name}.json").exists():
        return None
    return run.read_json(f"checkpoints/{name}.json")


def _answers(found: Evaluation) -> dict[str, list[int]]:
    return {"correct": found.correct.astype(int).tolist(), "labels": found.labels.tolist()}


def _norm(tensors: Any) -> float:
    return sum(float(t.detach().double().square().sum()) for t in tensors) ** 0.5


def _distance(start: Start, cut: Cut) -> float:
    tensors = start.model.state_dict()
    floating = [n for n in cut.values if cut.values[n].is_floating_point()]
    return _norm(cut.values[n].double() - tensors[n].double() for n in floating)


def _written(
    run: Run, result: Sweep, found: Mapping[tuple[str, float], Mapping[str, Any]], start: Start
) -> Sweep:
    import numpy as np

    assert start.data is not None
    parts = [
        accuracy_part(
            "dense network" if kind == "dense" else f"{kind} at ratio {ratio:g}, {how}",
            np.array(kept[key]["correct"], bool),
            np.array(kept[key]["labels"], np.int64),
            data=f"{start.data.name}, test split",
            seed=result.config.seed,
            note=start.note,
        )
        for (kind, ratio), kept in found.items()
        for key, how in _wanted(kind, kept)
    ]
    certificate = write_certificate(run.path / "certificate.json", parts)
    final = replace(result, path=run.path, certificate=certificate)
    write_sweep_report(run.path, final, start.data.name)
    if not run.records():
        append_record(
            run.path / "records.jsonl",
            question="How accurate is one checkpoint at every kind and ratio?",
            configuration=run.config,
            seed=result.config.seed,
            samples={"points": [to_plain(p) for p in (final.dense, *final.points)]},
            wall_seconds=final.seconds,
            notes=start.note,
        )
    run.write_json("result.json", final.as_json())
    return final


def _wanted(kind: str, kept: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    if kind == "dense":
        return [("raw", "")]
    if kept["raw"] == kept["recalibrated"]:
        return [("raw", "as cut")]
    return [("raw", "as cut"), ("recalibrated", "recalibrated")]
