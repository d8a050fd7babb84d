"""How many sign vectors a second does a GPU name, and do its histograms equal the census?

Run:      python benchmarks/tcurves/gpu.py        (says so where there is no CUDA device)
Expect:   at least 10^9 vectors a second on one H100 on cen and honeycomb-7, with histogram and
          witnesses; the four exhaustive histograms of degree 7 (4 * 2^33 vectors) in under a minute
          in all, equal to the census.
Fairness: `range` visits vectors one after another; `batch` takes random vectors that are packed in
          the GPU's memory and writes the number of each one's scheme; `whole` is the verb with
          NumPy arrays on both sides. The peer is a union-find in each thread's memory, also in
          CUDA C++ (`_union_find.cu`), on the same ranges; its histogram must equal ours. All warmed
          up and synchronised; the least of the repeats is used.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from extremal import tcurves
from extremal.lab import MissingExtra, Table, append_record
from extremal.tcurves import _gpu
from extremal.tcurves._glued import glued

HERE = Path(__file__).resolve().parent
RATE = "How many sign vectors a second does a GPU name?"
EQUAL = "Do the exhaustive histograms of degree 7 equal the census?"
FOUR = ("cen", "spl", "fra", "honeycomb-7")


@dataclass(frozen=True)
class Options:
    """What is measured."""

    out: Path = HERE / "results" / "gpu.jsonl"
    names: tuple[str, ...] = (
        "bat", "cen", "honeycomb-7", "honeycomb-8", "strip-fan-10",
    )  # fmt: skip
    range_bits: int = 30
    """Vectors of a range, as a power of two."""
    batch_bits: int = 26
    """Vectors of a batch in the GPU's memory."""
    whole_bits: int = 22
    """Vectors given to the verb."""
    peer_bits: int = 24
    """Vectors given to the peer."""
    repeats: int = 5
    histograms: tuple[str, ...] = FOUR
    """Triangulations whose histograms are taken whole."""
    notes: str = ""
    """Kept with the records."""


def timed(work: Callable[[], object], repeats: int) -> list[float]:
    """Return the seconds of each repeat on the GPU."""
    import cupy

    taken: list[float] = []
    for _ in range(repeats):
        cupy.cuda.Device().synchronize()
        begun = time.perf_counter()
        work()
        cupy.cuda.Device().synchronize()
        taken.append(time.perf_counter() - begun)
    return taken


