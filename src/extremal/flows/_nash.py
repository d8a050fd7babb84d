"""The verb `nash`: the exact dynamic equilibrium of a network."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from extremal.lab import Run, append_record, command, progress, rational, resolve, to_plain

from ._equilibrium import NashFlow, assemble
from ._extension import extend
from ._inflow import Inflow
from ._instances import SHIPPED, instance
from ._network import Journey, Network, journey
from ._read import read_network

KIND = "flows/nash"
METHODS = ("auto", "floats", "pivoting", "milp-1", "milp-2", "milp-3")


@dataclass(frozen=True)
class NashOptions:
    """Which equilibrium `nash` computes, and how."""

    source: str | None = None
    """Where agents depart; shipped networks know theirs."""
    sink: str | None = None
    """Where they want to go."""
    inflow: str | None = None
    """Rate at the source: 500, 4/3, or a list of start:rate such as "0:2, 3:0"."""
    horizon: str | None = None
    """Stop at this departure time; by default go on until nothing changes any more."""
    arithmetic: str = "exact"
    """exact (rationals) or float."""
    method: str = "auto"
    """auto, floats, pivoting, milp-1, milp-2 or milp-3: how each thin flow is solved."""
    spillback: bool = False
    """Let full arcs block those before them; needs storages or inflow capacities."""
    max_phases: int = 1000
    """Stop after so many phases with status phase-limit."""

    def __post_init__(self) -> None:
        """Check the options that are no numbers of the instance."""
        for value, known, name in (
            (self.arithmetic, ("exact", "float"), "arithmetic"),
            (self.method, METHODS, "method"),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r} is not known; choose {', '.join(known)}.")
        if self.max_phases < 1:
            raise ValueError(f"max_phases={self.max_phases} must be 1 or more.")


@command(options=NashOptions, inputs=("network",))
def nash(
    network: Network | Path | str,
    *,
    config: NashOptions | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> NashFlow:
    """Compute the Nash flow over time: phases in which every agent takes a fastest route.

    Args:
        network: A `Network`, a file (TNTP, MATSim, GMNS, JSON), or a shipped name such as "braess".
        config: The options whole.
        out: Folder for the run: phases, certificate, figures, report.
        resume: Return the finished run in `out`; an unfinished one is computed again.
        force: Replace the run in `out`.
        **options: Fields of `NashOptions`; exact numbers may be ints, text or Fractions, an inflow
            also a sequence of (start, rate).

    Returns:
        The phases and what follows from them.

    Raises:
        ValueError: Network, source, sink or a number make no sense.
        FlowsError: A file is malformed, or a thin flow was not solved.
        RunError: `out` holds another run.

    Example:
        >>> flow = nash("braess", horizon=100)
        >>> flow.breakpoints
        (Fraction(15, 1), Fraction(105, 4), Fraction(165, 2))
    """
    notes: list[str] = []
    chosen = resolve(NashOptions, config, as_text(options, notes))
    trip, inflow = situation(network, chosen.source, chosen.sink, chosen.inflow, notes)
    horizon = None if chosen.horizon is None else rational(chosen.horizon)
    if horizon is not None and horizon <= 0:
        raise ValueError(f"the horizon is {horizon}; it must be above 0.")
    if not chosen.spillback and trip.network.spills:
        notes.append("storages and inflow capacities are ignored; spillback=True obeys them")
        trip = replace(trip, network=trip.network.without_limits())
    if out is None:
        return _compute(trip, inflow, horizon, chosen, notes)
    identity = {**to_plain(chosen), "network": network_digest(trip.network)}
    with Run.create(out, kind=KIND, config=identity, resume=resume, force=force) as run:
        found = replace(_compute(trip, inflow, horizon, chosen, notes), path=run.path)
        if resume and (run.path / "result.json").exists():
            return found
        from ._report import save_run

        save_run(run, found)
        append_record(
            run.path / "records.jsonl",
            question="Which phases has the Nash flow over time?",
            configuration=run.config,
            seed=None,
            samples={"phases": len(found.phases), "pivots": list(found.pivots)},
            wall_seconds=found.seconds,
        )
        return found


def _compute(
    trip: Journey, inflow: Inflow, horizon: Fraction | None, chosen: NashOptions, notes: list[str]
) -> NashFlow:
    if chosen.spillback:
        from ._spillback import spillback_flow

        return spillback_flow(trip, inflow, horizon, chosen.max_phases, notes)
    begun = time.perf_counter()
    with progress(chosen.max_phases, "phases") as bar:
        raw, status = extend(
            trip,
            inflow,
            horizon=horizon,
            exact=chosen.arithmetic == "exact",
            method=chosen.method,
            max_phases=chosen.max_phases,
            on_phase=lambda _: bar.advance(),
        )
    seconds = time.perf_counter() - begun
    return assemble(trip, inflow, raw, status, chosen.arithmetic, notes, seconds)


def situation(
    network: Network | Path | str,
    source: str | None,
    sink: str | None,
    inflow: Any,
    notes: list[str],
) -> tuple[Journey, Inflow]:
    """Return the journey and inflow that the arguments of a verb mean; notes are extended."""
    defaults: Mapping[str, Any] = {}
    if isinstance(network, str) and network in SHIPPED:
        found = instance(network)
        network = found.network
        defaults = {"source": found.source, "sink": found.sink, "inflow": found.inflow}
    elif not isinstance(network, Network):
        network = load(network)
    source = source if source is not None else defaults.get("source")
    sink = sink if sink is not None else defaults.get("sink")
    inflow = inflow if inflow is not None else defaults.get("inflow")
    for value, name in ((source, "source"), (sink, "sink"), (inflow, "inflow")):
        if value is None:
            raise ValueError(f"say the {name}: {name}= in Python, --{name} in the shell.")
    trip = journey(network, source, sink)
    notes += [*network.notes, *trip.notes]
    return trip, Inflow.of(inflow, notes)


def load(network: Network | Path | str) -> Network:
    """Return a network from itself, a file, or a shipped name.

    Raises:
        ValueError: There is neither a file nor a shipped network of that name.
    """
    if isinstance(network, Network):
        return network
    if isinstance(network, str) and network in SHIPPED:
        return instance(network).network
    if not Path(network).exists():
        raise ValueError(
            f"{network} is neither a file nor a shipped network; shipped are {', '.join(SHIPPED)}."
        )
    return read_network(network)


def as_text(options: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Write exact options as the text that the shell would pass."""
    plain = dict(options)
    for name in ("source", "sink"):
        if plain.get(name) is not None:
            plain[name] = str(plain[name])
    if plain.get("inflow") is not None:
        plain["inflow"] = Inflow.of(plain["inflow"], notes).as_text()
    for name in ("horizon", "volume", "step", "packet"):
        if plain.get(name) is not None:
            plain[name] = str(rational(plain[name], notes))
    return plain


def network_digest(network: Network) -> str:
    """Return the SHA-256 of a network, for the identity of a run."""
    import hashlib
    import json

    return hashlib.sha256(json.dumps(network.as_json(), sort_keys=True).encode()).hexdigest()
