"""How long do the parts of an audit and a game take, on one core and on a GPU?

Run:      python benchmarks/interpret/speed.py --path ../shared/data
Expect:   precision counting 12k x 12k x 784 as matrix products <= 10 s, as bit sets under 1 s;
          the certificate of 2,000 points after the attacks <= 1 s; a digits game <= 20 s; Adult,
          k = 3, exhaustive, <= 10 s. On a GPU (--device cuda --parts digits unet one thousand):
          one explanation of a learned prover <= 1 ms, 1,000 <= 50 ms.
Fairness: random binary rows with 32 of 784 units shown; both ways give the same counts (asserted).
          The machine did other work beside most runs, so the CPU seconds of the part are shown
          too: on one thread, a machine that does nothing else takes hardly more. (Of older records
          they are the CPU seconds of the process, making the data included.)
"""

import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from extremal.interpret import (
    CertifyConfig,
    Index,
    TrainConfig,
    certify,
    load_task,
    make_task,
    matches_by_products,
    train,
)
from extremal.lab import Table, append_record

HERE = Path(__file__).resolve().parent
PARTS = (
    "products", "bit_sets", "conclude", "adult", "digits", "digits_pool", "unet", "one", "thousand",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What is measured."""

    path: Path = Path("../shared/data")
    out: Path = HERE / "results" / "speed.jsonl"
    parts: tuple[str, ...] = PARTS
    n: int = 12_000
    device: str = "cpu"
    """Of the games and of Merlin."""


@dataclass(frozen=True)
class Clock:
    """Wall and processor time since it was made."""

    wall: float
    cpu: float

    @classmethod
    def started(cls) -> "Clock":
        """Start one."""
        return cls(time.perf_counter(), time.process_time())

    def read(self) -> dict[str, float]:
        """Return both times."""
        return {
            "seconds": time.perf_counter() - self.wall,
            "part_cpu_seconds": time.process_time() - self.cpu,
        }


def counting(n: int) -> tuple[Any, ...]:
    """Return features and rows of the size asked for."""
    rng = np.random.default_rng(0)
    codes = (rng.random((2 * n, 784)) < 0.2).astype(np.int16)
    masks = np.zeros((n, 784), bool)
    np.put_along_axis(masks, rng.random((n, 784)).argsort(1)[:, :32], True, 1)
    return masks, codes[:n], codes[n:], rng.integers(0, 2, n)


def measure(part: str, options: Options) -> dict[str, float]:
    """Return the seconds of one part."""
    if part in ("products", "bit_sets"):
        masks, codes, rows, labels = counting(options.n)
        clock = Clock.started()
        if part == "products":
            found = matches_by_products(masks, codes, rows, labels, 2)
        else:
            found = Index(rows, labels, 2).counts(masks, codes)
        taken = clock.read()
        few = slice(0, 200)
        other = matches_by_products(masks[few], codes[few], rows, labels, 2)
        if not (found[few] == other).all():
            raise AssertionError("the two ways of counting disagree")
        return taken
    if part == "conclude":
        import scipy.stats  # noqa: F401 - loading it takes a second, once a process

        # Everything but the attacks: replay, counting, limits, population, certificate arrays.
        rng = np.random.default_rng(0)
        codes = rng.integers(0, 2, (10_000, 784))
        labels = (codes[:, :11].sum(1) > 5).astype(int)
        task = make_task(codes, labels, name="random", audit=0.2, image=(28, 28),
                         shares=(0.5, 0.5))  # fmt: skip

        def arthur(codes: Any, mask: Any) -> Any:
            return np.where(mask[:, :11].sum(1) > 5, (codes[:, :11] * mask[:, :11]).sum(1) > 3, -1)

        def merlin(codes: Any, labels: Any) -> Any:
            mask = np.zeros(codes.shape, bool)
            mask[:, :16] = True
            return mask

        clock = Clock.started()
        certify(arthur, merlin, task, k=16, attacks=("replay",))
        return clock.read()
    if part == "adult":
        clock = Clock.started()
        task = load_task(data="adult", path=str(options.path / "adult"), target="sex")
        read = clock.read()["seconds"]
        found = certify(data=task, config=CertifyConfig(k=3))
        if found.numbers["attacks"] != ["replay", "exhaustive"]:
            raise AssertionError("the audit was not exhaustive")
        return {**clock.read(), "reading": read}
    if part in ("digits", "digits_pool"):
        kind = {"morgana": "pool", "warmup": 0.0} if part == "digits_pool" else {}
        clock = Clock.started()
        game = train(config=TrainConfig(classes=("3", "8"), device=options.device, **kind))
        return {**clock.read(), "seconds": game.seconds}
    if part in ("one", "thousand"):
        return explaining(1 if part == "one" else 1000, options)
    clock = Clock.started()
    game = train(
        config=TrainConfig(
            data="mnist", path=str(options.path / "mnist.npz"), classes=("3", "8"), k=64,
            prover="u-net", width=0.25, epochs=5, pretrain=2, batch_size=128, attacker_epochs=0,
            device=options.device,
        )
    )  # fmt: skip
    return {**clock.read(), "seconds": game.seconds}


def explaining(rows: int, options: Options) -> dict[str, float]:
    """Return the median seconds of explaining so many MNIST digits with a quarter-width U-Net."""
    game = train(
        config=TrainConfig(
            data="mnist", path=str(options.path / "mnist.npz"), classes=("3", "8"), k=64,
            prover="u-net", width=0.25, epochs=1, pretrain=0, batch_size=1024, gamma=0.0,
            attacker_epochs=0, device=options.device,
        )
    ).to(options.device)  # fmt: skip
    few = game.task.audit.take(slice(0, rows))
    each: list[float] = []
    for _ in range(25):
        begun = time.perf_counter()
        game.merlin(few.codes, few.labels)  # its masks are arrays, so it ends when they are there
        each.append(time.perf_counter() - begun)
    return {"seconds": statistics.median(each[5:])}


def main(options: Options) -> None:
    """Measure every part and append a record for each."""
    for part in options.parts:
        begun = time.process_time()
        samples = measure(part, options)
        samples["cpu_seconds"] = time.process_time() - begun
        append_record(
            options.out,
            question="How long do the parts of an audit and a game take?",
            configuration={"part": part, "n": options.n, "device": options.device},
            seed=0,
            samples=samples,
            wall_seconds=samples["seconds"],
        )
        print(part, samples, flush=True)


_SAID = {
    "products": ("precision counting 12k x 12k x 784, matrix products", 10),
    "bit_sets": ("the same, bit sets", 10),
    "conclude": ("certificate of 2,000 points after the attacks, replay included", 1),
    "adult": ("Adult, 12 columns, k <= 3, exhaustive Morgana, reading included", 10),
    "digits": ("a digits game", 20),
    "digits_pool": ("a digits game against the pool alone", 20),
    "unet": ("binary MNIST game, quarter-width U-Net, 5 epochs", 600),
    "one": ("one explanation, quarter-width U-Net", 0.001),
    "thousand": ("1,000 explanations, quarter-width U-Net", 0.05),
}


def table(records: list[dict[str, Any]]) -> Table:
    """Return the best time of each part, and how often it was measured."""
    groups: dict[tuple[str, str], list[float]] = {}
    used: dict[tuple[str, str], list[float]] = {}
    for r in records:
        part = r["configuration"]["part"], r["configuration"].get("device", "cpu")
        groups.setdefault(part, []).append(r["samples"]["seconds"])
        cpu = r["samples"].get("part_cpu_seconds", r["samples"].get("cpu_seconds", math.inf))
        used.setdefault(part, []).append(cpu)
    return Table(
        [
            "part",
            "device",
            "runs",
            "seconds, least",
            "seconds, most",
            "CPU seconds, least",
            "wanted at most",
        ],
        [
            [
                _SAID[part][0],
                device,
                len(groups[part, device]),
                min(groups[part, device]),
                max(groups[part, device]),
                min(used[part, device]) if min(used[part, device]) < math.inf else None,
                _SAID[part][1],
            ]
            for part in PARTS
            for device in ("cpu", "cuda")
            if (part, device) in groups
        ],
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
