"""The shell: exit codes, one line for every error, and a table that matches the doors."""

import dataclasses
import errno
import importlib

import pytest

from extremal import cli
from extremal.lab import command_of, timing_part, write_certificate


@pytest.fixture
def certificate(tmp_path):
    return write_certificate(tmp_path / "c.json", [timing_part("x", [0.1, 0.2], data="d")])


def test_help_names_every_area_and_verb(capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    for area, (_, verbs) in cli.AREAS.items():
        assert area in text
        assert all(verb in text for verb in verbs)
    assert all(name in text for name in cli.TOP)


@pytest.mark.parametrize("area", cli.AREAS)
def test_the_table_matches_the_door(area):
    pytest.importorskip("torch")
    door = importlib.import_module(f"extremal.{area}")
    names = {verb.replace("-", "_") for verb in cli.AREAS[area][1]}
    for name in names:
        assert name in door.__all__
        command_of(getattr(door, name))
    marked = {n for n in door.__all__ if hasattr(getattr(door, n), "__extremal_command__")}
    assert marked == names


def test_verify_exit_codes(certificate, capsys):
    assert cli.main(["verify", str(certificate)]) == 0
    assert "accepted" in capsys.readouterr().out
    certificate.write_text(certificate.read_text().replace('"samples": [\n', '"samples": [\n1,'))
    assert cli.main(["verify", str(certificate)]) == 1
    assert "REJECTED" in capsys.readouterr().out
    certificate.write_text("{}")
    assert cli.main(["verify", str(certificate)]) == 2
    assert "unusable" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["verifi"], "'verifi' is neither an area nor a command"),
        (["training", "fitt"], "training has no verb 'fitt'; it has fit"),
        (["verify"], "verify takes one certificate"),
        (["verify", "a", "b"], "verify takes one certificate"),
        (["cite", "nothing"], "cite takes one area"),
    ],
)
def test_wrong_words_are_one_line_and_exit_2(words, text, capsys):
    assert cli.main(words) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert text in found.err
    assert found.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--epohs", "3"], "Unrecognized options: --epohs"),
        (["--epochs", "x"], "Error parsing --epochs"),
        (["--resum"], "Unrecognized options: --resum"),
    ],
)
def test_wrong_options_are_one_line_and_exit_2(words, text, capsys):
    pytest.importorskip("torch")
    assert cli.main(["training", "fit", *words]) == 2
    found = capsys.readouterr()
    assert text in found.err
    assert found.err.count("\n") == 1
    assert "extremal training fit --help" in found.err


def test_cite_and_version(capsys):
    assert cli.main(["cite", "pruning"]) == 0
    assert "2111.00843" in capsys.readouterr().out
    assert cli.main(["--version"]) == 0


def test_of_several_ranks_the_first_one_prints(capsys, monkeypatch):
    """A `torchrun` group runs the command in every rank; its result is shown once."""

    class Answer:
        def table(self):
            from extremal.lab import Table

            return Table(["found"], [["it"]])

    from extremal.lab import command

    @dataclasses.dataclass(frozen=True)
    class Options:
        n: int = 0

    @command(options=Options)
    def verb(*, config=None, out=None, resume=False, force=False, **options):
        """Find it."""
        return Answer()

    monkeypatch.setenv("MASTER_ADDR", "localhost")
    for rank, shown in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        assert cli._call(verb, "extremal x y", []) == 0
        assert ("it" in capsys.readouterr().out) == shown
    assert cli.main(["nothing"]) == 2
    assert capsys.readouterr().err.startswith("extremal: rank 1: 'nothing' is neither")


def test_a_full_disk_is_said_whoever_met_it(capsys, monkeypatch):
    def full(_: list[str]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/a/shard")

    monkeypatch.setattr(cli, "_run", full)
    assert cli.main(["demo"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "the disk is full, so runs/a/shard could not be written" in said
