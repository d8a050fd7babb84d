"""Forgeries of `tcurves/scheme`: whatever is changed by the least amount is rejected."""

import copy
from fractions import Fraction
from pathlib import Path

import pytest

from extremal.verify._proved import tcurves_scheme as checker
from extremal.verify._rejected import Rejected

# Degree 3, made by hand: the honeycomb, heights i^2 + ij + j^2, signs of the Harnack cubic.
POINTS = [(i, j) for i in range(4) for j in range(4 - i)]
AT = {p: k for k, p in enumerate(POINTS)}
TRIANGLES = [
    *([AT[i, j], AT[i, j + 1], AT[i + 1, j]] for i, j in POINTS if i + j < 3),
    *([AT[i, j + 1], AT[i + 1, j], AT[i + 1, j + 1]] for i, j in POINTS if i + j < 2),
]
HEIGHTS = [str(i * i + i * j + j * j) for i, j in POINTS]
SIGNS = "".join(str(int(i % 2 == j % 2 == 1)) for i, j in POINTS)


def files():
    digest = checker.curve_digest(3, TRIANGLES, HEIGHTS, SIGNS)
    claim = {"degree": 3, "scheme": "<J u 1>", "algebraic": True, "curve_sha256": digest}
    return claim, copy.deepcopy({"triangles": TRIANGLES, "heights": HEIGHTS, "signs": SIGNS})


def check(claim, witness, bound=True):
    if not bound:  # a forger who mends the digest as well
        claim["curve_sha256"] = checker.curve_digest(
            claim["degree"], witness["triangles"], witness["heights"], witness["signs"]
        )
    return checker.check(claim, witness, Path())


def test_accepts():
    said = check(*files())
    assert said[-1] == "a smooth real curve of degree 3 has the real scheme <J u 1>"


def test_accepts_without_heights_but_says_so():
    claim, witness = files()
    witness["heights"], claim["algebraic"] = None, False
    assert "no algebraic curve is guaranteed" in check(claim, witness, bound=False)[-1]


@pytest.mark.parametrize("at", range(10))
def test_rejects_any_changed_sign(at):
    claim, witness = files()
    witness["signs"] = SIGNS[:at] + str(1 - int(SIGNS[at])) + SIGNS[at + 1 :]
    with pytest.raises(Rejected, match="SHA-256"):
        check(claim, witness)


def test_rejects_a_changed_sign_that_changes_the_curve_whatever_the_digest():
    claim, witness = files()
    words = (f"{k:010b}" for k in range(1 << 10))
    trees = ((w, checker.real_scheme(3, POINTS, TRIANGLES, w)) for w in words)
    witness["signs"] = next(w for w, tree in trees if checker.write(True, tree) == "<J>")
    with pytest.raises(Rejected, match="has the real scheme <J>, not <J u 1>"):
        check(claim, witness, bound=False)


@pytest.mark.parametrize("at", range(10))
def test_rejects_any_changed_height(at):
    claim, witness = files()
    witness["heights"][at] = str(Fraction(HEIGHTS[at]) + Fraction(1, 10**12))
    with pytest.raises(Rejected, match="SHA-256"):
        check(claim, witness)


@pytest.mark.parametrize("at", range(10))
def test_rejects_heights_that_do_not_lift_it_whatever_the_digest(at):
    claim, witness = files()
    # A little beyond the least change that breaks strict convexity somewhere.
    witness["heights"][at] = str(int(HEIGHTS[at]) + (-7 if at in (0, 3, 9) else 7))
    with pytest.raises(Rejected, match="not strictly convex"):
        check(claim, witness, bound=False)


def test_rejects_heights_that_are_only_just_flat():
    claim, witness = files()
    witness["heights"] = ["0"] * 10
    with pytest.raises(Rejected, match="not strictly convex"):
        check(claim, witness, bound=False)


@pytest.mark.parametrize("scheme", ["<J>", "<J u 2>", "<1>", "<J u 1<1>>", "<J u 1> ", ""])
def test_rejects_another_scheme(scheme):
    claim, witness = files()
    claim["scheme"] = scheme
    with pytest.raises(Rejected, match="has the real scheme <J u 1>"):
        check(claim, witness)


@pytest.mark.parametrize("at", range(9))
@pytest.mark.parametrize("corner", range(3))
def test_rejects_any_changed_triangle(at, corner):
    claim, witness = files()
    witness["triangles"][at][corner] = (witness["triangles"][at][corner] + 1) % 10
    with pytest.raises(Rejected):
        check(claim, witness, bound=False)


def test_rejects_triangles_that_are_missing_or_double():
    for change in (lambda t: t[:-1], lambda t: [*t, t[0]], lambda t: [*t[:-1], t[0]]):
        claim, witness = files()
        witness["triangles"] = change(witness["triangles"])
        with pytest.raises(Rejected):
            check(claim, witness, bound=False)


@pytest.mark.parametrize(
    ("where", "field", "value"),
    [
        (0, "degree", 4), (0, "degree", 0), (0, "degree", True), (0, "degree", 3.0),
        (0, "algebraic", False), (0, "algebraic", 1), (0, "curve_sha256", "0" * 64),
        (1, "signs", SIGNS[:-1]), (1, "signs", SIGNS[:-1] + "2"), (1, "signs", None),
        (1, "heights", HEIGHTS[:-1]), (1, "heights", [0.0] * 10), (1, "triangles", None),
        (1, "heights", [*HEIGHTS[:-1], "nan"]),
    ],
)  # fmt: skip
def test_rejects_fields_that_do_not_fit(where, field, value):
    both = files()
    both[where][field] = value
    with pytest.raises((Rejected, ValueError)):
        check(*both)


def test_a_wrong_height_word_is_a_rejection_at_the_door(tmp_path):
    import json

    from extremal import verify

    claim, witness = files()
    witness["heights"][0] = "1/0"
    body = {"format": "extremal/certificate", "version": 1}
    part = {"kind": "tcurves/scheme", "version": 1, "claim": claim, "witness": witness}
    (tmp_path / "c.json").write_text(json.dumps({**body, "parts": [part]}))
    assert verify.file(tmp_path / "c.json").status == "rejected"
