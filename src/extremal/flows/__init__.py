"""Flows over time: exact dynamic equilibria, packet simulation, and the study that joins them."""

from ._animate import write_animation
from ._arrival_flow import ArrivalFlow, ArrivalPhase
from ._curves import Curve
from ._deviation import Deviation, deviation
from ._equilibrium import Event, NashFlow, Phase, Route
from ._errors import FlowsError, PacketWarning
from ._evolve import Evolution, evolve
from ._gap import Gap, GapOptions, Trajectory, gap, read_events, read_uxsim
from ._inflow import Inflow
from ._instances import SHIPPED, Instance, instance
from ._loading import FluidLoading, load_fluid
from ._long_run import SteadyState, potential, steady_state
from ._matsim import LinkRules
from ._nash import NashOptions, nash
from ._nash_to import NashToOptions, nash_to
from ._network import Arc, Network
from ._optimum import Closure, Optimum, OptimumOptions, optimum
from ._packets import RouteInflow
from ._plot import Drawn, PlotOptions, plot
from ._read import from_networkx, read_gmns, read_json, read_matsim, read_network, read_tntp
from ._refine import Level, Refinement, RefineOptions, refine, shortest_routes
from ._simulation import SimulateOptions, Simulation, nash_demand, read_demand, simulate
from ._spillback import with_super_source
from ._thin_flow import ThinFlow, thin_flow
from ._write import to_networkx, write_events, write_gmns, write_json, write_matsim, write_tntp

__all__ = [
    "SHIPPED",
    "Arc",
    "ArrivalFlow",
    "ArrivalPhase",
    "Closure",
    "Curve",
    "Deviation",
    "Drawn",
    "Event",
    "Evolution",
    "FlowsError",
    "FluidLoading",
    "Gap",
    "GapOptions",
    "Inflow",
    "Instance",
    "Level",
    "LinkRules",
    "NashFlow",
    "NashOptions",
    "NashToOptions",
    "Network",
    "Optimum",
    "OptimumOptions",
    "PacketWarning",
    "Phase",
    "PlotOptions",
    "RefineOptions",
    "Refinement",
    "Route",
    "RouteInflow",
    "SimulateOptions",
    "Simulation",
    "SteadyState",
    "ThinFlow",
    "Trajectory",
    "deviation",
    "evolve",
    "from_networkx",
    "gap",
    "instance",
    "load_fluid",
    "nash",
    "nash_demand",
    "nash_to",
    "optimum",
    "plot",
    "potential",
    "read_demand",
    "read_events",
    "read_gmns",
    "read_json",
    "read_matsim",
    "read_network",
    "read_tntp",
    "read_uxsim",
    "refine",
    "shortest_routes",
    "simulate",
    "steady_state",
    "thin_flow",
    "to_networkx",
    "with_super_source",
    "write_animation",
    "write_events",
    "write_gmns",
    "write_json",
    "write_matsim",
    "write_tntp",
]
