"""Forgeries of `interpret/guarantee`, on an audit that is made here without any network."""

import copy
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from extremal import interpret, verify
from extremal.interpret import certify, load_task
from extremal.verify import Rejected
from extremal.verify._recomputed import interpret_guarantee as checker


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small audit with failures of every kind: half the rows have a random class."""
    task = load_task(data="monks").sampled(60)
    task = replace(
        task,
        reference=task.reference.take(slice(0, 200)),
        catalogue=task.catalogue.take(slice(0, 40)),
    )
    rng = np.random.default_rng(0)
    task.audit.labels[rng.random(60) < 0.1] ^= 1
    folder = tmp_path_factory.mktemp("audit") / "run"
    certify(None, None, task, k=3, confidence=0.8, purity=0.7, chunk=20, out=folder)
    return folder


@pytest.fixture
def forge(saved, tmp_path):
    """Write the certificate again with changes to claim, witness or arrays, hashes put right."""
    body = json.loads((saved / "certificate.json").read_text())
    arrays = load_file(saved / "audit.safetensors")

    def write(change=None, witness=None, array=None):
        made = copy.deepcopy(body)
        held = {name: value.copy() for name, value in arrays.items()}
        part = made["parts"][0]
        if change:
            change(part["claim"])
        if witness:
            witness(part["witness"])
        if array:
            array(held)
        save_file(held, tmp_path / "audit.safetensors")
        digest = hashlib.sha256((tmp_path / "audit.safetensors").read_bytes()).hexdigest()
        part["claim"]["audit_sha256"] = digest
        (tmp_path / "certificate.json").write_text(json.dumps(made))
        return verify.file(tmp_path)

    return write


def leaves(value, path=()):
    """Every number and text of a nested value with its path."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from leaves(inner, (*path, i))
    else:
        yield path, value


def test_accepted_as_it_is(forge, saved):
    verdict = forge()
    assert verdict.accepted, verdict.reason
    assert verify.file(saved).accepted
    assert any("replay" in s for s in verdict.parts[0].statements)


def test_every_number_of_the_claim_is_checked(saved):
    part = json.loads((saved / "certificate.json").read_text())["parts"][0]
    claim = part["claim"]
    free = {"subject", "data", "note", "classes", "attacks", "audit_sha256", "tolerance"}
    tried = 0
    for path, value in leaves(claim):
        if path[0] in free or path == ("reader", "name"):
            continue
        if path[0] in {"kappa", "alpha", "shift", "confidence", "shares"}:
            other = value + 1e-6
        elif path == ("smallest",) or path == ("k",):
            other = 2
        elif isinstance(value, str):
            other = "vacuous" if value == "certified" else "certified"
        elif value is None:
            other = 0.5
        else:
            other = value + (1 if isinstance(value, int) else 1e-6)

        forged = copy.deepcopy(claim)
        at = forged
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = other
        try:
            checker.check(forged, part["witness"], Path(saved))
        except (Rejected, TypeError, ValueError, ArithmeticError):
            tried += 1
        else:
            raise AssertionError(f"{path}: {value!r} was changed to {other!r} and accepted")
    assert tried > 80


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("labels", 0, 7), ("merlin_answer", 0, 5), ("in_catalogue", 1, 9),
        ("matches", 0, 10**6), ("agrees", 0, 10**6), ("low", 0, 0.999), ("high", 0, 0.001),
        ("deployed", 0, 9), ("read", 0, 9), ("reference_labels", 0, 9), ("catalogue_class", 0, 9),
        ("merlin_mask", (0, 0), 0), ("merlin_mask", (0, 0), 255), ("fooled_by", (0, 0), 1 << 20),
    ],
)  # fmt: skip
def test_a_changed_array_is_rejected(forge, name, index, value):
    def array(a):
        a[name][index] = value

    assert forge(array=array).status == "rejected"


def test_a_flipped_answer_of_any_sort_is_rejected(forge, saved):
    a = load_file(saved / "audit.safetensors")
    for name in ("labels", "merlin_answer", "deployed", "read", "reference_labels", "codes"):

        def array(held, name=name):
            flat = held[name].reshape(-1)
            flat[0] = 1 - flat[0] if flat[0] in (0, 1) else 0

        assert a[name].size
        assert forge(array=array).status == "rejected", name


def test_a_success_of_morgana_that_is_left_out_is_rejected(forge, saved):
    fooled = load_file(saved / "audit.safetensors")["fooled_by"]
    rows = np.argwhere(fooled != 0)
    assert len(rows)
    i, c = rows[0]

    def array(a):
        a["fooled_by"][i, c] = 0
        a["morgana_mask"][i, c] = 0

    assert forge(array=array).status == "rejected"


def test_hiding_a_replay_is_named(forge, saved):
    """Counts put right too: only the replay itself gives the forger away."""
    a = load_file(saved / "audit.safetensors")
    rows = np.argwhere(a["fooled_by"] & 1)
    assert len(rows)
    i, c = rows[0]

    def array(held):
        held["fooled_by"][i, c] = 0
        held["morgana_mask"][i, c] = 0

    def change(claim):
        claim["counts"]["fooled"][c] -= 1
        claim["counts"]["fooled_any"][int(a["labels"][i])] -= 1

    assert "does not count as fooled by replay" in forge(change, array=array).reason


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c.update(attacks=["exhaustive"]), "replay is not among the attacks"),
        (lambda c: c.update(attacks=["replay", "replay"]), "listed twice"),
        (lambda c: c.update(tolerance=1e-3), "more than"),
        (lambda c: c.update(classes=["a"]), "no audit"),
        (lambda c: c.update(priors="guessed"), "neither given nor estimated"),
        (lambda c: c.update(direct={**c["direct"], "n": 10**6}), "do not exist"),
    ],
)
def test_named_rejections(forge, change, text):
    assert text in forge(change).reason


def test_the_checkers_limits_are_those_of_scipy():
    from extremal.verify._recomputed.interpret_guarantee import lower, upper

    for s, n, delta in ((0, 100, 0.05), (5, 100, 0.05), (3, 982, 0.0125), (9999, 10000, 0.01)):
        assert upper(s, n, delta) == pytest.approx(interpret.upper_limit(s, n, delta), abs=1e-12)
        assert lower(s, n, delta) == pytest.approx(interpret.lower_limit(s, n, delta), abs=1e-12)
