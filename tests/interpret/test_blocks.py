"""Blocks of pixels as units: codes, networks and pictures agree with the pixels they stand for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extremal.interpret import load_task
from extremal.interpret._task import in_blocks, in_pixels

torch = pytest.importorskip("torch")  # the digits are among the data sets of training


@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(2, 3), st.integers(0, 9)
)
def test_blocks_and_pixels_are_inverse(side, high, wide, levels, seed):
    if levels ** (side * side) > 1024:
        side = 1
    image = (high * side, wide * side)
    codes = np.random.default_rng(seed).integers(0, levels, (4, image[0] * image[1]))
    blocks = in_blocks(codes.astype(np.int16), image, side, levels)
    assert blocks.shape == (4, high * wide)
    assert blocks.max(initial=0) < levels ** (side * side)
    np.testing.assert_array_equal(in_pixels(blocks, (high, wide), side, levels), codes)


def test_a_block_is_shown_whole():
    """Two rows agree on a block exactly if they agree on its four pixels."""
    pixels = load_task(data="digits", classes=("3", "8"))
    blocks = load_task(data="digits", classes=("3", "8"), patch=2)
    assert blocks.image == (4, 4)
    assert blocks.d == 16
    assert len(blocks.units[0].levels) == 16
    np.testing.assert_array_equal(blocks.audit.ids, pixels.audit.ids)
    a, b = pixels.audit.codes.reshape(-1, 8, 8), blocks.audit.codes.reshape(-1, 4, 4)
    same = (a[:, None, 2:4, 4:6] == a[None, :, 2:4, 4:6]).all((2, 3))
    np.testing.assert_array_equal(same, b[:, None, 1, 2] == b[None, :, 1, 2])
    assert blocks.fingerprint != pixels.fingerprint
    assert blocks.describe(np.array([True] * 3 + [False] * 13), b[0].reshape(-1)) == (
        "3 blocks of 2 x 2 pixels"
    )


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"data": "digits", "patch": 3}, "do not tile 8 x 8"),
        ({"data": "digits", "patch": 4}, r"2\^16 codes, over 1,024"),
        ({"data": "digits", "patch": 0}, "do not tile"),
        ({"data": "monks", "patch": 2}, "only images have blocks"),
    ],
)
def test_refused(how, text):
    with pytest.raises(ValueError, match=text):
        load_task(**how)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_networks_see_the_pixels_of_the_shown_blocks(name):
    from extremal.interpret import ArthurNet

    pixels = load_task(data="digits", classes=("3", "8"))
    blocks = load_task(data="digits", classes=("3", "8"), patch=2)
    torch.manual_seed(0)
    net = ArthurNet(blocks, name).eval()
    other = ArthurNet(pixels, name).eval()
    other.load_state_dict(net.state_dict())
    x = net.encoder.values(blocks.audit.codes[:6])
    torch.testing.assert_close(x, other.encoder.values(pixels.audit.codes[:6]))
    masks = torch.rand(5, 16, generator=torch.Generator().manual_seed(0)).topk(3, 1).indices
    masks = torch.zeros(5, 16, dtype=torch.bool).scatter_(1, masks, True)
    whole = masks.reshape(5, 4, 4).repeat_interleave(2, 1).repeat_interleave(2, 2).reshape(5, 64)
    for j in range(5):
        mine = net(x, masks[j].float().expand(6, -1))
        torch.testing.assert_close(mine, other(x, whole[j].float().expand(6, -1)))
        torch.testing.assert_close(net.cross(x, masks)[:, j], mine, atol=1e-5, rtol=1e-4)
    start = masks[0].float().expand(6, -1)
    units = torch.arange(16)
    found = net.added(x, start, units)
    for u in range(16):
        more = start.clone()
        more[:, u] = 1.0
        torch.testing.assert_close(found[:, u], net(x, more), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("prover", ["mlp", "u-net", "greedy"])
def test_a_game_on_blocks_is_audited_and_drawn(prover, tmp_path):
    from extremal import verify
    from extremal.interpret import TrainConfig, certify, train

    game = train(
        config=TrainConfig(
            classes=("3", "8"), patch=2, k=3, epochs=2, pretrain=2, prover=prover, width=0.1,
            attacker_epochs=1,
        ),
        out=tmp_path / "run",
    )  # fmt: skip
    found = certify(game, confidence=0.5, attacks=("replay", "frank-wolfe", "learned"))
    assert found.certificate is not None
    assert verify.file(found.certificate).accepted
    assert (tmp_path / "run" / "figures" / "masks.png").exists()
