"""Merging: spec section 7.7 and 7.8, properties, refusals."""

import itertools
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from extremal import pruning, training
from extremal.pruning import PruningError

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def member(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(20).reshape(4, 5) % 3 == 0
    return {
        "w": torch.where(mask, torch.randn(4, 5, generator=generator), 0.0).to(dtype),
        "b": torch.randn(4, generator=generator).to(dtype),
        "counter": torch.tensor(3),
    }, {"w": mask}


def bits(tensor):
    return tensor.flatten().view(torch.uint8).tolist()


def test_greedy_known_answer():
    """7.7: models .3, .8, .1, .9; accuracy 1 - |x - 1/2|; soup {.3, .8}, .55, accuracy .95."""
    values = (0.3, 0.8, 0.1, 0.9)
    asked = []

    def accuracy(chosen):
        asked.append(tuple(values[i] for i in chosen))
        return 1 - abs(sum(values[i] for i in chosen) / len(chosen) - 0.5)

    kept, best = pruning.greedy([1 - abs(v - 0.5) for v in values], accuracy)
    assert [values[i] for i in kept] == [0.3, 0.8]
    assert sum(values[i] for i in kept) / 2 == pytest.approx(0.55)
    assert best == pytest.approx(0.95, abs=1e-15)
    assert asked == [(0.3, 0.8), (0.3, 0.8, 0.1), (0.3, 0.8, 0.9)]


@pytest.mark.parametrize(("tie", "kept"), [("accept", (0, 1)), ("reject", (0,))])
def test_greedy_ties(tie, kept):
    assert pruning.greedy([0.5, 0.5], lambda chosen: 0.5, tie) == (kept, 0.5)


def test_greedy_refusals():
    with pytest.raises(ValueError, match="no member"):
        pruning.greedy([], lambda chosen: 0.0)
    with pytest.raises(ValueError, match="tie="):
        pruning.greedy([0.5], lambda chosen: 0.5, "perhaps")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("count", [1, 2, 3, 7, 10])
def test_identical_members_give_the_member_bit_for_bit(dtype, count):
    """7.8; -0.0 among the values stays -0.0."""
    one, _ = member(0, dtype)
    one["b"][0] = -0.0
    merged = pruning.merge([one] * count)
    assert all(bits(merged[name]) == bits(one[name]) for name in one)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_order_of_members_does_not_matter(dtype):
    """7.8 asks for 1 ulp; it is equal to the bit."""
    members = [member(seed, dtype)[0] for seed in range(4)]
    results = [pruning.merge(list(order)) for order in itertools.permutations(members)]
    assert all(bits(r[n]) == bits(results[0][n]) for r in results for n in ("w", "b"))


def test_weights_go_with_their_members():
    members = [member(seed)[0] for seed in range(3)]
    one = pruning.merge(members, weights=["1/2", "1/3", "1/6"])
    two = pruning.merge(members[::-1], weights=["1/6", "1/3", "1/2"])
    assert all(one[n].equal(two[n]) for n in one)
    exact = sum(
        Fraction(float(m["b"][0])) * w
        for m, w in zip(members, (Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)), strict=True)
    )
    assert float(one["b"][0]) == float(torch.tensor(float(exact)))


def test_shared_masks_survive():
    """7.8: the union of supports is the mask, exact zeros outside, counters untouched."""
    pairs = [member(seed) for seed in range(3)]
    merged = pruning.merge([m for m, _ in pairs], masks=[k for _, k in pairs])
    mask = pairs[0][1]["w"]
    union = torch.stack([m["w"] != 0 for m, _ in pairs]).any(0)
    assert union.equal(mask)
    assert (merged["w"] != 0).equal(mask)
    assert bits(merged["w"][~mask]) == [0] * (4 * int((~mask).sum()))
    assert merged["counter"].equal(torch.tensor(3))


def test_accumulation_is_wide():
    """Ten bf16 models: as good as the exact mean rounded once; scale-and-add in bf16 is not."""
    members = [member(seed, torch.bfloat16)[0] for seed in range(10)]
    exact = torch.stack([m["b"].double() for m in members]).mean(0)
    narrow = sum(m["b"] * 0.1 for m in members)
    merged = pruning.merge(members)["b"]
    assert merged.equal(exact.float().bfloat16())
    assert (narrow.double() - exact).abs().mean() > 2 * (merged.double() - exact).abs().mean()


@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), min_size=1, max_size=6
    )
)
def test_the_average_is_the_mean_correctly_rounded(rows):
    merged = pruning.merge([{"x": torch.tensor(row)} for row in rows])["x"]
    for place in range(3):
        exact = sum(Fraction(row[place]) for row in rows) / len(rows)
        near = torch.tensor(float(exact), dtype=torch.float32)
        # Rounding in float64 first may move a tie by one float32 step; no more.
        steps = (torch.nextafter(near, near - 1), near, torch.nextafter(near, near + 1))
        assert any(float(merged[place]) == float(s) for s in steps) or abs(
            float(merged[place]) - float(exact)
        ) <= 1e-9 * max(abs(x) for row in rows for x in row)


def test_files_are_merged_piece_by_piece_into_the_same_bytes(tmp_path, monkeypatch):
    from extremal.pruning._soups import _merge

    monkeypatch.setattr(_merge, "PIECE", 7)
    states = [member(seed)[0] for seed in range(3)]
    files = []
    for number, tensors in enumerate(states):
        files.append(tmp_path / f"{number}.safetensors")
        training.save_tensors(files[-1], tensors)
    assert pruning.merge(files, out=tmp_path / "soup.safetensors") == {}
    from_files = pruning.merge(files)
    read = load_file(tmp_path / "soup.safetensors")
    assert all(read[n].equal(from_files[n]) for n in read)
    assert training.load_tensors(tmp_path / "soup.safetensors").keys() == read.keys()
    assert training.save_tensors(tmp_path / "whole.safetensors", from_files) == _merge.sha256_file(
        tmp_path / "soup.safetensors"
    )


@pytest.mark.parametrize("how", ["key", "shape", "dtype", "counter", "nan", "mask"])
def test_members_that_do_not_fit_are_refused_by_name(how):
    one, mask_one = member(0)
    two, mask_two = member(1)
    if how == "key":
        two["more"] = torch.zeros(1)
    elif how == "shape":
        two["b"] = two["b"][:3]
    elif how == "dtype":
        two["b"] = two["b"].double()
    elif how == "counter":
        two["counter"] += 1
    elif how == "nan":
        two["b"][1] = float("nan")
    else:
        mask_two["w"][0, 1] = ~mask_two["w"][0, 1]
    named = {"key": "more", "counter": "counter", "mask": "w"}.get(how, "b")
    with pytest.raises(PruningError, match=rf"\b{named}\b"):
        pruning.merge([one, two], masks=[mask_one, mask_two])


@pytest.mark.parametrize(
    "weights", [["1/2"], ["1/2", "1/2", "1/2"], [1.5, -0.5], [0.5, 0.4], [0, 0]], ids=str
)
def test_weights_that_are_no_convex_combination_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        pruning.merge([member(0)[0], member(1)[0]], weights=weights)


def test_no_member_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        pruning.merge([])


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_files_that_are_none_are_refused(tmp_path, damage):
    file = tmp_path / "m.safetensors"
    training.save_tensors(file, member(0)[0])
    raw = file.read_bytes()
    file.write_bytes({"cut": raw[:40], "text": b"no safetensors file at all", "empty": b""}[damage])
    with pytest.raises(training.TrainingError, match="safetensors"):
        pruning.merge([file])
