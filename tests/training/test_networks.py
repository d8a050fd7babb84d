"""Counts of parameters, prunable weights and MACs: known answers of the specification."""

import pytest
import torch
from torch import nn

from extremal import training


def _sizes(model: nn.Module) -> tuple[int, int]:
    prunable = sum(
        m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)
    )
    return sum(p.numel() for p in model.parameters()), prunable


@pytest.mark.parametrize(
    ("name", "classes", "parameters", "prunable", "macs"),
    [
        ("resnet20", 10, 269_722, 268_336, 40_551_040),
        ("resnet56", 10, 853_018, 848_944, 125_485_696),
        ("resnet18", 10, 11_173_962, 11_164_352, 555_422_720),
        ("wrn-28-10", 100, 36_546_980, 36_518_832, 5_951_175_168),
    ],
)
def test_known_counts(name, classes, parameters, prunable, macs):
    with torch.device("meta"):  # shapes are enough: no weight is made, no product computed
        model = training.network(name, in_channels=3, classes=classes, image_size=32)
        assert _sizes(model) == (parameters, prunable)
        layers = training.count_macs(model, (3, 32, 32))
    assert sum(layer.macs for layer in layers.values()) == macs


@pytest.mark.parametrize(
    ("name", "parameters"), [("wrn-22-10", 26_863_460), ("wrn-22-2", 1_092_836)]
)
def test_known_parameters_of_wide_networks(name, parameters):
    with torch.device("meta"):
        model = training.network(name, in_channels=3, classes=100, image_size=32)
    assert _sizes(model)[0] == parameters


def test_vgg16_with_norms_has_its_usual_size():
    with torch.device("meta"):
        model = training.network("vgg16-bn", in_channels=3, classes=10, image_size=32)
    assert _sizes(model)[0] == 14_728_266


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet20", "resnet56", "resnet18", "wrn-10-1"])
def test_takes_grey_images_of_eight_pixels(name):
    model = training.network(name, in_channels=1, classes=7, image_size=8).eval()
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 7)


def test_macs_use_the_output_that_really_occurs():
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, groups=2),  # no padding: 9 -> 4
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 5),
    )
    assert training.count_macs(model, (4, 9, 9)) == {"0": (8 * 2 * 9 * 16, 4, 4), "2": (640, 1, 1)}


def test_macs_of_a_layer_used_twice_count_twice_and_modes_stay():
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.Dropout(), layer)
    model[1].eval()
    assert training.count_macs(model, (3,))["0"].macs == 18
    assert [m.training for m in model] == [True, False, True]


def test_vgg_refuses_small_images():
    with pytest.raises(ValueError, match=r"vgg16-bn needs images of 32x32 .* these are 8x8"):
        training.network("vgg16-bn", in_channels=1, classes=10, image_size=8)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("resnet50", "there is no network 'resnet50'; there are mlp, cnn, resnet20"),
        ("wrn-27-2", r"depth 27 and width 2; the depth must be 10, 16, 22, 28"),
        ("nomodule_here:net", "there is no module 'nomodule_here' to import"),
        ("math:nothing", "module 'math' has no function 'nothing'"),
        ("math:gcd", "network: math:gcd returned int; expected a torch.nn.Module"),
    ],
)
def test_unknown_networks_are_refused(name, text):
    with pytest.raises(ValueError, match=text):
        training.network(name, in_channels=1, classes=10, image_size=8)


def test_takes_a_network_of_the_users(tmp_path, monkeypatch):
    (tmp_path / "users_nets.py").write_text(
        "from torch import nn\n"
        "def small(classes, image_size):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(image_size**2, classes))\n"
        "def fixed():\n"
        "    return nn.Linear(1, 1)\n"
    )
    monkeypatch.chdir(tmp_path)
    model = training.network("users_nets:small", in_channels=1, classes=3, image_size=8)
    assert model(torch.zeros(1, 1, 8, 8)).shape == (1, 3)
    made = training.network("users_nets:fixed", in_channels=1, classes=3, image_size=8)
    assert isinstance(made, nn.Linear)
