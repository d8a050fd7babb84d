"""Flows over time: exact dynamic equilibria, packet simulation, and the study that joins them."""

from ._curves import Curve
from ._equilibrium import Event, NashFlow, Phase, Route
from ._errors import FlowsError, PacketWarning
from ._inflow import Inflow
from ._instances import SHIPPED, Instance, instance
from ._nash import NashOptions, nash
from ._network import Arc, Network
from ._read import from_networkx, read_gmns, read_json, read_matsim, read_network, read_tntp
from ._thin_flow import ThinFlow, thin_flow
from ._write import to_networkx, write_gmns, write_json, write_matsim, write_tntp

__all__ = [
    "SHIPPED",
    "Arc",
    "Curve",
    "Event",
    "FlowsError",
    "Inflow",
    "Instance",
    "NashFlow",
    "NashOptions",
    "Network",
    "PacketWarning",
    "Phase",
    "Route",
    "ThinFlow",
    "from_networkx",
    "instance",
    "nash",
    "read_gmns",
    "read_json",
    "read_matsim",
    "read_network",
    "read_tntp",
    "thin_flow",
    "to_networkx",
    "write_gmns",
    "write_json",
    "write_matsim",
    "write_tntp",
]
