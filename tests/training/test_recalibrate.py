"""Running statistics measured anew: section 7.9 of the specification."""

import pytest
import torch
from torch import nn

from extremal import training

NUMBERS = [
    torch.arange(4.0)[:, None],
    torch.arange(4.0, 8)[:, None],
    torch.arange(8.0, 10)[:, None],
]


def test_known_mean_and_variance():
    norm = nn.BatchNorm1d(1)
    assert training.recalibrate(norm, NUMBERS, fraction=1.0) == 10
    assert norm.running_mean.item() == pytest.approx(4.5, abs=1e-6)
    assert norm.running_var.item() == pytest.approx(1.43333, abs=1e-5)


def test_torch_cumulative_average_gives_other_numbers():
    # What the method is not: the values the specification quotes for momentum=None.
    norm = nn.BatchNorm1d(1, momentum=None)
    for batch in NUMBERS:
        norm(batch)
    assert norm.running_mean.item() == pytest.approx(5.16667, abs=1e-5)
    assert norm.running_var.item() == pytest.approx(1.27778, abs=1e-5)


def test_every_type_of_batch_norm_counts():
    model = nn.Sequential(
        nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2), nn.Flatten(2), nn.BatchNorm1d(2),
        nn.Unflatten(2, (2, 4)), nn.BatchNorm2d(2),
    )  # fmt: skip
    norms = [model[1], model[3], model[5]]
    for norm in norms:
        norm.running_mean.fill_(7.0)
    training.recalibrate(model, [torch.randn(8, 1, 2, 2, 2)], fraction=1.0)
    assert all((norm.running_mean != 7.0).all() for norm in norms)


def test_only_norms_train_and_everything_is_put_back():
    seen = []

    class Spy(nn.Dropout):
        def forward(self, x):
            seen.append(self.training)
            return super().forward(x)

    model = nn.Sequential(Spy(0.5), nn.BatchNorm1d(1, momentum=0.3), nn.BatchNorm1d(1))
    model[2].eval()
    training.recalibrate(model, NUMBERS, fraction=1.0)
    assert seen == [False] * 3
    assert [m.training for m in model] == [True, True, False]
    assert model[1].momentum == 0.3
    assert model[1].running_mean.item() == pytest.approx(4.5)


def test_without_norms_nothing_happens():
    assert training.recalibrate(nn.LayerNorm(1), NUMBERS) == 0
    assert training.recalibrate(nn.BatchNorm1d(1, track_running_stats=False), NUMBERS) == 0


def test_takes_a_stratified_part_of_the_training_images():
    data = training.load_data("digits", augment="crop-flip")
    model = nn.Sequential(nn.BatchNorm2d(1))
    assert training.recalibrate(model, data) == 287  # int(0.2 * 1437)
    whole = training.recalibrate(model, data, fraction=1.0)
    assert whole == 1437
    # All training images, normalised with their own mean and not augmented: mean 0.
    assert model[0].running_mean.item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.3, "0.3 of 3 batches is less than one batch"), (0.0, "no share"), (1.5, "no share")],
)
def test_no_batch_is_an_error_and_resets_nothing(fraction, text):
    norm = nn.BatchNorm1d(1)
    norm.running_mean.fill_(7.0)
    with pytest.raises(ValueError, match=text):
        training.recalibrate(norm, NUMBERS, fraction=fraction)
    assert norm.running_mean.item() == 7.0


def test_a_part_of_one_image_is_an_error():
    with pytest.raises(ValueError, match="too few for a variance"):
        training.recalibrate(nn.BatchNorm2d(1), training.load_data("digits"), fraction=0.001)
