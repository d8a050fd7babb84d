"""The verb `plot`: one picture of an equilibrium, a refinement, or a simulation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extremal.lab import Run, Table, atomic_write, command, resolve

from ._animate import write_animation
from ._equilibrium import NashFlow
from ._nash import KIND, nash
from ._network import Network
from ._pictures import picture, trajectories
from ._read import read_network
from ._refine import Refinement, refinement_pictures
from ._simulation import Simulation

KINDS = ("phases", "travel-time", "queues", "cumulative", "animation", "trajectories", "deviation")
_OF_THE_FLOW = ("source", "sink", "inflow", "horizon", "spillback", "max_phases")


@dataclass(frozen=True)
class PlotOptions:
    """What `plot` draws."""

    kind: str = "phases"
    """phases, travel-time, queues, cumulative or animation."""
    arcs: str | None = None
    """Names of arcs for queues and cumulative, separated by commas; by default the busiest."""
    source: str | None = None
    """Of the equilibrium; shipped networks know theirs."""
    sink: str | None = None
    """Of the equilibrium."""
    inflow: str | None = None
    """Of the equilibrium."""
    horizon: str | None = None
    """Of the equilibrium."""
    spillback: bool = False
    """Let full arcs block those before them."""
    max_phases: int = 1000
    """Of the equilibrium."""

    def __post_init__(self) -> None:
        """Check the kind."""
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r} is no picture; choose {', '.join(KINDS)}.")


@dataclass(frozen=True)
class Drawn:
    """Where a picture went."""

    path: Path
    kind: str

    def table(self) -> Table:
        """Return its path."""
        return Table(["picture", "file"], [[self.kind, str(self.path)]])

    def as_json(self) -> dict[str, Any]:
        """Return its path."""
        return {"kind": self.kind, "path": str(self.path)}


@command(options=PlotOptions, inputs=("network",), flags=("out", "force"))
def plot(
    network: NashFlow | Simulation | Refinement | Network | Path | str,
    *,
    config: PlotOptions | None = None,
    out: Path | str | None = None,
    force: bool = False,
    **options: Any,
) -> Drawn:
    """Draw an equilibrium, a simulation's trajectories, or a refinement's deviations.

    Args:
        network: A `NashFlow`, `Simulation` or `Refinement`; the run of `nash`, whose equilibrium
            is computed again by its own options; or a network as for `nash` with options here.
        config: The options whole.
        out: File: .svg or .png; .html or .mp4 for the animation. Default: the kind's name.
        force: Replace the file.
        **options: Fields of `PlotOptions`.

    Returns:
        Where the picture is.

    Raises:
        ValueError: The ending of the file does not fit the kind.
        FileExistsError: The file exists and `force` was not given.
    """
    for name in ("source", "sink", "inflow", "horizon"):
        if options.get(name) is not None:
            options[name] = str(options[name])
    chosen = resolve(PlotOptions, config, options)
    default = ".html" if chosen.kind == "animation" else ".svg"
    path = Path(out) if out is not None else Path(chosen.kind + default)
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists already; replace it with --force.")
    if isinstance(network, Simulation):
        return Drawn(atomic_write(path, trajectories(network, form=_form(path))), "trajectories")
    if isinstance(network, Refinement):
        pictures = refinement_pictures(network, _form(path))
        return Drawn(atomic_write(path, pictures[-1][2]), "deviation")
    if isinstance(network, NashFlow):
        flow = network
    elif (own := _asked(network)) is not None:
        given = [n for n in _OF_THE_FLOW if getattr(chosen, n) != getattr(PlotOptions, n)]
        if given:
            raise ValueError(
                f"{network} is a run and knows its own {', '.join(given)}; leave "
                f"{'it' if len(given) == 1 else 'them'} out, or give the network instead."
            )
        flow = nash(read_network(str(network)), **own)
    else:
        flow = nash(
            network, source=chosen.source, sink=chosen.sink, inflow=chosen.inflow,
            horizon=chosen.horizon, spillback=chosen.spillback, max_phases=chosen.max_phases,
        )  # fmt: skip
    if chosen.kind == "animation":
        return Drawn(write_animation(flow, path), chosen.kind)
    if chosen.kind in ("trajectories", "deviation"):
        raise ValueError(f"{chosen.kind} is drawn from a Simulation or Refinement, in Python.")
    arcs = [] if chosen.arcs is None else chosen.arcs.replace(",", " ").split()
    data = picture(flow, chosen.kind, arcs, _form(path))
    return Drawn(atomic_write(path, data), chosen.kind)


def _asked(network: Network | Path | str) -> dict[str, Any] | None:
    """What the run of an equilibrium was asked, or None where that is no such run."""
    if isinstance(network, Network) or not (Path(network) / "config.json").exists():
        return None
    run = Run.open(network, KIND)
    found = run.read_json("phases.json")  # it names what a shipped network knew by itself
    return {
        **{n: run.config[n] for n in ("horizon", "arithmetic", "method", "spillback")},
        **{n: found[n] for n in ("source", "sink", "inflow")},
        "max_phases": run.config["max_phases"],
    }


def _form(path: Path) -> str:
    if path.suffix not in (".svg", ".png"):
        raise ValueError(f"{path.name} ends neither in .svg nor in .png.")
    return path.suffix[1:]
