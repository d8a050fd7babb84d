"""Schemes of single vectors and batches: known answers, oracles, symmetry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extremal import tcurves
from extremal.tcurves._glued import glued
from extremal.tcurves._lattice import symmetries
from extremal.tcurves._scheme import scheme_of
from extremal.verify._proved import tcurves_scheme as sphere

# Section 7-A.
KNOWN = [
    ("cen", "110101101101000000000110010001110000", "⟨J⊔1⟨13⟩⟩"),
    ("cen", "111101101010000111100011010001000000", "⟨J⊔15⟩"),
    ("cen", "110000101001000001100011000000010000", "⟨J⊔4⊔1⟨10⟩⟩"),
    ("spl", "110000001001010001101011001010001101", "⟨J⊔2⊔1⟨12⟩⟩"),
    ("fra", "111010001000010101111001000010001101", "⟨J⊔3⊔1⟨11⟩⟩"),
    ("moth", "1100010111111011110111010010", "⟨10⟩"),
    ("bat", "1110111110101100111111101111", "⟨1⊔1⟨9⟩⟩"),
    ("honeycomb-7", "110001101100011001110110000011110001", "⟨J⊔1⟨1⟨1⟩⟩⟩"),
    ("honeycomb-6", "1010111000101000101011101000", "⟨1⟩"),
]
EQUAL = ["J", "1", "J⊔1", "1⟨1⟩", "J⊔1⟨1⟩", "1⟨1⟨1⟩⟩", "J⊔1⟨1⟨1⟩⟩", "1⟨1⟨1⟨1⟩⟩⟩"]

instances = st.tuples(st.integers(1, 9), st.integers(0, 10**6), st.integers(0, 10**6))


def drawn(d, seed, which):
    t = tcurves.random_triangulation(d, seed, steps=80)
    signs = np.random.default_rng(which).integers(0, 2, t.n)
    return t, "".join(map(str, signs))


@pytest.mark.parametrize(("name", "signs", "scheme"), KNOWN)
def test_known_vectors(name, signs, scheme):
    t = tcurves.named(name)
    assert tcurves.scheme(t, signs) == tcurves.parse(scheme)
    assert tcurves.schemes(t, [signs])[0] == tcurves.parse(scheme)


@pytest.mark.parametrize("d", range(1, 9))
def test_equal_signs_on_the_honeycomb_give_the_deepest_nest(d):
    t = tcurves.honeycomb(d)
    assert tcurves.scheme(t, "0" * t.n) == tcurves.parse(EQUAL[d - 1])
    assert tcurves.scheme(t, [1] * t.n) == tcurves.parse(EQUAL[d - 1])


def test_the_trap_has_no_antipodal_pair_in_a_piece_of_the_disc():
    # 7-A8: no component of the unglued disc holds two antipodal boundary points.
    t = tcurves.named("honeycomb-6")
    signs = [int(c) for c in "1010111000101000101011101000"]
    pieces = {}

    def find(u):
        while pieces.setdefault(u, u) != u:
            u = pieces[u]
        return u

    def sign(x, y):
        at = t.points.index((abs(x), abs(y)))
        return (signs[at] + (x < 0) * x + (y < 0) * y) % 2

    for a, b in t.edges:
        for ex in (1, -1):
            for ey in (1, -1):
                u, v = ((ex * t.points[k][0], ey * t.points[k][1]) for k in (a, b))
                if sign(*u) == sign(*v):
                    pieces[find(u)] = find(v)
    boundary = [u for u in list(pieces) if abs(u[0]) + abs(u[1]) == 6]
    assert not any(find(u) == find((-u[0], -u[1])) for u in boundary)
    assert str(tcurves.scheme(t, signs)) == "<1>"


@given(instances)
def test_parity_union_find_is_the_centre_of_the_sphere(instance):
    t, signs = drawn(*instance)
    rows = [list(x) for x in t.triangles]
    tree = sphere.real_scheme(t.degree, list(t.points), rows, signs)
    assert str(scheme_of(t, signs)) == sphere.write(t.degree % 2 == 1, tree)


@given(instances)
def test_the_glued_complex_has_the_right_counts(instance):
    t, _ = drawn(*instance)
    d = t.degree
    complex_ = glued(t)
    assert (len(complex_.point), len(complex_.edges)) == (2 * d * d + 1, 6 * d * d)
    assert len(complex_.point) - len(complex_.edges) + 4 * len(t.triangles) == 1


@given(instances, st.integers(0, 7))
def test_eight_changes_of_sign_change_nothing(instance, change):
    t, signs = drawn(*instance)
    a, b, c = change & 1, change >> 1 & 1, change >> 2 & 1
    moved = [
        int(s) ^ a ^ (b & i & 1) ^ (c & j & 1) for s, (i, j) in zip(signs, t.points, strict=True)
    ]
    assert scheme_of(t, moved) == scheme_of(t, signs)


@given(instances, st.integers(0, 5))
def test_permuting_coordinates_changes_nothing(instance, k):
    t, signs = drawn(*instance)
    moved = [""] * t.n
    for at, to in enumerate(symmetries(t.degree)[k]):
        moved[to] = signs[at]
    assert scheme_of(tcurves.image(t, k), "".join(moved)) == scheme_of(t, signs)


@pytest.mark.parametrize("d", range(2, 9))
@pytest.mark.parametrize("residue", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_harnack_signs_are_maximal_on_every_triangulation(d, residue):
    k = d // 2
    if d % 2:
        want = f"<J u {(d - 1) * (d - 2) // 2}>"
    else:
        out, inside = (3 * k * k - 3 * k) // 2, (k - 1) * (k - 2) // 2
        want = f"<{out} u 1<{inside}>>" if inside else f"<{out + 1}>"
    for seed in range(4):
        t = tcurves.random_triangulation(d, seed)
        signs = [int((i % 2, j % 2) == residue) for i, j in t.points]
        assert tcurves.scheme(t, signs) == tcurves.parse(want)


@settings(max_examples=30)
@given(st.integers(1, 10), st.integers(0, 10**6))
def test_a_batch_equals_single_vectors_and_breaks_no_theorem(d, seed):
    t = tcurves.random_triangulation(d, seed, steps=100)
    signs = np.random.default_rng(seed).integers(0, 2, (40, t.n), dtype=np.uint8)
    batch = tcurves.schemes(t, signs)
    assert list(batch) == [scheme_of(t, row.tolist()) for row in signs]
    assert sum(batch.histogram().values()) == 40
    for scheme, at in batch.witnesses().items():
        assert batch[at] == scheme
        assert tcurves.restrictions(scheme, d) == []
        if d <= 7:
            assert scheme in tcurves.known_schemes(d)


def test_threads_do_not_change_a_batch():
    t = tcurves.named("bat")
    signs = np.random.default_rng(0).integers(0, 2, (40_000, t.n), dtype=np.uint8)
    one, two = tcurves.schemes(t, signs), tcurves.schemes(t, signs, threads=2)
    np.testing.assert_array_equal(one.index, two.index)


@pytest.mark.parametrize(
    ("signs", "text"),
    [("01", "15 signs are needed, got 2"), ("01200" * 3, "got '2'"), ([2] * 15, "got 2")],
)
def test_bad_signs(signs, text):
    with pytest.raises(ValueError, match=text):
        scheme_of(tcurves.honeycomb(4), signs)


def test_bad_batches():
    t = tcurves.honeycomb(4)
    with pytest.raises(ValueError, match=r"shape \(N, 15\)"):
        tcurves.schemes(t, np.zeros((2, 14), np.uint8))
    with pytest.raises(ValueError, match="signs are 0 and 1"):
        tcurves.schemes(t, np.full((2, 15), 2))
    with pytest.raises(ValueError, match="degree 12"):
        tcurves.schemes(tcurves.honeycomb(13), np.zeros((1, 105), np.uint8))
    assert len(tcurves.schemes(t, np.zeros((0, 15), np.uint8))) == 0


def test_a_curve_as_a_run(tmp_path):
    from extremal import verify

    found = tcurves.scheme("bat", KNOWN[6][1], out=tmp_path / "run")
    assert found.components == 11
    assert verify.file(tmp_path / "run").accepted
    assert "<1 u 1<9>>" in (tmp_path / "run" / "report.html").read_text().replace(
        "&lt;", "<"
    ).replace("&gt;", ">")
