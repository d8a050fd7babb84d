"""What this area may raise or warn about, beyond ValueError for wrong arguments."""

from extremal.lab import ExtremalError


class FlowsError(ExtremalError):
    """A network file is malformed, or a flow cannot be computed or certified."""


class PacketWarning(UserWarning):
    """A link moves less than one packet a step, so that packets are isolated."""
