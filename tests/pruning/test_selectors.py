"""Selectors: known answers of the specification, properties, refusals."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extremal import pruning
from extremal.pruning._ranking import Ranked, smallest
from extremal.pruning._selectors._lamp import lamp_scores

SHAPES = [(16, 3, 3, 3), (32, 16, 3, 3), (64, 32, 3, 3), (10, 64)]
SCALES = [0.5, 0.2, 0.1, 0.3]


def four_tensors(dtype=torch.float64):
    """The weight at flat index i = 1, 2, ... of layer l is c_l sin(i (l + 1))."""
    tensors = {}
    for layer, (shape, scale) in enumerate(zip(SHAPES, SCALES, strict=True)):
        i = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
        tensors[f"l{layer}"] = (scale * torch.sin(i * (layer + 1))).reshape(shape).to(dtype)
    return tensors


def pruned_per_layer(masks):
    return [layer.pruned for layer in masks.per_layer()]


@pytest.mark.parametrize(
    ("sparsity", "selector", "counts"),
    [
        (0.5, "global", [43, 1191, 10712, 110]),
        (0.5, "uniform", [216, 2304, 9216, 320]),
        (0.5, "uniform+", [0, 2346, 9384, 326]),
        (0.5, "erk", [0, 806, 11250, 0]),
        (0.5, "lamp", [37, 1363, 10585, 71]),
        (0.9, "uniform+", [0, 4238, 16951, 512]),
        (0.9, "erk", [187, 4080, 17434, 0]),
        (0.9, "lamp", [137, 3769, 17547, 248]),
        (0.98, "lamp", [321, 4482, 18306, 521]),
    ],
)
def test_known_counts_per_layer(sparsity, selector, counts):
    masks = pruning.select(four_tensors(), sparsity, selector)
    assert pruned_per_layer(masks) == counts


def test_global_collapses_a_layer_and_warns():
    with pytest.warns(pruning.LayerCollapseWarning, match="leaves no weight in l2"):
        masks = pruning.select(four_tensors(), 0.9)
    assert pruned_per_layer(masks) == [94, 2932, 18432, 243]
    with pytest.warns(pruning.LayerCollapseWarning, match="l1, l2"):
        pruning.select(four_tensors(), 0.98)


def test_a_collapsed_layer_can_be_refused_or_prevented():
    with pytest.raises(pruning.PruningError, match="leaves no weight in l2"):
        pruning.select(four_tensors(), 0.9, on_layer_collapse="raise")
    masks = pruning.select(four_tensors(), 0.9, min_keep_per_layer=5)
    assert [layer.size - layer.pruned for layer in masks.per_layer()][2] == 5
    assert masks.pruned == 21701


def test_uniform_plus_refuses_98_percent():
    with pytest.raises(pruning.PruningError, match="uniform\\+ cannot prune"):
        pruning.select(four_tensors(), 0.98, "uniform+")


def test_uniform_plus_has_no_dense_first_layer_without_convolutions():
    weights = {"a": torch.arange(1.0, 101).reshape(10, 10), "b": torch.ones(5, 10)}
    assert pruned_per_layer(pruning.select(weights, 0.5, "uniform+")) == [50, 25]


def test_lamp_known_scores():
    one, two = torch.tensor([[1.0, -2.0, 3.0, 4.0]]), torch.tensor([[10.0, 20.0]])
    torch.testing.assert_close(
        lamp_scores(one), torch.tensor([[1 / 30, 4 / 29, 9 / 25, 1]], dtype=torch.float64)
    )
    torch.testing.assert_close(lamp_scores(two), torch.tensor([[0.2, 1]], dtype=torch.float64))
    lamp = pruning.select({"a": one, "b": two}, 0.5, "lamp")
    assert [one[lamp["a"]].tolist(), two[lamp["b"]].tolist()] == [[3.0, 4.0], [20.0]]
    magnitude = pruning.select({"a": one, "b": two}, 0.5, "global")
    assert [one[magnitude["a"]].tolist(), two[magnitude["b"]].tolist()] == [[4.0], [10.0, 20.0]]


def test_lamp_scores_the_largest_weight_exactly_one():
    weight = torch.randn(3_000_000, generator=torch.Generator().manual_seed(0))
    scores = lamp_scores(weight)
    assert scores[weight.abs().argmax()] == 1
    assert lamp_scores(weight * 2.0**-100).equal(scores)


def test_two_to_four_known_answer():
    row = torch.tensor([[4.0, -3, 2, 1, 1, 1, 1, 1, 0, 0, 5, 0]])
    masks = pruning.select({"w": row}, 0.5, "2:4")
    assert masks["w"][0].nonzero().flatten().tolist() == [0, 1, 6, 7, 10, 11]


def test_n_to_m_groups_a_convolution_along_its_inputs():
    weight = torch.randn(3, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    mask = pruning.select({"w": weight}, 0.5, "2:4")["w"]
    assert (mask.reshape(3, 9, 4).sum(2) == 2).all()


def test_n_to_m_refuses_or_skips_what_does_not_divide():
    weights = {"a": torch.randn(2, 6), "b": torch.randn(2, 8)}
    with pytest.raises(pruning.PruningError, match="no multiple of 4"):
        pruning.select(weights, 0.5, "2:4")
    assert pruned_per_layer(pruning.select(weights, 0.5, "2:4", skip=True)) == [0, 8]


def test_filters_of_smallest_l1_norm_go_whole():
    weight = torch.ones(4, 2, 3, 3) * torch.tensor([3.0, 1, 4, 2]).reshape(4, 1, 1, 1)
    linear = torch.randn(3, 4)
    masks = pruning.select({"c": weight, "f": linear}, 0.5, "filter")
    assert masks["c"].reshape(4, -1).any(1).tolist() == [True, False, True, False]
    assert masks["c"].sum() == 36
    assert masks["f"].all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.97, 1.0])
def test_radix_selection_equals_a_stable_sort(dtype, share):
    generator = torch.Generator().manual_seed(3)
    # Few distinct values: many ties, also between layers, and both zeros.
    layers = [
        (torch.randint(-40, 40, (n,), generator=generator) * 0.07).to(dtype) for n in (700, 9, 1300)
    ]
    layers.append(torch.randn(500, generator=generator).to(dtype))
    joined = torch.cat(layers)
    count = int(share * joined.numel())
    expected = torch.ones(joined.numel(), dtype=torch.bool)
    expected[joined.abs().argsort(stable=True)[:count]] = False
    kept = smallest([Ranked(layer) for layer in layers], count)
    assert torch.cat(kept).equal(expected)


def test_ties_prune_the_lower_flat_index_first_across_layers():
    weights = {"a": torch.ones(4), "b": -torch.ones(4)}
    masks = pruning.select(weights, 0.625, on_layer_collapse="allow")
    assert masks["a"].tolist() == [False] * 4
    assert masks["b"].tolist() == [False, True, True, True]


def test_negative_zero_is_the_zero_it_equals():
    masks = pruning.select({"w": torch.tensor([0.0, -0.0, 1e-45, 1.0])}, 0.5)
    assert masks["w"].tolist() == [False, False, True, True]
    assert pruning.Masks.of_zeros({"w": torch.tensor([0.0, -0.0, 1e-45])})["w"].sum() == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "selector", ["global", "uniform", "erk", "lamp", "random", "2:4", "filter"]
)
def test_refuses_nan_and_infinity(bad, selector):
    weight = torch.ones(4, 4, 1, 1)
    weight[1, 2] = bad
    with pytest.raises(pruning.PruningError, match="NaN or infinity"):
        pruning.select({"w": weight}, 0.5, selector)


@pytest.mark.parametrize("bits", [0x7FFFFFFF, 0x7F800001, -1])
@pytest.mark.parametrize("masked", [False, True])
def test_refuses_every_bit_pattern_of_nan(bits, masked):
    weight = torch.arange(1.0, 9)
    masks = pruning.Masks({"w": weight > 1}) if masked else None
    weight.view(torch.int32)[5] = bits
    with pytest.raises(pruning.PruningError, match="NaN or infinity"):
        pruning.select({"w": weight}, 0.5, masks=masks)


def test_the_largest_finite_weights_are_ranked():
    big = torch.finfo(torch.float32).max
    masks = pruning.Masks({"w": torch.tensor([True, True, False, True])})
    weight = torch.tensor([big, -big, 0.0, 1.0])
    assert pruning.select({"w": weight}, 0.5, masks=masks)["w"].tolist() == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, math.nan])
def test_refuses_a_sparsity_outside_0_1(sparsity):
    with pytest.raises(ValueError, match="must be at least 0 and below 1"):
        pruning.select({"w": torch.ones(4)}, sparsity)


def test_refuses_more_than_min_keep_leaves():
    with pytest.raises(pruning.PruningError, match="min_keep_per_layer=2 reserves 4"):
        pruning.select({"a": torch.ones(4), "b": torch.ones(4)}, 0.75, min_keep_per_layer=2)
    with pytest.raises(pruning.PruningError, match="under min_keep_per_layer=2"):
        pruning.select(
            {"a": torch.ones(4), "b": torch.ones(40)}, 0.75, "uniform", min_keep_per_layer=2
        )


def test_refuses_less_than_is_pruned_already():
    weights = four_tensors()
    masks = pruning.select(weights, 0.5, "lamp")
    with pytest.raises(pruning.PruningError, match="Pruned weights never come back"):
        pruning.select(weights, 0.4, "lamp", masks=masks)
    lopsided = pruning.select({"a": torch.ones(10), "b": 9 * torch.ones(10)}, 0.45)
    with pytest.raises(pruning.PruningError, match="has 9 pruned weights already"):
        pruning.select({"a": torch.ones(10), "b": torch.ones(10)}, 0.5, "uniform", masks=lopsided)


def test_refuses_unknown_names_and_empty_sets():
    with pytest.raises(ValueError, match="Unknown selector 'best'"):
        pruning.select({"w": torch.ones(4)}, 0.5, "best")
    with pytest.raises(ValueError, match="no weight to prune"):
        pruning.select({}, 0.5)
    with pytest.raises(ValueError, match="needs 0 < N < M"):
        pruning.select({"w": torch.ones(4, 4)}, 0.5, "4:4")
    with pytest.raises(ValueError, match=r"prunes 0\.5 of a layer"):
        pruning.select({"w": torch.ones(4, 4)}, 0.6, "2:4")


layers = st.lists(st.integers(1, 6), min_size=1, max_size=4)
EXACT = ["global", "erk", "lamp", "random"]


def random_layers(widths, seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        f"w{layer}": torch.randn(4, width, generator=generator)
        for layer, width in enumerate(widths)
    }


@pytest.mark.parametrize("selector", [*EXACT, "uniform"])
@given(widths=layers, seed=st.integers(0, 99), phases=st.integers(1, 4), s=st.floats(0, 0.95))
@settings(max_examples=40, deadline=None)
def test_masks_nest_and_counts_are_exact_over_phases(selector, widths, seed, phases, s):
    weights = random_layers(widths, seed)
    size = sum(w.numel() for w in weights.values())
    masks = None
    for phase in range(1, phases + 1):
        target = s * phase / phases
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pruning.LayerCollapseWarning)
            new = pruning.select(weights, target, selector, masks=masks)
        if selector != "uniform":
            assert new.pruned == pruning.pruned_count(target, size)
        assert masks is None or new.within(masks)
        masks = new
        weights = {k: torch.where(masks[k], w * 1.1, 0.0) for k, w in weights.items()}


@pytest.mark.parametrize("selector", [*EXACT, "uniform", "2:4", "filter"])
@given(seed=st.integers(0, 99), exponent=st.integers(-30, 30))
@settings(max_examples=20, deadline=None)
def test_scaling_all_weights_leaves_the_masks(selector, seed, exponent):
    weights = random_layers([4, 8, 4], seed)
    scaled = {k: w * 2.0**exponent for k, w in weights.items()}  # exact in binary
    if selector == "filter":
        weights = {k: w[:, :, None, None] for k, w in weights.items()}
        scaled = {k: w[:, :, None, None] for k, w in scaled.items()}
    one, two = pruning.select(weights, 0.5, selector), pruning.select(scaled, 0.5, selector)
    assert all(one[k].equal(two[k]) for k in one)


@given(widths=layers, seed=st.integers(0, 99), s=st.floats(0, 0.9))
@settings(max_examples=30, deadline=None)
def test_the_order_of_layers_matters_only_at_ties(widths, seed, s):
    weights = random_layers(widths, seed)  # normal draws: no ties
    backwards = dict(reversed(weights.items()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pruning.LayerCollapseWarning)
        one, two = pruning.select(weights, s), pruning.select(backwards, s)
    assert all(one[k].equal(two[k]) for k in one)
