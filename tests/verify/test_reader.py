"""Files that are no certificate are unusable, each with its reason; nothing is raised."""

import json

import pytest

from extremal import verify
from extremal.lab import Part, timing_part, write_certificate

GOOD = timing_part("a step", [0.1, 0.2, 0.3], data="nothing")


@pytest.fixture
def body(tmp_path):
    return json.loads(write_certificate(tmp_path / "good.json", [GOOD]).read_text())


def verdict(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return verify.file(path)


def test_a_good_file_is_accepted(tmp_path, body):
    found = verdict(tmp_path, json.dumps(body))
    assert (found.status, found.exit_code, found.parts[0].strength) == ("accepted", 0, "measured")
    assert "0.2 s, median" in found.as_text()
    assert verify.file(tmp_path / "good.json").as_json()["status"] == "accepted"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ("[1]", "not an object"),
        ('{"format": 1, "format": 2}', "a key stands twice"),
        ('{"format": NaN}', "NaN is not a number"),
        ('{"format": -Infinity}', "Infinity is not a number"),
        ("[" * 100_000, "nested deeper"),
        ("[" * 80 + "]" * 80, "nested deeper"),
        ('{"a": ' + "9" * 10_001 + "}", "10001 digits"),
        ('{"format": "extremal/certificate", "version": 1}', "missing: parts"),
    ],
)
def test_unusable_files(tmp_path, text, reason):
    found = verdict(tmp_path, text)
    assert found.status == "unusable"
    assert found.exit_code == 2
    assert reason in found.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda b: b.update(format="other"), "its format is 'other'"),
        (lambda b: b.update(version=2), "its version is 2"),
        (lambda b: b.update(version=True), "its version is True"),
        (lambda b: b.update(extra=1), "unknown: extra"),
        (lambda b: b.update(parts=[]), "its parts are not a list of 1"),
        (lambda b: b["parts"][0].update(kind="lab/guessed"), "kind 'lab/guessed' version 1"),
        (lambda b: b["parts"][0].update(version=2), "'lab/measured' version 2"),
        (lambda b: b["parts"][0].pop("witness"), "missing: witness"),
        (lambda b: b["parts"][0]["claim"].update(more=1), "unknown: more"),
        (lambda b: b["parts"][0]["witness"].update(more=1), "unknown: more"),
        (lambda b: b["parts"][0].update(claim=[]), "the claim of part 0 is not an object"),
    ],
)
def test_unknown_forms_are_refused_before_a_checker_sees_them(tmp_path, body, change, reason):
    change(body)
    found = verdict(tmp_path, json.dumps(body))
    assert found.status == "unusable"
    assert reason in found.reason


def test_a_missing_file_and_a_folder_without_certificate_are_unusable(tmp_path):
    assert verify.file(tmp_path / "none.json").status == "unusable"
    assert verify.file(tmp_path).status == "unusable"


def test_an_oversized_file_is_refused(tmp_path, monkeypatch, body):
    from extremal.verify import _reader

    monkeypatch.setattr(_reader, "MAX_BYTES", 100)
    assert "larger than 100 bytes" in verdict(tmp_path, json.dumps(body)).reason


def test_one_bad_part_rejects_the_file(tmp_path):
    worse = Part(GOOD.kind, GOOD.version, {**GOOD.claim, "value": 0.2 + 1e-8}, GOOD.witness)
    found = verify.file(write_certificate(tmp_path / "c.json", [GOOD, worse]))
    assert (found.status, found.exit_code) == ("rejected", 1)
    assert [p.accepted for p in found.parts] == [True, False]


def test_a_long_integer_is_read_exactly():
    from extremal.verify._reader import _integer

    assert _integer("-1" + "0" * 9000) == -(10**9000)
