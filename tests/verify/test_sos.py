"""Forgeries of the `sos/*` kinds: whatever is changed by the least amount is rejected."""

import copy
import json
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from extremal import verify
from extremal.verify._proved import (
    _polynomials,
    sos_gram,
    sos_multiplier,
    sos_negative,
    sos_putinar,
    sos_refutation,
)
from extremal.verify._rejected import Rejected

CHECKERS = {
    "sos/gram": sos_gram,
    "sos/multiplier": sos_multiplier,
    "sos/negative": sos_negative,
    "sos/putinar": sos_putinar,
    "sos/refutation": sos_refutation,
}
MOTZKIN = {"x^4*y^2": "1", "x^2*y^4": "1", "1": "1", "x^2*y^2": "-3"}

# Each made by hand: (claim without its digest, witness).
BY_HAND = {
    # 2x^2 - 2xy + y^2 + 3 = x^2 + (x - y)^2 + 1, above 2
    "sos/gram": (
        {
            "variables": ["x", "y"],
            "polynomial": {"x^2": "2", "x*y": "-2", "y^2": "1", "1": "3"},
            "bound": "2",
            "squares": 3,
        },
        {
            "blocks": [
                {"monomials": ["x", "y"], "gram": ["2 -1", "1"]},
                {"monomials": ["1"], "gram": ["1"]},
            ]
        },
    ),
    # (x^2 + y^2) Motzkin = (x^2 y - y)^2 + (x y^2 - x)^2 + x^2 y^2 (x^2 + y^2 - 2)^2
    "sos/multiplier": (
        {
            "variables": ["x", "y"],
            "polynomial": MOTZKIN,
            "multiplier": "sum of squares",
            "power": 1,
            "squares": 3,
        },
        {
            "blocks": [
                {"monomials": ["x", "x*y^2"], "gram": ["1 -1", "1"]},
                {"monomials": ["y", "x^2*y"], "gram": ["1 -1", "1"]},
                {"monomials": ["x*y", "x*y^3", "x^3*y"], "gram": ["4 -2 -2", "1 1", "1"]},
            ]
        },
    ),
    "sos/negative": (
        {"variables": ["x"], "polynomial": {"x^2": "1", "x": "-1"}, "bound": "0", "value": "-1/4"},
        {"point": ["1/2"]},
    ),
    # x + 1 = (x + 1)^2 / 2 + (1 - x^2) / 2
    "sos/putinar": (
        {
            "variables": ["x"],
            "polynomial": {"x": "1"},
            "constraints": [{"1": "1", "x^2": "-1"}],
            "bound": "-1",
            "squares": 2,
        },
        {
            "blocks": [
                {"monomials": ["1", "x"], "gram": ["1/2 1/2", "1/2"]},
                {"monomials": ["1"], "gram": ["1/2"], "times": 0},
            ]
        },
    ),
    "sos/refutation": (
        {"variables": ["x", "y"], "polynomial": MOTZKIN, "bound": "0", "monomials": 4},
        {
            "halfspaces": ["-1 0", "0 -1", "1 1", "-1 2", "2 -1"],
            "functional": {"x^2*y^2": "1"},
        },
    ),
}


def files(kind):
    claim, witness = copy.deepcopy(BY_HAND[kind])
    claim["sha256"] = _polynomials.digest(claim)
    return claim, witness


def check(kind, claim, witness, bound=False):
    if not bound:  # a forger who mends the digest as well
        claim = {**claim, "sha256": _polynomials.digest(claim)}
    return CHECKERS[kind].check(claim, witness, Path())


@pytest.mark.parametrize("kind", CHECKERS)
def test_accepts_what_was_made_by_hand(kind):
    assert check(kind, *files(kind), bound=True)


def test_it_says_what_is_proved():
    assert check("sos/gram", *files("sos/gram"))[-1] == "so p >= 2 everywhere"
    assert "not a sum of squares" in check("sos/refutation", *files("sos/refutation"))[-1]
    assert "p >= -1 wherever" in check("sos/putinar", *files("sos/putinar"))[-1]


