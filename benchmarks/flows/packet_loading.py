"""How many link moves a second does packet loading make on one core, beside UXsim?

Run:      python benchmarks/flows/packet_loading.py --data ../shared/data/tntp --uxsim PYTHON
          (PYTHON: the interpreter of an environment with uxsim; without it the peer is left out)
Expect:   20 million moves a second and more; UXsim, which moves every vehicle in every second, far
          behind: it simulates car-following and route choice, which fixed-route packets do not.
Fairness: one thread. Ours: Sioux Falls in seconds, capacities / 10, all pairs of 5 gates at 1/5 a
          second for 1000 s on shortest routes, packets of 1/1024; and Braess' network at Nash
          routes, steps of 1/128. UXsim: its C++ engine, the same network, capacities and pairs, one
          vehicle a platoon, its own route choice and car-following, timed without set-up; a move is
          a link left by a vehicle in both. Rates are per CPU second, since the machine may be
          shared; all samples are kept, wall seconds too. The limit: about 24 bytes a move have to
          be read or written, so 10 GB/s of memory would allow about 400 million.
"""

import json
import statistics
import subprocess
import time
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import tyro

from extremal import flows
from extremal.lab import Table, append_record

HERE = Path(__file__).resolve().parent
GATES = ("1", "7", "13", "20", "24")
RATE = Fraction(1, 5)
UNTIL = 1000

PEER = """
import json, sys, time
from uxsim import World
job = json.load(sys.stdin)
W = World(name="", deltan=1, tmax=job["until"] * 4, print_mode=0, save_mode=0, show_mode=0,
          random_seed=0, cpp=True)
speed = 20.0
for n in job["nodes"]:
    W.addNode(n, 0, 0)
for a in job["arcs"]:
    W.addLink(a[0], a[1], a[2], length=a[3] * speed, free_flow_speed=speed, jam_density=0.2,
              capacity_out=a[4])
for o, d in job["pairs"]:
    W.adddemand(o, d, 0, job["until"], job["rate"])
wall, cpu = time.perf_counter(), time.process_time()
W.exec_simulation()
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
done = sum(int(l.cum_departure[-1]) for l in W.LINKS)
import uxsim
print(json.dumps({"wall": wall, "cpu": cpu, "moves": done, "vehicles": len(W.VEHICLES),
                  "version": getattr(uxsim, "__version__", "")}))
"""


@dataclass(frozen=True)
class Options:
    """How to measure."""

    data: Path = Path("../shared/data/tntp")
    uxsim: Path | None = None
    out: Path = HERE / "results" / "packet_loading.jsonl"
    repeats: int = 7


def network(data: Path) -> flows.Network:
    """Sioux Falls in seconds with a tenth of its capacities."""
    net = flows.read_tntp(data / "SiouxFalls_net.tntp").scaled(60)
    return flows.Network.from_arcs(
        [(a.tail, a.head, a.transit, a.capacity / 10) for a in net.arcs], nodes=net.nodes
    )


def table(records: list[dict[str, Any]]) -> Table:
    """The last record."""
    rows: list[list[str | float | int | None]] = []
    for name, s in records[-1]["samples"].items():
        cpu, wall = statistics.median(s["cpu_seconds"]), statistics.median(s["wall_seconds"])
        rate = s["moves"] / cpu / 1e6
        rows.append([name, len(s["cpu_seconds"]), s["moves"], cpu, wall, float(f"{rate:.3g}")])
    columns = ["loading", "n", "link moves", "CPU (s)", "wall (s)", "million moves / CPU s"]
    return Table(columns, rows, title="Medians, one thread")


def main(options: Options) -> None:
    """Measure and append a record."""
    warnings.simplefilter("ignore", flows.PacketWarning)
    net = network(options.data)
    fixed = [
        flows.RouteInflow(d.arcs, flows.Inflow.of(f"0:{RATE}, {UNTIL}:0"), d.name)
        for d in flows.shortest_routes(net, GATES, RATE)
    ]
    eq = flows.nash("braess", horizon=100)
    begun = time.perf_counter()
    samples: dict[str, dict[str, Any]] = {}
    for name, place, demand, step, until in (
        ("Sioux Falls, packets", net, fixed, Fraction(1, 32), UNTIL),
        ("Braess, packets", "braess", eq, Fraction(1, 128), 100),
    ):
        walls: list[float] = []
        cpus: list[float] = []
        moves = 0
        for repeat in range(options.repeats + 1):
            cpu, run = loaded(place, demand, step, until)
            moves = run.link_moves
            if repeat:
                walls.append(run.seconds)
                cpus.append(cpu)
        samples[name] = {"moves": moves, "wall_seconds": walls, "cpu_seconds": cpus}
    notes = "UXsim was not run: no interpreter was given"
    if options.uxsim is not None:
        job = {
            "nodes": list(net.nodes),
            "arcs": [[a.name, a.tail, a.head, float(a.transit), float(a.capacity)]
                     for a in net.arcs],
            "pairs": [[a, b] for a in GATES for b in GATES if a != b],
            "rate": float(RATE), "until": UNTIL,
        }  # fmt: skip
        found = [peer(options.uxsim, job) for _ in range(3)]
        notes = f"UXsim {found[0]['version']}, {found[0]['vehicles']} vehicles"
        samples["Sioux Falls, UXsim (C++)"] = {
            "moves": found[0]["moves"],
            "wall_seconds": [f["wall"] for f in found],
            "cpu_seconds": [f["cpu"] for f in found],
        }
    print(table([{"samples": samples}]).as_text())
    rates = [s["moves"] / statistics.median(s["cpu_seconds"]) for n, s in samples.items()
             if "packets" in n]  # fmt: skip
    append_record(
        options.out,
        question=(__doc__ or "").splitlines()[0],
        configuration={"repeats": options.repeats, "gates": list(GATES), "rate": str(RATE)},
        seed=0,
        samples=samples,
        status="done" if min(rates) >= 20e6 else "negative",
        wall_seconds=time.perf_counter() - begun,
        notes=notes,
    )


def loaded(place: Any, demand: Any, step: Fraction, until: int) -> tuple[float, flows.Simulation]:
    """CPU seconds of the loading alone, and the run."""
    from extremal.flows import _simulation

    seconds: list[float] = []
    inner = _simulation.load_packets

    def timed(*arguments: Any) -> Any:
        cpu = time.process_time()
        result = inner(*arguments)
        seconds.append(time.process_time() - cpu)
        return result

    _simulation.load_packets = timed
    try:
        run = flows.simulate(place, demand=demand, step=step, until=until)
    finally:
        _simulation.load_packets = inner
    assert isinstance(run, flows.Simulation)
    return seconds[-1], run


def peer(python: Path, job: dict[str, Any]) -> dict[str, Any]:
    """One run of UXsim in its own environment."""
    ended = subprocess.run(
        [str(python), "-W", "ignore", "-c", PEER], input=json.dumps(job), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return json.loads(ended.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main(tyro.cli(Options))
