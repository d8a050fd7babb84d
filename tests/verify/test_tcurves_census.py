"""Forgeries of `tcurves/census`, and its two ways of counting against each other."""

import copy
import json
from pathlib import Path

import pytest

from extremal.verify._proved import tcurves_scheme as curves
from extremal.verify._recomputed import tcurves_census as checker
from extremal.verify._rejected import Rejected

# Degree 3, made by hand; the counts are known answers.
POINTS = [(i, j) for i in range(4) for j in range(4 - i)]
AT = {p: k for k, p in enumerate(POINTS)}
TRIANGLES = [
    *([AT[i, j], AT[i, j + 1], AT[i + 1, j]] for i, j in POINTS if i + j < 3),
    *([AT[i, j + 1], AT[i + 1, j], AT[i + 1, j + 1]] for i, j in POINTS if i + j < 2),
]
HEIGHTS = [str(i * i + i * j + j * j) for i, j in POINTS]
FIXED = {"0": 1, "1": 1, "4": 1}


def word(scheme):
    """The first normalised signs that give a scheme, by the proved checker's own evaluation."""
    for bits in range(1 << 10):
        signs = f"{bits:010b}"
        if all(signs[int(k)] == "1" for k in FIXED):
            tree = curves.real_scheme(3, POINTS, TRIANGLES, signs)
            if curves.write(True, tree) == scheme:
                return signs
    raise AssertionError


SIGNS = {"<J>": word("<J>"), "<J u 1>": word("<J u 1>")}


def files(check="brute"):
    claim = {
        "degree": 3,
        "total": 128,
        "fixed": dict(FIXED),
        "schemes": [["<J>", 64], ["<J u 1>", 64]],
        "check": check,
        "algebraic": True,
        "triangulation_sha256": curves.curve_digest(3, TRIANGLES, HEIGHTS, ""),
    }
    witness = {
        "triangles": TRIANGLES, "heights": HEIGHTS, "order": list(range(10)), "signs": dict(SIGNS),
    }  # fmt: skip
    return copy.deepcopy(claim), copy.deepcopy(witness)


@pytest.mark.parametrize("check", ["brute", "recurrence", "witnesses"])
def test_accepts(check):
    assert "128 sign vectors" in checker.check(*files(check), Path())[1]


@pytest.mark.parametrize("d", [2, 3, 4])
def test_both_ways_of_counting_agree(d):
    points = [(i, j) for i in range(d + 1) for j in range(d + 1 - i)]
    at = {p: k for k, p in enumerate(points)}
    triangles = [
        *([at[i, j], at[i, j + 1], at[i + 1, j]] for i, j in points if i + j < d),
        *([at[i, j + 1], at[i + 1, j], at[i + 1, j + 1]] for i, j in points if i + j < d - 1),
    ]
    fixed = {0: 1, 1: 1, d + 1: 1}
    brute = checker._brute(d, points, triangles, fixed)
    assert brute == checker._recurrence(d, points, triangles, fixed, list(range(len(points))))
    assert sum(brute.values()) == 2 ** (len(points) - 3)


@pytest.mark.parametrize("check", ["brute", "recurrence"])
def test_rejects_counts_that_are_moved(check):
    claim, witness = files(check)
    claim["schemes"] = [["<J>", 63], ["<J u 1>", 65]]
    with pytest.raises(Rejected, match=r"has 64 sign vectors, not 6[35]"):
        checker.check(claim, witness, Path())


@pytest.mark.parametrize(
    ("where", "field", "value"),
    [
        (0, "degree", 4), (0, "total", 127), (0, "total", 256), (0, "fixed", {"0": 1, "1": 1}),
        (0, "fixed", {"0": 1, "1": 1, "4": 0}), (0, "fixed", {"0": 1, "1": 1, "99": 1}),
        (0, "schemes", [["<J>", 128]]), (0, "schemes", [["<J>", 64], ["<J u 2>", 64]]),
        (0, "schemes", [["<J>", 64], ["<J>", 64]]), (0, "schemes", [["<J>", 128], ["<J u 1>", 0]]),
        (0, "schemes", [["<J>", 64.0], ["<J u 1>", 64]]), (0, "check", "trust"),
        (0, "algebraic", False), (0, "triangulation_sha256", "0" * 64),
        (1, "triangles", TRIANGLES[:-1]), (1, "heights", None), (1, "heights", ["0"] * 10),
        (1, "signs", {"<J>": SIGNS["<J>"]}), (1, "signs", {**SIGNS, "<J>": SIGNS["<J u 1>"]}),
        (1, "signs", {**SIGNS, "<J>": "0" + SIGNS["<J>"][1:]}), (1, "signs", {**SIGNS, "<J>": ""}),
    ],
)  # fmt: skip
def test_rejects_any_changed_field(where, field, value):
    both = files()
    both[where][field] = value
    with pytest.raises(Rejected):
        checker.check(*both, Path())


def test_brute_force_of_a_large_degree_needs_to_be_asked_for(tmp_path):
    pytest.importorskip("numba")
    from extremal import tcurves, verify

    found = tcurves.census("honeycomb-5", out=tmp_path / "run")
    text = found.certificate.read_text()
    assert '"check": "recurrence"' in text
    assert verify.file(found.certificate).accepted
    forged = tmp_path / "run" / "forged.json"
    # Moved counts and an order that is none: the recurrence repeats every count.
    moved = text.replace("44032", "44031").replace("99328", "99329")
    forged.write_text(moved)
    assert "sign vectors, not" in verify.file(forged).reason
    body = json.loads(text)
    body["parts"][0]["witness"]["order"][0] = body["parts"][0]["witness"]["order"][1]
    forged.write_text(json.dumps(body))
    assert "not a permutation" in verify.file(forged).reason
    forged.write_text(text.replace('"check": "recurrence"', '"check": "brute"'))
    verdict = verify.file(forged)
    assert verdict.status == "rejected"
    assert "--thorough" in verdict.reason
    forged.write_text(
        text.replace('"check": "recurrence"', '"check": "witnesses"')
        .replace("44032", "44031")
        .replace("99328", "99329")
    )
    # With witnesses alone moved counts pass, and the statement says that they were not repeated.
    lenient = verify.file(forged)
    assert lenient.accepted
    assert "the single counts were not repeated" in lenient.parts[0].statements[-1]


@pytest.mark.slow
def test_thorough_repeats_degree_5_by_brute_force(tmp_path):
    pytest.importorskip("numba")
    from extremal import tcurves, verify

    found = tcurves.census("random-5-0", out=tmp_path / "run")
    text = found.certificate.read_text()
    said = verify.file(found.certificate, thorough=True)
    assert said.accepted
    assert "every sign vector was tried again" in said.parts[0].statements[-1]
    forged = tmp_path / "run" / "forged.json"
    one, two = (str(e.count) for e in found.entries[:2])
    forged.write_text(
        text.replace(f"{one}\n", f"{int(one) - 1}\n", 1).replace(f"{two}\n", f"{int(two) + 1}\n", 1)
    )
    assert verify.file(forged, thorough=True).status == "rejected"
