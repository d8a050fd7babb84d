"""The census: known histograms, brute force, witnesses, sampling, other semirings, limits."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extremal import tcurves
from extremal.tcurves import parse
from extremal.tcurves._census import CensusConfig, normalised, run_sweep
from extremal.tcurves._gauge import _reflected
from extremal.tcurves._glued import glued
from extremal.tcurves._scheme import regions_of, scheme_of

# Section 7-B; counts over 2^(n-3) normalised sign vectors.
WHOLE = {
    "honeycomb-2": {"<1>": 8},
    "honeycomb-3": {"<J>": 64, "<J u 1>": 64},
    "honeycomb-4": {"<1>": 1792, "<2>": 1344, "<3>": 448, "<1<1>>": 448, "<4>": 64},
    "honeycomb-5": {
        "<J>": 44032, "<J u 1>": 99328, "<J u 2>": 77568, "<J u 3>": 30976, "<J u 4>": 6592,
        "<J u 1<1>>": 2816, "<J u 5>": 768, "<J u 6>": 64,
    },
}  # fmt: skip
PARTS = {
    "honeycomb-6": (37, {"<2>": 6107136, "<3>": 5304320, "<1<1<1>>>": 16384, "<9 u 1<1>>": 64}),
    "bat": (
        53,
        {"<1 u 1<2>>": 3411968, "<5 u 1<5>>": 256, "<1 u 1<9>>": 128, "<9 u 1<1>>": 128},
    ),
    "moth": (44, {"<1 u 1<1>>": 3665920, "<10>": 512}),
    "cen": (
        115,
        {"<J u 7>": 952303616, "<J>": 1048576, "<J u 1<13>>": 65536, "<J u 12 u 1<2>>": 32768},
    ),
    "spl": (107, {}),
    "fra": (103, {}),
    "honeycomb-7": (47, {"<J u 3>": 1974210560, "<J u 1<1<1>>>": 90112, "<J u 15>": 64}),
    "strip-fan-8": (240, {"<8 u 1<1>>": 165356240896}),
}


@pytest.mark.parametrize("name", WHOLE)
def test_known_histograms(name):
    found = tcurves.census(name)
    assert {str(e.scheme): e.count for e in found.entries} == WHOLE[name]


@pytest.mark.parametrize("name", PARTS)
def test_known_counts(name):
    types, counts = PARTS[name]
    found = tcurves.census(name)
    assert len(found) == types
    assert {s: found[s].count for s in counts} == counts
    n, d = found.triangulation.n, found.triangulation.degree
    assert found.total == sum(e.count for e in found.entries) == 2 ** (n - 3)
    for entry in found.entries:
        assert scheme_of(found.triangulation, entry.witness) == entry.scheme
        assert [entry.witness[k] for k in (0, 1, d + 1)] == ["1", "1", "1"]
        assert tcurves.restrictions(entry.scheme, d) == []
    if name == "strip-fan-8":
        assert max(found.entries, key=lambda e: e.count).scheme == parse("<8 u 1<1>>")


def test_the_published_triangulations_reach_everything():
    septic = [tcurves.census(name) for name in ("cen", "spl", "fra", "honeycomb-7")]
    assert set().union(*septic) == tcurves.known_schemes(7)
    exclusive = ["<J u 4 u 1<10>>", "<J u 2 u 1<12>>", "<J u 3 u 1<11>>", "<J u 1<1<1>>>"]
    for at, scheme in enumerate(exclusive):
        assert [scheme in c for c in septic] == [k == at for k in range(4)]
    sextic = [tcurves.census(name) for name in ("bat", "moth")]
    assert set().union(*sextic) == tcurves.known_schemes(6)


def every_triangulation(d):
    seen = {tcurves.honeycomb(d)}
    queue = list(seen)
    while queue:
        t = queue.pop()
        for edge in tcurves.flippable(t):
            other = tcurves.flip(t, edge)
            if other not in seen:
                seen.add(other)
                queue.append(other)
    return seen


def summed(triangulations):
    total = Counter()
    for t in triangulations:
        for entry in tcurves.census(t, threads=1).entries:
            total[str(entry.scheme)] += entry.count
    return dict(total)


def test_counts_over_all_triangulations_of_degree_2_and_3():
    assert summed(every_triangulation(2)) == {"<1>": 32}
    assert summed(every_triangulation(3)) == {"<J u 1>": 5632, "<J>": 4480}


@pytest.mark.slow
def test_counts_over_all_triangulations_of_degree_4():
    every = every_triangulation(4)
    assert len(every) == 7424
    assert len({tcurves.canonical(t) for t in every}) == 1279
    assert sum(tcurves.regular(t).regular for t in every) == 7422
    assert summed(every) == {
        "<1>": 8728064, "<2>": 9832320, "<3>": 6241408, "<4>": 2470016, "<1<1>>": 3136896,
    }  # fmt: skip


@settings(max_examples=20)
@given(st.integers(1, 4), st.integers(0, 10**6))
def test_the_census_is_brute_force(d, seed):
    t = tcurves.random_triangulation(d, seed, steps=60)
    index = {p: k for k, p in enumerate(t.points)}
    fixed = [index[p] for p in ((0, 0), (0, 1), (1, 0))]
    free = [k for k in range(t.n) if k not in fixed]
    signs = np.ones((2 ** len(free), t.n), np.uint8)
    signs[:, free] = np.arange(2 ** len(free))[:, None] >> np.arange(len(free)) & 1
    found = tcurves.census(t)
    assert {e.scheme: e.count for e in found.entries} == tcurves.schemes(t, signs).histogram()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_census_is_brute_force_at_degree_5(seed):
    t = tcurves.random_triangulation(5, seed)
    fixed = [0, 1, 6]
    free = [k for k in range(t.n) if k not in fixed]
    signs = np.ones((2 ** len(free), t.n), np.uint8)
    signs[:, free] = np.arange(2 ** len(free))[:, None] >> np.arange(len(free)) & 1
    found = tcurves.census(t)
    assert {e.scheme: e.count for e in found.entries} == tcurves.schemes(t, signs).histogram()


def test_no_order_of_points_and_no_number_of_threads_changes_counts():
    counts = [
        {e.scheme: e.count for e in tcurves.census("bat", seed=seed, threads=threads).entries}
        for seed, threads in ((0, 1), (1, 1), (2, 2))
    ]
    assert counts[0] == counts[1] == counts[2]
    assert tcurves.census("bat", threads=1).entries == tcurves.census("bat", threads=2).entries


def test_layers_that_are_sharded_agree_whatever_the_threads():
    one = tcurves.census("random-8-2", threads=1)
    assert one.states > 50_000
    assert one.entries == tcurves.census("random-8-2", threads=2).entries
    assert sum(e.count for e in one.entries) == 2**42


@pytest.mark.parametrize("name", ["honeycomb-6", "bat", "cen", "strip-fan-8", "random-6-1"])
def test_points_that_take_over_the_fixed_signs_change_no_count(name):
    """With the same signs prescribed as the census fixes by itself, nothing takes over."""
    t = tcurves.named(name)
    plain = tcurves.census(t, fixed_signs={0: 1, 1: 1, t.degree + 1: 1}, threads=1)
    found = tcurves.census(t, threads=1)
    assert {e.scheme: e.count for e in found.entries} == {e.scheme: e.count for e in plain.entries}
    assert 2 * found.states < plain.states
    ovals = tcurves.count_ovals(t, {0: 1, 1: 1, t.degree + 1: 1})
    assert ovals == tcurves.count_ovals(t)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_change_of_signs_leads_to_the_reflected_state(d, seed, f):
    """What `_gauge` says of the copies: labels move with the reflection, parities as told."""
    t = tcurves.random_triangulation(d, seed, steps=30)
    complex_ = glued(t)
    a, b, c = f & 1, f >> 1 & 1, f >> 2 & 1
    image, turn = _reflected(t)[b, c]
    signs = np.random.default_rng(seed).integers(0, 2, t.n)
    i, j = np.array(t.points).T
    changed = signs ^ ((a + b * i + c * j) % 2)
    regions, root, _ = regions_of(complex_, signs.tolist())
    after, new_root, _ = regions_of(complex_, changed.tolist())
    names = dict(zip((regions[u] for u in image), after, strict=True))
    assert [names[regions[u]] for u in image] == after
    assert len(set(names.values())) == len(names)
    assert names[root] == new_root
    edges = {(u, v, twist) for u, v, twist, _ in complex_.edges.tolist()}
    for u, v, twist in list(edges):
        x, y = sorted((int(image[u]), int(image[v])))
        assert (x, y, twist ^ int(turn[u]) ^ int(turn[v])) in edges


def test_prescribed_signs():
    t = tcurves.named("bat")
    word = "1?0?" * 7
    found = tcurves.census(t, fixed_signs=word)
    assert found.total == 2**14 == sum(e.count for e in found.entries)
    same = {k: int(c) for k, c in enumerate(word) if c != "?"}
    assert tcurves.census(t, fixed_signs=same).entries == found.entries
    by_point = {t.points[k]: sign for k, sign in same.items()}
    assert tcurves.census(t, fixed_signs=by_point).entries == found.entries
    free = [k for k in range(t.n) if k not in same]
    signs = np.array([[int(c == "1") for c in word]] * found.total, np.uint8)
    signs[:, free] = np.arange(found.total)[:, None] >> np.arange(len(free)) & 1
    assert {e.scheme: e.count for e in found.entries} == tcurves.schemes(t, signs).histogram()
    for entry in found.entries:
        assert all(entry.witness[k] == str(sign) for k, sign in same.items())
    whole = tcurves.census(t, fixed_signs="".join(str(k % 2) for k in range(t.n)))
    assert len(whole) == 1
    assert whole.total == 1


def test_an_unreached_scheme_is_proved_so():
    found = tcurves.census("cen")
    assert found.unreachable("<J u 3 u 1<11>>")
    assert "<J u 3 u 1<11>>" not in found
    with pytest.raises(KeyError, match="no signs give"):
        found["<J u 3 u 1<11>>"]


def test_samples_give_their_scheme_and_are_uniform():
    found = tcurves.census("honeycomb-4")
    t = found.triangulation
    drawn = found.sample("<4>", 6400, seed=3)
    assert {scheme_of(t, s) for s in drawn} == {parse("<4>")}
    counts = Counter(drawn)
    assert len(counts) == found["<4>"].count == 64
    # 63 degrees of freedom: the 10^-6 quantile of chi squared is 129.
    assert sum((c - 100) ** 2 / 100 for c in counts.values()) < 129
    assert found.sample("<4>", 5, seed=3) == drawn[:5]


def test_samples_with_more_than_64_signs():
    found = tcurves.census("strip-fan-10")
    assert found.total == 2**63 == sum(e.count for e in found.entries)
    top = found.entries[-1].scheme
    for signs in found.sample(top, 2):
        assert tcurves.scheme("strip-fan-10", signs) == top


def test_the_verb_sample():
    drawn = tcurves.sample("bat", "<5 u 1<5>>", 3)
    assert drawn.population == 256
    assert {tcurves.scheme("bat", s) for s in drawn.signs} == {parse("<5 u 1<5>>")}
    with pytest.raises(ValueError, match="no signs give"):
        tcurves.sample("bat", "<10>")


@pytest.mark.parametrize("name", ["honeycomb-5", "bat", "moth", "fra", "random-6-4"])
def test_other_semirings_agree_with_the_census(name):
    found = tcurves.census(name)
    ovals = Counter()
    for entry in found.entries:
        ovals[entry.scheme.ovals] += entry.count
    assert tcurves.count_ovals(name) == dict(ovals)
    if found.triangulation.degree % 2 == 0:
        best = tcurves.most_even_ovals(name)
        assert best.value == max(e.scheme.p for e in found.entries)
        assert tcurves.scheme(name, best.witness) == best.scheme
        assert best.scheme.p == best.value
    else:
        with pytest.raises(ValueError, match="even degree"):
            tcurves.most_even_ovals(name)


def test_semirings_with_prescribed_signs():
    word = "".join("1" if k % 3 else "?" for k in range(28))
    found = tcurves.census("moth", fixed_signs=word)
    best = tcurves.most_even_ovals("moth", fixed_signs=word)
    assert best.value == max(e.scheme.p for e in found.entries)
    assert all(c in ("?", s) for c, s in zip(word, best.witness, strict=True))
    assert sum(tcurves.count_ovals("moth", fixed_signs=word).values()) == found.total


def test_normalising_keeps_the_scheme():
    t = tcurves.named("moth")
    for bits in itertools.islice(itertools.product((0, 1), repeat=28), 5, 400_000, 39_999):
        moved = normalised(t, np.array(bits)).tolist()
        assert (moved[0], moved[1], moved[7]) == (1, 1, 1)
        assert scheme_of(t, moved) == scheme_of(t, bits)


def test_what_cannot_fit_is_refused_before_it_begins():
    with pytest.raises(tcurves.MemoryLimitError, match="predicted to have"):
        tcurves.census("honeycomb-12", memory=1.0)


def test_what_comes_to_need_more_stops():
    with pytest.raises(tcurves.MemoryLimitError, match="has come to need"):
        run_sweep(tcurves.named("honeycomb-7"), None, CensusConfig(memory=0.001, threads=1), 1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"fixed_signs": "01"}, "a word of 28 digits"),
        ({"fixed_signs": {99: 1}}, "no point"),
        ({"fixed_signs": {(9, 9): 1}}, "no point"),
        ({"fixed_signs": {0: 2}}, "not 0 or 1"),
        ({"threads": -1}, "count of at least 1"),
        ({"memory": -1.0}, "number of GiB"),
        ({"heights": "1 2 3"}, "not both"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(ValueError, match=text):
        tcurves.census("bat", **options)


def test_no_triangulation():
    with pytest.raises(ValueError, match="give a triangulation"):
        tcurves.census()
    with pytest.raises(ValueError, match="there are 4 heights"):
        tcurves.census(heights="1 2 3 4")
