"""`lab/measured`: builder and checker agree although they share no code; forgeries fail."""

import copy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from extremal.lab import Part, accuracy_part, seeds_part, timing_part
from extremal.verify import Rejected
from extremal.verify._recomputed.lab_measured import _quantile, check

CORRECT = np.array([True] * 13 + [False] * 4)
ACCURACY = accuracy_part("net", CORRECT, np.arange(17) % 3, data="digits", seed=5)
SECONDS = timing_part("step", [0.3, 0.1, 0.2, 0.5, 0.4, 0.6, 0.7, 0.9, 0.8], data="batch 32")
MEAN = seeds_part("accuracy in points", {0: 90.0, 1: 91.0, 2: 89.5}, data="digits")


def accepted(part: Part) -> list[str]:
    return check(dict(part.claim), dict(part.witness), Path())


@pytest.mark.parametrize("part", [ACCURACY, SECONDS, MEAN], ids=["accuracy", "seconds", "mean"])
def test_what_the_builder_writes_is_accepted(part):
    assert part.claim["subject"] in accepted(part)[0]


def test_known_intervals():
    # 9 of 10 by Wilson; 9 samples: between the 2nd and 8th, coverage 1 - 2 (1 + 9) / 512 = 0.961.
    claim = accuracy_part("x", np.arange(10) > 0, np.zeros(10, int), data="d", seed=0).claim
    assert (round(claim["low"], 4), round(claim["high"], 4)) == (0.5958, 0.9821)
    assert (SECONDS.claim["value"], SECONDS.claim["low"], SECONDS.claim["high"]) == (0.5, 0.2, 0.8)


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_every_accuracy_agrees(bits):
    accepted(
        accuracy_part("x", np.array(bits), np.zeros(len(bits), dtype=np.int64), data="d", seed=0)
    )


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40))
def test_every_timing_agrees(samples):
    accepted(timing_part("x", samples, data="d"))


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12))
def test_every_mean_agrees(values):
    accepted(seeds_part("x", dict(enumerate(values)), data="d"))


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 10, 29, 100])
def test_the_checkers_own_student_quantile(freedom):
    # Bisection on a sum of at most 50 terms: 1e-11 is far above its rounding.
    assert _quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-11)


def forged(part: Part, where: str, name: str, value: object) -> Part:
    fields = {
        "claim": dict(copy.deepcopy(part.claim)),
        "witness": dict(copy.deepcopy(part.witness)),
    }
    fields[where][name] = value
    return Part(part.kind, part.version, fields["claim"], fields["witness"])


BITS = ACCURACY.witness["correct"]
FORGERIES = [
    *(
        (part, "claim", name, part.claim[name] + step)
        for part in (ACCURACY, SECONDS, MEAN)
        for name, step in [("value", 1e-5), ("low", -1e-5), ("high", 1e-5), ("n", 1), ("n", -1),
                           ("confidence", 1e-9), ("tolerance", 1e-3), ("tolerance", -1.0)]
    ),
    *((part, "claim", "quantity", "guess") for part in (ACCURACY, SECONDS, MEAN)),
    (ACCURACY, "claim", "quantity", "seconds"),
    (SECONDS, "claim", "quantity", "mean"),
    (MEAN, "claim", "quantity", "seconds"),
    (ACCURACY, "claim", "n", 0),
    (ACCURACY, "claim", "n", True),
    (ACCURACY, "witness", "correct", "7" + BITS[1:]),  # one right answer made wrong
    (ACCURACY, "witness", "correct", BITS[:-1] + "1"),  # a bit beyond the last example
    (ACCURACY, "witness", "correct", BITS + "00"),
    (ACCURACY, "witness", "correct", "zz" + BITS[2:]),
    (ACCURACY, "witness", "labels_sha256", "0" * 63),
    (ACCURACY, "witness", "seeds", [1, 2]),
    (ACCURACY, "witness", "seeds", ["1"]),
    (ACCURACY, "witness", "samples", [1.0]),
    (SECONDS, "witness", "samples", SECONDS.witness["samples"][:-1]),
    (SECONDS, "witness", "samples", [0.30001, *SECONDS.witness["samples"][1:3], 0.50001,
                                     *SECONDS.witness["samples"][4:]]),
    (SECONDS, "witness", "samples", [-1.0, *SECONDS.witness["samples"][1:]]),
    (SECONDS, "witness", "seeds", [0]),
    (MEAN, "witness", "samples", [90.0, 91.0]),
    (MEAN, "witness", "samples", [90.0, 91.0, 89.50001]),
    (MEAN, "witness", "seeds", [0, 1, 1]),
    (MEAN, "witness", "machine", "mine"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "where", "name", "value"), FORGERIES)
def test_forgeries_are_rejected(part, where, name, value):
    with pytest.raises((Rejected, ValueError)):
        accepted(forged(part, where, name, value))


@pytest.mark.parametrize("part", [ACCURACY, SECONDS, MEAN], ids=["accuracy", "seconds", "mean"])
def test_every_missing_field_is_rejected(part):
    for where, fields in (("claim", part.claim), ("witness", part.witness)):
        for name in fields:
            cut = {"claim": dict(part.claim), "witness": dict(part.witness)}
            del cut[where][name]
            with pytest.raises(Rejected):
                check(cut["claim"], cut["witness"], Path())


@pytest.mark.parametrize(
    "build",
    [
        lambda: accuracy_part("x", np.zeros(0, bool), np.zeros(0, int), data="d", seed=0),
        lambda: accuracy_part("x", np.zeros(2, bool), np.zeros(3, int), data="d", seed=0),
        lambda: timing_part("x", [], data="d"),
        lambda: timing_part("x", [0.0], data="d"),
        lambda: seeds_part("x", {0: 1.0}, data="d"),
        lambda: seeds_part("x", {0: 1.0, 1: float("nan")}, data="d"),
    ],
)
def test_what_cannot_be_claimed_is_refused(build):
    # In tests the type checker refuses unequal lengths first, with a TypeError of its own.
    with pytest.raises((ValueError, TypeError), match=r"needs|must be|not positive|i64\[3\]"):
        build()
