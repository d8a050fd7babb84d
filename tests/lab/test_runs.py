"""Run folders: nothing is overwritten, nothing is lost, a changed configuration is named."""

import json
import subprocess
import sys
import textwrap

import pytest

from extremal.lab import Run, RunError


def test_a_new_run_holds_its_configuration(tmp_path):
    run = Run.create(tmp_path / "a" / "b", kind="x/y", config={"epochs": 3})
    again = Run.open(tmp_path / "a" / "b", kind="x/y")
    assert again.config == {"epochs": 3} == run.config
    assert again.kind == "x/y"


def test_an_existing_run_is_not_touched_without_a_word(tmp_path):
    Run.create(tmp_path / "r", kind="x", config={}).release()
    before = (tmp_path / "r" / "config.json").read_bytes()
    with pytest.raises(RunError, match=r"--resume.*--force"):
        Run.create(tmp_path / "r", kind="x", config={"a": 1})
    assert (tmp_path / "r" / "config.json").read_bytes() == before


def test_resume_names_what_changed(tmp_path):
    Run.create(tmp_path / "r", kind="x", config={"epochs": 3, "lr": 0.1}).release()
    with pytest.raises(RunError, match="epochs: 3 there, 4 now"):
        Run.create(tmp_path / "r", kind="x", config={"epochs": 4, "lr": 0.1}, resume=True)
    with pytest.raises(RunError, match="run of x, not of y"):
        Run.create(tmp_path / "r", kind="y", config={"epochs": 3, "lr": 0.1}, resume=True)


def test_resume_keeps_and_force_replaces(tmp_path):
    with Run.create(tmp_path / "r", kind="x", config={}) as run:
        run.write("model.bin", b"1")
    with Run.create(tmp_path / "r", kind="x", config={}, resume=True) as run:
        assert (run.path / "model.bin").read_bytes() == b"1"
    with Run.create(tmp_path / "r", kind="x", config={"a": 1}, force=True) as run:
        assert not (run.path / "model.bin").exists()


def test_force_never_deletes_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for flags in ({"force": True}, {"resume": True}, {}):
        with pytest.raises(RunError, match="is not a run and nothing in it is touched"):
            Run.create(tmp_path, kind="x", config={}, **flags)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("damage", [b"", b"{", b'{"kind": "x"}', b"[]"])
def test_a_damaged_configuration_is_refused_by_name(tmp_path, damage):
    Run.create(tmp_path / "r", kind="x", config={}).release()
    (tmp_path / "r" / "config.json").write_bytes(damage)
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        Run.open(tmp_path / "r")


def test_two_processes_cannot_work_in_one_run(tmp_path):
    with (
        Run.create(tmp_path / "r", kind="x", config={}),
        pytest.raises(RunError, match="another process"),
    ):
        Run.create(tmp_path / "r", kind="x", config={}, resume=True)
    Run.create(tmp_path / "r", kind="x", config={}, resume=True)


def test_a_killed_process_leaves_no_lock(tmp_path):
    program = textwrap.dedent("""
        import os, signal, sys
        from extremal.lab import Run
        run = Run.create(sys.argv[1], kind="x", config={})
        run.log(step=1)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    ended = subprocess.run([sys.executable, "-c", program, tmp_path / "r"], check=False)
    assert ended.returncode == -9
    with Run.create(tmp_path / "r", kind="x", config={}, resume=True) as run:
        assert run.records() == [{"step": 1}]


def test_a_torn_last_record_is_dropped_and_the_rest_kept(tmp_path):
    with Run.create(tmp_path / "r", kind="x", config={}) as run:
        run.log(step=1)
        run.log(step=2)
        file = run.path / "records.jsonl"
        file.write_bytes(file.read_bytes() + b'{"step": 3, "x')
        assert run.records() == [{"step": 1}, {"step": 2}]
        run.log(step=3)
        assert [r["step"] for r in run.records()] == [1, 2, 3]
        lines = file.read_bytes().splitlines()
        lines[1] = b"{torn}"
        file.write_bytes(b"\n".join(lines) + b"\n")
        with pytest.raises(RunError, match="line 2 of"):
            run.records()


def test_missing_and_damaged_files_are_named(tmp_path):
    run = Run.create(tmp_path / "r", kind="x", config={})
    with pytest.raises(RunError, match=r"history\.json is missing"):
        run.read_json("history.json")
    run.write("history.json", "{")
    with pytest.raises(RunError, match=r"history\.json is damaged"):
        run.read_json("history.json")
    with pytest.raises(RunError, match="not a run folder"):
        Run.open(tmp_path / "nowhere")


def test_numbers_that_json_does_not_have_are_refused(tmp_path):
    run = Run.create(tmp_path / "r", kind="x", config={})
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.write_json("a.json", {"loss": float("nan")})
    assert json.loads((run.path / "config.json").read_text())["config"] == {}
    assert {p.name for p in run.path.iterdir()} == {".lock", "config.json"}
