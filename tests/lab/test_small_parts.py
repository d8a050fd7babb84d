"""Seeds, exact numbers, options, tables, progress: known answers."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extremal import lab


def test_streams_are_stable_for_ever_and_distinct():
    # A changed value would silently change every run that names its streams.
    assert lab.derive_seed(0) == 3456079177858693020
    assert lab.derive_seed(7, "order", 3) == 3346565339597602479
    names = [(), ("a",), ("a", "b"), ("ab",), ("1",), (1,), ("a", 1)]
    assert len({lab.derive_seed(0, *n) for n in names}) == len(names)
    first = lab.generator(1, "x").random(3)
    assert np.array_equal(first, lab.generator(1, "x").random(3))


@given(st.fractions())
def test_every_fraction_survives_its_text(value):
    assert lab.rational(str(value)) == value


@pytest.mark.parametrize(
    ("value", "exact"),
    [("3", 3), (" -4/3 ", Fraction(-4, 3)), (".5", Fraction(1, 2)), ("1e-3", Fraction(1, 1000)),
     ("0.5/3", Fraction(1, 6)), (0.1, Fraction(1, 10)), (7, 7)],
)  # fmt: skip
def test_exact_numbers(value, exact):
    assert lab.rational(value) == exact


def test_a_float_is_reported():
    notes: list[str] = []
    lab.rational(0.1, notes)
    assert notes == ["the float 0.1 was read as the decimal 1/10"]


@pytest.mark.parametrize(
    "value", ["", "1/0", "1/2/3", "nan", "0x1", "1e99999", "a", float("nan"), True, "9" * 5000]
)
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match=r"not an exact number|denominator 0|no exact|truth"):
        lab.rational(value)


@dataclass(frozen=True)
class Options:
    epochs: int = 3
    lr: float = 0.1
    kinds: tuple[str, ...] = ("a", "b")
    path: str | None = None


def test_options_survive_json():
    options = Options(epochs=5, kinds=("x",), path="p")
    assert lab.to_plain(options) == {"epochs": 5, "lr": 0.1, "kinds": ["x"], "path": "p"}
    assert lab.from_plain(Options, lab.to_plain(options)) == options
    assert lab.from_plain(Options, {"lr": 1}).lr == 1.0


@pytest.mark.parametrize("plain", [{"epoch": 5}, {"epochs": "5"}, {"epochs": True}, {"lr": "x"}])
def test_wrong_plain_values_are_named(plain):
    with pytest.raises(ValueError, match=next(iter(plain))):
        lab.from_plain(Options, plain)


def test_options_come_whole_or_by_field():
    assert lab.resolve(Options, None, {"epochs": 4}) == Options(epochs=4)
    assert lab.resolve(Options, Options(lr=1.0), {"epochs": 4}) == Options(epochs=4, lr=1.0)
    whole = lab.resolve(Options, None, {"lr": 2, "epochs": 4})
    assert type(whole.lr) is float
    assert type(whole.epochs) is int
    with pytest.raises(TypeError, match="'epoch': no such option; there are epochs, lr"):
        lab.resolve(Options, None, {"epoch": 4})
    with pytest.raises(TypeError, match="expected options of type Options, got int"):
        lab.resolve(Options, 3, {})  # type: ignore[arg-type]


def test_tables_look_the_same_everywhere():
    table = lab.Table(["name", "share"], [["a|b", 0.5], ["c", None]], title="T")
    assert table.as_text() == "T\nname  share\n----  -----\na|b     0.5\nc         -"
    assert table.as_markdown().splitlines()[2:] == [
        "| name | share |", "| :--- | ---: |", "| a\\|b | 0.5 |", "| c | - |",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="does not fit the 2 columns"):
        lab.Table(["a", "b"], [["only one"]])


def test_progress_says_a_line_a_minute_off_a_terminal(capsys, monkeypatch):
    from extremal.lab import _progress

    clock = [0.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: clock[0])
    with lab.progress(10, "images") as bar:
        bar.advance(2)
        clock[0] = 61.0
        bar.advance(3, "loss 1")
    assert capsys.readouterr().err == "images: 5/10, 0.082/s, 61 s left, loss 1\n"


def test_a_missing_package_names_the_line_to_type():
    with pytest.raises(lab.MissingExtra, match=r"pip install 'extremal\[sos\]'"):
        lab.require("no_such_package_at_all", "sos")
