"""Augmentation depends on (seed, epoch, index) and on nothing else."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from extremal.training._augment import augmented
from extremal.training._hash import random_bits, shuffled

IMAGES = torch.arange(1, 1 + 12 * 2 * 5 * 6, dtype=torch.float32).view(12, 2, 5, 6)


def _splitmix(x: int) -> int:
    """The finaliser of SplitMix64 in plain Python integers."""
    mask = (1 << 64) - 1
    x &= mask
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & mask
    x = (x ^ x >> 27) * 0x94D049BB133111EB & mask
    return x ^ x >> 31


@given(st.integers(0, 2**63 - 1), st.integers(0, 1000), st.integers(0, 10**6))
def test_bits_equal_plain_integers(seed, epoch, index):
    golden = 0x9E3779B97F4A7C15
    state = 0
    for part in (seed, epoch):
        state = _splitmix((state ^ part) + golden)
    expected = _splitmix(_splitmix((state ^ index) + golden) + golden)
    assert random_bits(torch.tensor([index]), seed, epoch).item() % 2**64 == expected


def test_known_order():
    # Fixed for ever: a changed order would make every stored checkpoint mean something else.
    assert sorted(shuffled(8, 3, 1).tolist()) == list(range(8))
    assert shuffled(8, 3, 1).tolist() == [1, 7, 0, 4, 5, 3, 2, 6]


def test_orders_are_uniform():
    firsts = torch.stack([shuffled(10, 0, epoch)[0] for epoch in range(1000)])
    counts = torch.bincount(firsts, minlength=10)
    # 100 expected each, deviation 9.5: five of them is a chance of 6e-6 in ten classes.
    assert (counts - 100).abs().max() < 5 * 9.5


@given(st.permutations(range(12)), st.integers(1, 11))
def test_place_and_batch_do_not_matter(order, cut):
    index = torch.tensor(order)
    whole = augmented("crop-flip", IMAGES, torch.arange(12), 5, 2)
    parts = [augmented("crop-flip", IMAGES[i], i, 5, 2) for i in (index[:cut], index[cut:])]
    assert torch.equal(torch.cat(parts), whole[index])


def test_an_image_is_a_shifted_or_mirrored_window_of_its_padding():
    result = augmented("crop-flip", IMAGES, torch.arange(12), 0, 0)
    for image, changed in zip(IMAGES, result, strict=True):
        padded = torch.nn.functional.pad(image, (4, 4, 4, 4))
        windows = [padded[:, y : y + 5, x : x + 6] for y in range(9) for x in range(9)]
        windows += [window.flip(-1) for window in windows]
        assert any(torch.equal(window, changed) for window in windows)


def test_every_offset_and_both_sides_occur():
    n = 4000
    marked = torch.zeros(n, 1, 9, 9)
    marked[:, :, 4, 4] = 1
    result = augmented("crop", marked, torch.arange(n), 0, 0)
    rows = torch.unique(result.flatten(2).argmax(2))
    assert len(rows) == 81
    assert result.sum() == n
    lines = torch.arange(9.0).expand(n, 1, 9, 9) + 1
    mirrored = augmented("crop-flip", lines, torch.arange(n), 0, 0)
    falling = (mirrored[:, 0, 4, 4] > mirrored[:, 0, 4, 5]) & (mirrored[:, 0, 4, 5] > 0)
    assert 0.4 < falling.float().mean() < 0.6


def test_none_changes_nothing_and_epochs_differ():
    index = torch.arange(12)
    assert augmented("none", IMAGES, index, 0, 0) is IMAGES
    first, second = (augmented("crop-flip", IMAGES, index, 0, epoch) for epoch in (0, 1))
    assert not torch.equal(first, second)
    assert augmented("crop", IMAGES.byte(), index, 0, 0).dtype == torch.uint8
