"""The verb `nash_to`: the exact equilibrium of many origins with one destination."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from extremal.lab import Run, append_record, command, progress, rational, resolve, to_plain

from ._arrival_flow import ArrivalFlow
from ._inflow import Inflow
from ._many_origins import arrival_flow
from ._nash import METHODS, as_text, load, network_digest
from ._network import Network

KIND = "flows/nash-to"


@dataclass(frozen=True)
class NashToOptions:
    """Which equilibrium `nash_to` computes, and how."""

    sink: str | None = None
    """Where all agents go."""
    inflows: tuple[str, ...] = ()
    """One text an origin, such as "1=500" or "7=0:200, 26:0": the node, then its inflow as for
    `nash`."""
    horizon: str | None = None
    """Stop where the departures of all origins are known up to this time; by default go on until
    nothing changes any more."""
    method: str = "auto"
    """auto, floats, pivoting, milp-1, milp-2 or milp-3: how each thin flow is solved."""
    max_phases: int = 1000
    """Stop after so many phases with status phase-limit."""

    def __post_init__(self) -> None:
        """Check the options that are no numbers of the instance."""
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r} is not known; choose {', '.join(METHODS)}.")
        if self.max_phases < 1:
            raise ValueError(f"max_phases={self.max_phases} must be 1 or more.")


@command(options=NashToOptions, inputs=("network",))
def nash_to(
    network: Network | Path | str,
    sink: Any = None,
    inflows: Mapping[Any, Any] | None = None,
    *,
    config: NashToOptions | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> ArrivalFlow:
    """Compute the Nash flow over time from many origins to one sink, in exact numbers.

    Args:
        network: As for `nash`.
        sink: Where all agents go.
        inflows: For each origin its inflow: a rate, pairs (start, rate) or text, as for `nash`.
        config: The options whole; sink and inflows are then in it.
        out: Folder for the run: phases, certificate.
        resume: Return the finished run in `out`; an unfinished one is computed again.
        force: Replace the run in `out`.
        **options: Fields of `NashToOptions`.

    Returns:
        Phases in arrival time, and what follows from them.

    Raises:
        ValueError: An origin is no node, is the sink, has no route to it or no inflow, or the
            network has storages or inflow capacities: with spillback agents that arrive together
            need not meet in the same queues.
        FlowsError: A thin flow was not solved.
        RunError: `out` holds another run.

    Example:
        >>> net = Network.from_arcs([("a", "m", 3, 9), ("b", "m", 1, 9), ("m", "t", 1, 1)])
        >>> flow = nash_to(net, "t", {"a": "0:1, 4:0", "b": "0:1, 4:0"})
        >>> flow.arrival("a", 0), flow.arrival("b", 2), flow.arrival("a", 4)
        (Fraction(4, 1), Fraction(4, 1), Fraction(10, 1))
    """
    notes: list[str] = []
    if sink is not None:
        options["sink"] = sink
    if inflows is not None:
        texts = {str(o): Inflow.of(v, notes).as_text() for o, v in inflows.items()}
        options["inflows"] = tuple(f"{o}={text}" for o, text in texts.items())
    chosen = resolve(NashToOptions, config, as_text(options, notes))
    if chosen.sink is None:
        raise ValueError("say the sink: sink= in Python, --sink in the shell.")
    rates = _inflows(chosen.inflows, notes)
    net = load(network)
    horizon = None if chosen.horizon is None else rational(chosen.horizon)
    if horizon is not None and horizon <= 0:
        raise ValueError(f"the horizon is {horizon}; it must be above 0.")

    def compute() -> ArrivalFlow:
        begun = time.perf_counter()
        with progress(chosen.max_phases, "phases") as bar:
            found = arrival_flow(
                net, str(chosen.sink), rates, horizon, chosen.method, chosen.max_phases, notes,
                bar.advance,
            )  # fmt: skip
        return replace(found, seconds=time.perf_counter() - begun)

    if out is None:
        return compute()
    identity = {**to_plain(chosen), "network": network_digest(net)}
    with Run.create(out, kind=KIND, config=identity, resume=resume, force=force) as run:
        found = replace(compute(), path=run.path)
        if resume and (run.path / "result.json").exists():
            return found
        from ._report import save_arrivals

        save_arrivals(run, found)
        append_record(
            run.path / "records.jsonl",
            question="Which phases has the Nash flow over time of these origins?",
            configuration=run.config,
            seed=None,
            samples={"phases": len(found.phases)},
            wall_seconds=found.seconds,
        )
        return found


def _inflows(texts: tuple[str, ...], notes: list[str]) -> dict[str, Inflow]:
    found: dict[str, Inflow] = {}
    for text in texts:
        origin, equals, rate = text.partition("=")
        origin = origin.strip()
        if not equals or not origin:
            raise ValueError(
                f"the inflow {text!r} has no origin; write ORIGIN=RATE, such as 1=500."
            )
        if origin in found:
            raise ValueError(f"the origin {origin!r} has two inflows; give one for each.")
        found[origin] = Inflow.of(rate, notes)
    return found
