"""Viro's notation, both ways, and the code without loss."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extremal import tcurves
from extremal.tcurves import Scheme

trees = st.recursive(
    st.just(()),
    lambda inner: st.lists(inner, max_size=5).map(lambda x: tuple(sorted(x))),
    max_leaves=25,
)


@given(st.booleans(), trees)
def test_parse_undoes_print_in_every_form(odd, tree):
    scheme = Scheme(odd, tree)
    for form in ("ascii", "unicode", "authors"):
        assert tcurves.parse(scheme.text(form)) == scheme


@given(st.booleans(), trees)
def test_a_code_is_its_scheme(odd, tree):
    scheme = Scheme(odd, tree)
    assert tcurves.from_code(scheme.code) == scheme
    assert scheme.code.bit_length() == 2 * (scheme.ovals + 1) + 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<9 u 1<1>>", "<9 u 1<1>>"),
        ("⟨9⊔1⟨1⟩⟩", "<9 u 1<1>>"),
        ("<9\u222a1<1>>", "<9 u 1<1>>"),  # the union sign
        ("<Jv4v1<10>>", "<J u 4 u 1<10>>"),
        ("<1<1>v1<1>>", "<2<1>>"),
        ("1⟨1⟨1⟩⟩", "<1<1<1>>>"),
        ("J", "<J>"),
        ("<0>", "<0>"),
        ("<1<2> u 3 u 1<1>>", "<3 u 1<1> u 1<2>>"),
        ("<2 u 1>", "<3>"),
    ],
)
def test_every_listed_form_is_read_and_printed_in_order(text, shown):
    assert str(tcurves.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    ["", "<", "<>", "<9 u>", "<9 1>", "<9>>", "<J u J>", "<1 u J>", "<1<J>>", "<0<1>>", "<a>",
     "<99999999>", "<" * 70, "1<" * 100 + "1" + ">" * 100, "<-1>", "<1.5>", "<٣>"],
)  # fmt: skip
def test_what_is_no_scheme_is_refused(text):
    with pytest.raises(ValueError, match="is no real scheme"):
        tcurves.parse(text)


def test_invariants():
    s = tcurves.parse("<5 u 1<4 u 1<1>>>")
    assert (s.ovals, s.components, s.p, s.n, s.depth) == (12, 12, 7, 5, 3)
    assert s.by_depth == (6, 5, 1)
    assert s.defect(8) == 10
    with pytest.raises(ValueError, match="parity"):
        s.defect(7)
    with pytest.raises(ValueError, match="no scheme"):
        tcurves.from_code(6)


def test_codes_go_beyond_64_bits():
    big = tcurves.parse("<37>")
    assert big.code.bit_length() == 77
    assert tcurves.from_code(big.code) == big