def leaves(value, path=()):
    """Every text and number inside a nest, with the way to it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from leaves(inner, (*path, i))
    else:
        yield path, value


def put(value, path, new):
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


def nudged(text):
    """Every way to change one number of a text by 10^-12."""
    for found in re.finditer(r"-?\d+(/\d+)?(?![\w^])", text):
        if found.start() and text[found.start() - 1] in "^*xy":
            continue
        new = Fraction(found.group()) + Fraction(1, 10**12)
        yield text[: found.start()] + str(new) + text[found.end() :]


FORGERIES = [
    (kind, where, path, text)
    for kind, both in BY_HAND.items()
    for where, body in zip(("claim", "witness"), both, strict=True)
    for path, old in leaves(body)
    if path[0] not in {"variables", "halfspaces"} and "monomials" not in path
    for text in (nudged(old) if isinstance(old, str) else [old + 1, max(0, old - 1)])
    if text != old
]


@pytest.mark.parametrize(
    ("kind", "where", "path", "new"),
    FORGERIES,
    ids=[f"{k[4:]}-{w}-{'.'.join(map(str, p))}-{i}" for i, (k, w, p, _) in enumerate(FORGERIES)],
)
def test_rejects_any_number_changed_a_little(kind, where, path, new):
    claim, witness = files(kind)
    put(claim if where == "claim" else witness, path, new)
    # A functional may be scaled, and a negative point may move, without proving less.
    if kind == "sos/refutation" and path[0] == "functional":
        new_value = Fraction(new)
        assert new_value > 0
        check(kind, claim, witness)
        put(witness, path, str(-new_value))
    # Another polynomial or bound may be refuted by the same witness; the digest tells them apart.
    other = where == "claim" and kind in {"sos/refutation", "sos/negative"}
    with pytest.raises(Rejected):
        check(kind, claim, witness, bound=other and path[0] in {"polynomial", "bound"})


@pytest.mark.parametrize("kind", CHECKERS)
def test_the_digest_binds_the_claim(kind):
    for path, old in leaves(BY_HAND[kind][0]):
        claim, witness = files(kind)
        put(claim, path, old + 1 if isinstance(old, int) else old + " ")
        with pytest.raises(Rejected):
            check(kind, claim, witness, bound=True)


@pytest.mark.parametrize("kind", CHECKERS)
def test_a_missing_field_is_rejected(kind):
    for where in (0, 1):
        for name in BY_HAND[kind][where]:
            both = files(kind)
            del both[where][name]
            with pytest.raises((Rejected, KeyError)):
                check(kind, *both)


@pytest.mark.parametrize(
    ("kind", "path", "new", "text"),
    [
        ("sos/gram", ("blocks", 0, "monomials"), ["x", "x"], "twice"),
        ("sos/gram", ("blocks", 0, "monomials"), ["x", "y*x"], "in their order"),
        ("sos/gram", ("blocks", 0, "monomials"), ["x", "y^1"], "not a monomial"),
        ("sos/gram", ("blocks", 0, "monomials"), ["x", "z"], "not a monomial"),
        ("sos/gram", ("blocks", 0, "gram"), ["2 -1"], "one row a monomial"),
        ("sos/gram", ("blocks", 0, "gram"), ["2 -1 0", "1"], "has not 2 entries"),
        ("sos/gram", ("blocks", 0, "gram"), ["2 -1", "0.5"], "not a fraction"),
        ("sos/gram", ("blocks", 0, "gram"), ["2 -1", "1/0"], "not a fraction"),
        ("sos/gram", ("blocks",), [], "the squares give"),
        ("sos/putinar", ("blocks", 1, "times"), 1, "not there"),
        ("sos/putinar", ("blocks", 1, "times"), True, "not there"),
        ("sos/refutation", ("halfspaces", 0), "1/2 0", "not of integers"),
        ("sos/refutation", ("halfspaces", 0), "1", "not 2 integers"),
        ("sos/refutation", ("functional",), {}, "not negative"),
        ("sos/negative", ("point",), ["1/2", "0"], "coordinates"),
    ],
)
def test_malformed_witnesses_are_rejected_by_name(kind, path, new, text):
    claim, witness = files(kind)
    put(witness, path, new)
    with pytest.raises(Rejected, match=text):
        check(kind, claim, witness)


def test_an_indefinite_matrix_that_fits_the_identity_is_rejected():
    # x^2 y^2 moved from the diagonal to a product: the identity still holds.
    claim = {
        "variables": ["x"],
        "polynomial": {"x^4": "1", "x^2": "1", "1": "1"},
        "bound": "0",
        "squares": 3,
    }
    for middle, good in (("-1", False), ("1/2", True), ("4", False)):
        twice = (Fraction(1) - Fraction(middle)) / 2
        witness = {
            "blocks": [
                {"monomials": ["1", "x", "x^2"], "gram": [f"1 0 {twice}", f"{middle} 0", "1"]}
            ]
        }
        if good:
            check("sos/gram", claim, witness)
        else:
            with pytest.raises(Rejected, match=r"semidefinite"):
                check("sos/gram", claim, witness)


def test_a_zero_pivot_needs_a_zero_row():
    with pytest.raises(Rejected, match="semidefinite"):
        _polynomials.rank_if_semidefinite([{1: 1}, {0: 1, 1: 5}], "m")
    assert _polynomials.rank_if_semidefinite([{}, {1: 5}], "m") == 1


def test_elimination_agrees_with_fractions_on_random_matrices():
    import random

    rng = random.Random(1)
    for trial in range(200):
        n = rng.randint(1, 6)
        f = [[rng.randint(-2, 2) * (rng.random() < 0.5) for _ in range(n)] for _ in range(n)]
        m = [[sum(f[i][k] * f[j][k] for k in range(n)) for j in range(n)] for i in range(n)]
        if trial % 2:
            i = rng.randrange(n)
            m[i][i] -= 1
        rows = [{j: v for j, v in enumerate(row) if v} for row in m]
        expected = _rank(m)
        if expected is None:
            with pytest.raises(Rejected):
                _polynomials.rank_if_semidefinite(rows, "m")
        else:
            assert _polynomials.rank_if_semidefinite(rows, "m") == expected


def _rank(m):
    """Plain elimination over the rationals; None if the matrix is indefinite."""
    a = [[Fraction(v) for v in row] for row in m]
    rank = 0
    for k in range(len(a)):
        if a[k][k] < 0 or (a[k][k] == 0 and any(a[k][k:])):
            return None
        if a[k][k] == 0:
            continue
        rank += 1
        for i in range(k + 1, len(a)):
            factor = a[i][k] / a[k][k]
            a[i] = [x - factor * y for x, y in zip(a[i], a[k], strict=True)]
    return rank


def test_a_refutation_that_leaves_out_a_monomial_is_rejected():
    """A half-space that is not valid cannot be stated: the checker computes its limit."""
    claim, witness = files("sos/refutation")
    claim["polynomial"] = {**MOTZKIN, "x^4*y^4": "1"}  # now x^2 y^2 may be used, and it is a square
    with pytest.raises(Rejected):
        check("sos/refutation", claim, witness)


def test_an_endless_enumeration_is_refused():
    names = [f"x{i}" for i in range(30)]
    claim = {
        "variables": names,
        "polynomial": {"*".join(f"{v}^4" for v in names): "1", "1": "-1"},
        "bound": "0",
        "monomials": 1,
    }
    with pytest.raises(Rejected, match=r"steps of enumeration|lattice points"):
        check("sos/refutation", claim, {"halfspaces": [], "functional": {"1": "1"}})


@pytest.mark.parametrize("kind", CHECKERS)
def test_any_flipped_digit_of_the_file_is_refused_by_a_fresh_interpreter_without_numpy(
    kind, tmp_path
):
    claim, witness = files(kind)
    part = {"kind": kind, "version": 1, "claim": claim, "witness": witness}
    text = json.dumps({"format": "extremal/certificate", "version": 1, "parts": [part]})
    (tmp_path / "good.json").write_text(text)
    names = []
    for at, c in enumerate(text):
        if c.isdigit():
            name = f"bad{at}.json"
            (tmp_path / name).write_text(text[:at] + str((int(c) + 1) % 10) + text[at + 1 :])
            names.append(name)
    code = f"""
import sys
sys.modules["numpy"] = None
from pathlib import Path
from extremal import verify
folder = Path({str(tmp_path)!r})
assert verify.file(folder / "good.json").accepted
accepted = [n for n in {names!r} if verify.file(folder / n).accepted]
assert "numpy" not in sys.modules or sys.modules["numpy"] is None
print(*accepted)
"""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    scaled = []
    if kind == "sos/refutation":  # 1 -> 2 in the functional: twice as negative, as true as before
        at = text.index('"functional"')
        scaled = [n for n in names if int(n[3:-5]) > at and text[int(n[3:-5]) - 1] == '"']
        # a half-space may be redundant, or replaced by another valid one
        begin = text.index('"halfspaces"')
        scaled += [n for n in names if begin < int(n[3:-5]) < at]
    assert set(found.stdout.split()) <= set(scaled)


def test_verify_reads_all_kinds():
    assert {
        ("sos/" + k, 1) for k in ("gram", "multiplier", "negative", "putinar", "refutation")
    } <= (set(verify.KINDS))
