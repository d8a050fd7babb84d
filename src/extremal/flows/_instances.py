"""Networks that are shipped by name: small, published, with known answers."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from ._inflow import Inflow
from ._network import Network


@dataclass(frozen=True)
class Instance:
    """A network with the journey that is usually asked of it."""

    network: Network
    source: str
    sink: str
    inflow: Inflow
    about: str


_PLACES = {"s": (-1.0, 0.0), "1": (0.0, 0.0), "2": (1.0, 0.7), "3": (2.0, -0.7), "4": (3.0, 0.0)}


def _braess() -> Instance:
    rows = [
        ("s", "1", 5, 1), ("1", "2", 5, "1/2"), ("2", "3", 5, "1/3"), ("3", "4", 5, "1/2"),
        ("4", "t", 5, 1), ("2", "4", 40, 1), ("1", "3", 40, 1),
    ]  # fmt: skip
    net = Network.from_arcs(rows, positions={**_PLACES, "t": (4.0, 0.0)})
    return Instance(
        net, "s", "t", Inflow.of(1), "Braess' network of Ziemke et al. 2021, without spillback"
    )


def _braess_spillback() -> Instance:
    rows = [
        ("s", "1", 5, 1), ("1", "2", 5, "1/2", None, 6), ("2", "3", 5, "1/3", None, 6),
        ("3", "4", 5, "1/2", None, 6), ("4", "t", 5, 1),
        ("2", "4", Fraction(2301, 100), 1, None, 60), ("1", "3", Fraction(3601, 100), 1, None, 60),
    ]  # fmt: skip
    net = Network.from_arcs(rows, positions={**_PLACES, "t": (4.0, 0.0)})
    return Instance(
        net, "s", "t", Inflow.of(1), "Braess' network of Ziemke et al. 2021, with spillback"
    )


def _atmos() -> Instance:
    rows = [
        ("s", "1", 1, 6), ("1", "2", 1, 3, None, 60), ("1", "3", 42, 6), ("2", "3", 1, 2, None, 30),
        ("2", "4", 45, 6), ("3", "4", 1, 3), ("4", "t", 1, 6),
    ]  # fmt: skip
    net = Network.from_arcs(rows, positions={**_PLACES, "t": (4.0, 0.0)})
    return Instance(
        net, "s", "t", Inflow.of(6), "Ziemke, Sering, Nagel 2023: spillback that never settles"
    )


def _two_routes() -> Instance:
    net = Network.from_arcs(
        [("s", "t", 1, 1, None, None, "short"), ("s", "t", 3, 1, None, None, "long")],
        positions={"s": (0.0, 0.0), "t": (1.0, 0.0)},
    )
    return Instance(net, "s", "t", Inflow.of(2), "two parallel arcs")


SHIPPED: dict[str, Callable[[], Instance]] = {
    "braess": _braess,
    "braess-spillback": _braess_spillback,
    "atmos": _atmos,
    "two-routes": _two_routes,
}


def instance(name: str) -> Instance:
    """Return a shipped network with its journey.

    Raises:
        ValueError: There is none of that name.
    """
    if name not in SHIPPED:
        raise ValueError(f"there is no shipped network {name!r}; there are {', '.join(SHIPPED)}.")
    return SHIPPED[name]()
