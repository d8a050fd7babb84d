"""How a checker says no."""


class Rejected(Exception):
    """A certificate does not prove what it claims; the text names the first failed condition."""


class Unusable(Exception):
    """A file is no certificate that this version can read; the text says why."""