def peer(t: tcurves.Triangulation, count: int) -> tuple[Callable[[], None], Callable[[], Any]]:
    """Return a function that runs the peer, and one for its counts by first vector after a run."""
    import cupy

    free, fixed = _gpu.free_points(t)
    base = np.zeros((t.n + 63) // 64, np.uint64)
    for k, sign in fixed.items():
        base[k // 64] |= np.uint64(sign) << np.uint64(k % 64)
    complex_ = glued(t)
    points = complex_.point[complex_.edges[:, :2]]
    edges = np.concatenate([complex_.edges, points], axis=1).astype(np.int32)
    constants = {
        "COPIES": len(complex_.point), "POINTS": t.n, "EDGES": len(edges), "ODD": t.degree % 2
    }  # fmt: skip
    text = "".join(f"#define {name} {value}\n" for name, value in constants.items())
    module = cupy.RawModule(code=text + (HERE / "_union_find.cu").read_text())
    kernel = module.get_function("of_range")
    inputs = [cupy.asarray(a) for a in (base, np.array(free, np.int32), edges)]
    size = 1 << 16
    table = [cupy.zeros(size, np.uint64) for _ in range(3)]

    def work() -> None:
        table[0][:] = 0
        table[1][:] = 0
        table[2][:] = np.iinfo(np.uint64).max
        kernel(
            (min(-(-count // 128), 1 << 14),), (128,),
            (np.uint64(count), *inputs[:2], np.int32(len(free)), inputs[2], *table,
             np.uint32(size - 1)),
        )  # fmt: skip

    def result() -> dict[int, int]:
        keys, counts, first = (a.get() for a in table)
        return {int(first[k]): int(counts[k]) for k in np.flatnonzero(keys)}

    return work, result


def batch(
    t: tcurves.Triangulation, count: int, repeats: int, rng: np.random.Generator
) -> tuple[list[float], int]:
    """Return the seconds of each repeat on random packed vectors, and how many schemes they met."""
    device = _gpu.gpu()
    on = _gpu.Evaluator(t, range(t.n), {}, device)
    words = rng.integers(0, 1 << 64, count * on.inputs, dtype=np.uint64)
    packed, names = device.put(words), device.empty(count, np.uint64)
    out = device.empty(count, np.int32)
    number = device.put(np.arange(1 << 18, dtype=np.int32))

    def work() -> None:
        on.add_batch(packed, names, count)
        on.number(names, count, number, out)

    work()
    return timed(work, repeats), len(on.found()[0])


def rates(name: str, options: Options) -> dict[str, Any]:
    """Return the samples of one triangulation."""
    t = tcurves.named(name)
    device = _gpu.gpu()
    free, fixed = _gpu.free_points(t)
    in_range = 1 << min(len(free), options.range_bits)
    on = _gpu.Evaluator(t, free, fixed, device)
    on.add_range(0, min(in_range, 1 << 22))
    samples: dict[str, Any] = {"range_vectors": in_range}
    samples["range"] = timed(lambda: on.add_range(0, in_range), options.repeats)
    schemes_met = len(on.found()[0])

    rng = np.random.default_rng(0)
    samples["batch_vectors"] = 1 << options.batch_bits
    samples["batch"], met = batch(t, samples["batch_vectors"], options.repeats, rng)
    samples["schemes"] = {"range": schemes_met, "batch": met}

    signs = rng.integers(0, 2, (1 << options.whole_bits, t.n), dtype=np.uint8)
    samples["whole_vectors"] = len(signs)
    samples["whole"] = timed(lambda: tcurves.schemes(t, signs, device="cuda"), options.repeats)
    some = signs[: 1 << 15]
    one, two = tcurves.schemes(t, some), tcurves.schemes(t, some, device="cuda")
    if one.types != two.types or not (one.index == two.index).all():
        raise AssertionError(f"the GPU and the CPU disagree on {name}")

    few = 1 << min(len(free), options.peer_bits)
    work, result = peer(t, few)
    work()
    samples["union_find_vectors"] = few
    samples["union_find"] = timed(work, options.repeats)
    again = _gpu.Evaluator(t, free, fixed, device)
    again.add_range(0, few)
    _, counts, first = again.found()
    if dict(zip(first.tolist(), counts.tolist(), strict=True)) != result():
        raise AssertionError(f"the two kernels disagree on {name}")
    return samples


def whole_histogram(name: str) -> tuple[_gpu.Histogram, float]:
    """Return one exhaustive histogram and its seconds."""
    t = tcurves.named(name)
    _gpu.exhaust(t, count=1 << 20)
    begun = time.perf_counter()
    found = _gpu.exhaust(t)
    return found, time.perf_counter() - begun


def beside_census(name: str, found: _gpu.Histogram) -> dict[str, Any]:
    """Compare a histogram with the census."""
    t = tcurves.named(name)
    tcurves.census(t, threads=1)
    begun = time.perf_counter()
    census = tcurves.census(t, threads=1)
    seconds = time.perf_counter() - begun
    if found.counts != {e.scheme: e.count for e in census.entries}:
        raise AssertionError(f"the histogram of {name} is not the census")
    for scheme, signs in found.witnesses.items():
        if tcurves.scheme(t, signs) != scheme:
            raise AssertionError(f"a witness of {name} does not give {scheme}")
    return {
        "census_seconds": seconds,
        "vectors": str(sum(found.counts.values())),
        "schemes": len(found.counts),
        "equal": True,
    }


def main(options: Options) -> None:
    """Measure every triangulation and append a record for each."""
    try:
        _gpu.gpu()
    except (MissingExtra, tcurves.TCurveError) as error:
        print(f"nothing is measured: {error}")
        return
    import cupy

    device = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    for name in options.names:
        begun = time.perf_counter()
        samples = rates(name, options)
        append_record(
            options.out,
            question=RATE,
            configuration={"name": name, "device": device, "repeats": options.repeats},
            seed=0,
            samples=samples,
            wall_seconds=time.perf_counter() - begun,
            notes=options.notes,
        )
        for kind in ("range", "batch", "whole", "union_find"):
            print(name, kind, f"{samples[kind + '_vectors'] / min(samples[kind]):.3g} a second",
                  flush=True)  # fmt: skip
    wholes: dict[str, tuple[_gpu.Histogram, float]] = {}
    for name in options.histograms:  # the GPU first, then the CPU
        wholes[name] = whole_histogram(name)
        print(name, wholes[name][1], "s", flush=True)
    for name, (found, seconds) in wholes.items():
        begun = time.perf_counter()
        samples = {"gpu_seconds": seconds, **beside_census(name, found)}
        append_record(
            options.out,
            question=EQUAL,
            configuration={"name": name, "device": device},
            seed=None,
            samples=samples,
            wall_seconds=time.perf_counter() - begun + seconds,
            notes=options.notes,
        )
        print(name, samples, flush=True)


def table(records: list[dict[str, Any]]) -> list[Table]:
    """Return a row a triangulation, from its last record: rates, then whole histograms."""
    last = {(r["question"], r["configuration"]["name"]): r for r in records}
    rates_, wholes = [], []
    for (question, name), r in last.items():
        s, device = r["samples"], r["configuration"]["device"]
        if question == RATE:
            kinds = ("range", "batch", "whole", "union_find")
            speed = [s[f"{kind}_vectors"] / min(s[kind]) for kind in kinds]
            rates_.append([name, device, *(f"{v:.2e}" for v in speed), speed[0] / speed[3]])
        else:
            wholes.append([name, device, f"2^{int(s['vectors']).bit_length() - 1}", s["schemes"],
                           s["gpu_seconds"], s["census_seconds"], s["equal"]])  # fmt: skip
    if wholes:
        seconds = [sum(row[k] for row in wholes) for k in (4, 5)]
        wholes.append(["together", "", "", "", *seconds, all(row[6] for row in wholes)])
    return [
        Table(
            ["triangulation", "GPU", "range, vectors/s", "batch, vectors/s",
             "from and to NumPy, vectors/s", "union-find, vectors/s", "times faster"],
            rates_,
        ),
        Table(
            ["triangulation", "GPU", "vectors", "schemes", "GPU, s", "census, s", "equal"],
            wholes,
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options))
