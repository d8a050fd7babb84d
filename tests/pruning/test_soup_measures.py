"""Geometry, basin, corruptions, CIFAR-C files."""

import math

import numpy as np
import pytest
import torch

from extremal import pruning, training

FLAT = {"w": torch.ones(2, 2, dtype=torch.bool)}


def state(values, counter=0):
    return {"w": torch.tensor(values), "counter": torch.tensor(counter)}


def test_geometry_of_a_right_angle():
    members = [state([[3.0, 0.0], [0.0, 0.0]]), state([[0.0, 4.0], [0.0, 0.0]], counter=100)]
    found = pruning.geometry(members, FLAT, state([[0.0, 0.0], [0.0, 0.0]]))
    assert found["distance"] == {"min": 5.0, "mean": 5.0, "max": 5.0}  # the counter is no weight
    assert found["angle"]["mean"] == pytest.approx(90.0)
    assert found["to_barycentre"]["max"] == pytest.approx(2.5)
    assert (found["norm"], found["moved"]) == (3.5, 3.5)


def test_geometry_of_tiny_angles_and_of_one_member():
    one = {"w": torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)}
    two = {"w": torch.tensor([[1.0, 1e-9], [0.0, 0.0]], dtype=torch.float64)}
    found = pruning.geometry([one, two], FLAT, one)
    assert found["angle"]["mean"] == pytest.approx(math.degrees(1e-9), rel=1e-6)
    alone = pruning.geometry([one], FLAT, one)
    assert alone["distance"] is None
    assert alone["moved"] == 0.0


def test_only_kept_weights_count():
    mask = {"w": torch.tensor([[True, False], [True, False]])}
    members = [state([[1.0, 9.0], [0.0, 0.0]]), state([[1.0, -9.0], [0.0, 0.0]])]
    assert pruning.geometry(members, mask, members[0])["distance"]["max"] == 0.0


def test_basin_barriers():
    assert pruning.basin(lambda a: 0.1 + 0.2 * float(a))["barrier"] == pytest.approx(0.0, abs=1e-15)
    assert pruning.basin(lambda a: float(a * (1 - a)))["barrier"] == 0.25
    assert pruning.basin(lambda a: 0.5 - float(a * (1 - a)))["barrier"] == 0.0


@pytest.fixture(scope="module")
def pictures():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (200, 3, 16, 16), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("kind", pruning.CORRUPTIONS)
def test_corruptions_grow_with_severity_and_repeat(pictures, kind):
    made = [pruning.corrupt(pictures, kind, s, seed=1) for s in (1, 2, 3, 4, 5)]
    assert all(m.dtype == torch.uint8 and m.shape == pictures.shape for m in made)
    change = [float((m.double() - pictures.double()).square().mean()) for m in made]
    # Pixelate on 16 pixels: the side is rounded down, so that steps need not all differ.
    assert change == sorted(change) if kind != "pixelate" else change[0] < change[-1]
    assert made[2].equal(pruning.corrupt(pictures, kind, 3, seed=1))
    as_floats = pruning.corrupt(pictures.float() / 255, kind, 3, seed=1)
    assert float((as_floats.int() - made[2].int()).abs().float().mean()) < 0.01


@pytest.mark.parametrize(
    ("kind", "sigmas"),
    [("gaussian_noise", (0.04, 0.06, 0.08, 0.09, 0.10)), ("shot_noise", (500, 250, 100, 75, 50))],
)
def test_noise_has_the_strength_of_the_specification(kind, sigmas):
    grey = torch.full((400, 1, 16, 16), 128, dtype=torch.uint8)
    for severity, sigma in enumerate(sigmas, start=1):
        x = pruning.corrupt(grey, kind, severity).double() / 255
        expected = sigma if kind == "gaussian_noise" else math.sqrt(128 / 255 / sigma)
        # 102,400 samples: the deviation is known to 0.3 %; rounding to bytes adds (1/255)^2/12.
        assert float(x.std()) == pytest.approx(math.hypot(expected, 1 / 255 / 12**0.5), rel=0.02)


