"""Certificates of this area; the checkers share no code with it.

`tcurves/scheme` is proved in exact arithmetic. `tcurves/census` says by which of three ways its
checker repeats the counts: brute force to degree 4, a plain recurrence while that takes seconds,
else one witness a scheme and the total.
"""

from collections.abc import Sequence
from fractions import Fraction
from hashlib import sha256

from extremal.lab import Part

from ._census import Census, plan
from ._notation import Scheme
from ._scheme import word
from ._triangulation import Triangulation

# The checker's recurrence is plain Python: 0.1 to 0.6 ms a state on the machines it was tried on.
_REPEATED_STATES = {0: 20_000, 1: 40_000}  # by the parity of the degree


def _digest(t: Triangulation, signs: str) -> str:
    triangles = ";".join(",".join(map(str, x)) for x in t.triangles)
    heights = "none" if t.heights is None else ",".join(str(Fraction(h)) for h in t.heights)
    return sha256(f"{t.degree}|{triangles}|{heights}|{signs}".encode()).hexdigest()


def _heights(t: Triangulation) -> list[str] | None:
    return None if t.heights is None else [str(h) for h in t.heights]


def scheme_part(t: Triangulation, signs: Sequence[int], scheme: Scheme) -> Part:
    """Return the certificate of one curve."""
    return Part(
        "tcurves/scheme",
        1,
        {
            "degree": t.degree,
            "scheme": str(scheme),
            "algebraic": t.heights is not None,
            "curve_sha256": _digest(t, word(signs)),
        },
        {
            "triangles": [list(x) for x in t.triangles],
            "heights": _heights(t),
            "signs": word(signs),
        },
    )


def census_part(c: Census) -> Part:
    """Return the certificate of a census."""
    t = c.triangulation
    if t.degree <= 4:
        check = "brute"
    else:
        check = "recurrence" if c.states <= _REPEATED_STATES[t.degree % 2] else "witnesses"
    order, _, _ = plan(t, c.fixed, 0)
    return Part(
        "tcurves/census",
        1,
        {
            "degree": t.degree,
            "total": c.total,
            "fixed": {str(k): v for k, v in sorted(c.fixed.items())},
            "schemes": [[str(e.scheme), e.count] for e in c.entries],
            "check": check,
            "algebraic": t.heights is not None,
            "triangulation_sha256": _digest(t, ""),
        },
        {
            "triangles": [list(x) for x in t.triangles],
            "heights": _heights(t),
            "order": list(order),
            "signs": {str(e.scheme): e.witness for e in c.entries},
        },
    )
