"""Is a sliced network faster, and what does the same slicing by torch-pruning alone give?

Run:      python benchmarks/compression/sliced_speed.py
Expect:   ResNet-18 with half its channels at least 2 times faster; the same or fewer MACs as
          torch-pruning's own pruner at equal ratio; no broken network of ours on the zoo, while
          torch-pruning breaks zero-padded shortcuts (ResNet-20, ResNet-56).
Fairness: the same weights, half of the channels by L2 norm, both started from the original module;
          a network counts as broken if its forward pass fails or its outputs are not those of the
          network with these channels zeroed (ours) or not of the right shape (torch-pruning's).
          One thread, batch 8, dense and sliced run in turn, all samples kept.
"""

import copy
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import tyro
from torch import nn

from extremal import compression, training
from extremal.compression._measure import latencies
from extremal.lab import Table, append_record, read_records

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "compression"))
QUESTION = "Is a sliced network faster, and what does torch-pruning alone give?"


@dataclass(frozen=True)
class Options:
    """What is sliced."""

    names: tuple[str, ...] = (
        "concat", "separable", "flattened", "residual", "cnn", "mlp", "resnet20", "resnet56",
        "wrn-10-1", "resnet18", "vgg16-bn",
    )  # fmt: skip
    ratio: float = 0.5
    batch: int = 8
    repeats: int = 7
    threads: int = 1
    out: Path = HERE / "results" / "sliced_speed.jsonl"


def network(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A network of the zoo or of `training`, and one input's shape."""
    import networks

    if name in networks.ZOO:
        return networks.make(name)
    torch.manual_seed(0)
    shape = (1, 8, 8) if name in ("cnn", "mlp") else (3, 32, 32)
    model = training.network(name, in_channels=shape[0], classes=10, image_size=shape[1])
    return model.eval(), shape


def by_torch_pruning(
    model: nn.Module, shape: tuple[int, ...], ratio: float
) -> tuple[nn.Module | None, str]:
    """The same ratio by torch-pruning's own pruner, or why it broke."""
    import torch_pruning as tp

    twin = copy.deepcopy(model).eval()
    last = [m for m in twin.modules() if isinstance(m, nn.Linear)][-1]
    x = torch.randn(2, *shape)
    wanted = model(x).shape
    try:
        tp.pruner.MagnitudePruner(
            twin, x, importance=tp.importance.MagnitudeImportance(p=2),
            pruning_ratio=ratio, ignored_layers=[last],
        ).step()  # fmt: skip
        with torch.no_grad():
            found = twin(x)
    except Exception as error:  # noqa: BLE001 -- whatever breaks is the finding
        return None, f"{type(error).__name__}: {str(error).partition(chr(10))[0][:90]}"
    return (twin, "") if found.shape == wanted else (None, f"outputs of shape {found.shape}")


def main() -> None:
    """Slice every network both ways and print the table."""
    options = tyro.cli(Options)
    torch.set_num_threads(options.threads)
    for name in options.names:
        begun = time.perf_counter()
        model, shape = network(name)
        small = compression.compress(
            model, kind="filters", ratio=options.ratio, shape=shape, threads=options.threads
        )
        peer, reason = by_torch_pruning(model, shape, options.ratio)
        timed: dict[str, nn.Module] = {"dense": model, "ours": small.model}
        if peer is not None:
            timed["torch-pruning"] = peer.eval()
        samples: dict[str, Any] = {
            "seconds": latencies(timed, shape, options.batch, options.repeats),
            "macs": {
                n: sum(m.macs for m in training.count_macs(net, shape).values())
                for n, net in timed.items()
            },
            "parameters": {n: sum(p.numel() for p in net.parameters()) for n, net in timed.items()},
        }
        append_record(
            options.out,
            question=QUESTION,
            configuration={
                "network": name, "ratio": options.ratio, "batch": options.batch,
                "threads": options.threads, "status": small.status,
                "difference to masked twin": small.difference, "torch-pruning": reason,
            },
            seed=0,
            samples=samples,
            wall_seconds=time.perf_counter() - begun,
        )  # fmt: skip
    print(table(read_records(options.out)).as_text())


def table(records: list[dict[str, Any]]) -> Table:
    """The last record of each network."""
    last = {r["configuration"]["network"]: r for r in records}
    rows: list[list[str | float | int | None]] = []
    for name, record in last.items():
        config, samples = record["configuration"], record["samples"]
        times = {n: 1000 * median(v) for n, v in samples["seconds"].items()}
        macs = samples["macs"]
        rows.append(
            [
                name, config["status"], f"{config['difference to masked twin']:.1e}",
                macs["dense"], macs["ours"], macs.get("torch-pruning"),
                config["torch-pruning"] or "runs", round(times["dense"], 2),
                round(times["ours"], 2), round(times["dense"] / times["ours"], 2),
            ]
        )  # fmt: skip
    return Table(
        ["network", "ours", "difference", "MACs dense", "ours", "torch-pruning", "torch-pruning's",
         "ms dense", "ms ours", "times"],
        rows,
        f"Half of the channels; batch {records[-1]['configuration']['batch']}, median times",
    )  # fmt: skip


if __name__ == "__main__":
    main()
