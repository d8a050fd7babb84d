"""Records: append-only, with everything needed to run them again."""

import pytest

from extremal.lab import append_record, read_records


def test_a_record_keeps_question_configuration_samples_and_machine(tmp_path):
    file = tmp_path / "r.jsonl"
    append_record(file, question="q?", configuration={"n": 1}, seed=3, samples={"s": [1.0, 2.0]})
    append_record(
        file, question="q?", configuration={"n": 2}, seed=[1, 2], samples={}, status="failed"
    )
    first, second = read_records(file)
    assert (first["question"], first["seed"], first["samples"]) == ("q?", 3, {"s": [1.0, 2.0]})
    assert {"commit", "versions", "machine", "date", "wall_seconds"} <= first.keys()
    assert first["versions"]["python"].startswith("3.")
    assert (second["status"], second["seed"]) == ("failed", [1, 2])


def test_a_sample_that_is_not_a_number_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_record(
            tmp_path / "r.jsonl",
            question="q",
            configuration={},
            seed=0,
            samples={"x": float("inf")},
        )
    assert not (tmp_path / "r.jsonl").exists()