def test_speckle_impulse_contrast_and_brightness_known_answers():
    grey = torch.full((400, 1, 16, 16), 128, dtype=torch.uint8)
    x = pruning.corrupt(grey, "speckle_noise", 5).double() / 255
    assert float(x.std()) == pytest.approx(0.2 * 128 / 255, rel=0.02)
    x = pruning.corrupt(grey, "impulse_noise", 5)
    assert float((x != 128).double().mean()) == pytest.approx(0.07, abs=0.005)
    assert set(x.unique().tolist()) == {0, 128, 255}
    pair = torch.tensor([[[[0, 200]]]], dtype=torch.uint8)
    assert pruning.corrupt(pair, "contrast", 5).flatten().tolist() == [85, 115]
    colour = torch.tensor([100, 50, 0], dtype=torch.uint8).reshape(1, 3, 1, 1)
    # V from 100/255 to 100/255 + .3: every channel times 1.765, so hue and saturation stay.
    assert pruning.corrupt(colour, "brightness", 5).flatten().tolist() == [176, 88, 0]
    black = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
    assert pruning.corrupt(black, "brightness", 1).flatten().tolist() == [13, 13, 13]


@pytest.mark.parametrize(("kind", "severity"), [("fog", 1), ("contrast", 0), ("contrast", 6)])
def test_unknown_corruptions_are_refused(pictures, kind, severity):
    with pytest.raises(ValueError, match="There is no corruption"):
        pruning.corrupt(pictures, kind, severity)


class _Mean(torch.nn.Module):
    """Class 1 where an image is bright."""

    def forward(self, images):
        bright = images.mean((1, 2, 3))
        return torch.stack([-bright, bright], 1)


@pytest.fixture
def cifar_c(tmp_path):
    """Two kinds, 4 images a severity: severity s has s - 1 wrong ones."""
    labels = np.tile(np.array([0, 1, 0, 1], dtype=np.uint8), 5)
    images = np.where(labels[:, None, None, None] == 1, 255, 0).astype(np.uint8)
    images = np.broadcast_to(images, (20, 32, 32, 3)).copy()
    for severity in range(5):
        for wrong in range(severity):
            images[4 * severity + wrong] = 255 - images[4 * severity + wrong]
    np.save(tmp_path / "fog.npy", images)
    np.save(tmp_path / "snow.npy", images)
    np.save(tmp_path / "labels.npy", labels)
    return tmp_path


def test_cifar_c_files_are_read_severity_by_severity(cifar_c):
    found = dict(pruning.read_cifar_c(cifar_c))
    assert list(found) == ["fog", "snow"]
    assert [len(split) for split in found["fog"]] == [4] * 5
    assert found["fog"][0].images.shape == (4, 3, 32, 32)
    one = training.Split(found["fog"][0].images, found["fog"][0].labels)
    data = training.Data("made", one, one, None, 2, ("a", "b"), (0.5,) * 3, (0.5,) * 3)
    result = pruning.corrupted_accuracies([_Mean()], data, 4, 0, str(cifar_c))
    assert result["files"]["kinds"]["snow"] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert result["files"]["mean"] == 0.5
    assert set(result["kinds"]) == set(pruning.CORRUPTIONS)
    assert all(len(row) == 5 for row in result["kinds"].values())


@pytest.mark.parametrize("how", ["no labels", "shape", "length", "empty"])
def test_other_files_are_refused(cifar_c, how):
    if how == "no labels":
        (cifar_c / "labels.npy").unlink()
    elif how == "shape":
        np.save(cifar_c / "fog.npy", np.zeros((20, 3, 32, 32), dtype=np.uint8))
    elif how == "length":
        np.save(cifar_c / "labels.npy", np.zeros(19, dtype=np.uint8))
    else:
        for file in cifar_c.glob("*.npy"):
            file.unlink()
    with pytest.raises(ValueError, match="labels"):
        list(pruning.read_cifar_c(cifar_c))
