"""Accuracy and calibration, with hand-computed answers."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from extremal import training
from extremal.training._evaluate import measured


def test_calibration_of_the_specification():
    confidence, correct = np.array([0.95, 0.95, 0.55, 0.65]), np.array([True, False, True, False])
    ece, mce = training.calibration_error(confidence, correct)
    assert ece == pytest.approx(0.5, abs=1e-12)
    assert mce == pytest.approx(0.65, abs=1e-12)


def test_certainty_falls_into_the_last_bin():
    assert training.calibration_error(np.array([1.0]), np.array([True])) == (0.0, 0.0)


def test_known_answers_of_four_examples():
    p = 0.75
    scores = torch.tensor([[math.log(p), math.log(1 - p)]]).repeat(4, 1)  # always class 0
    result = measured(scores, torch.tensor([0, 0, 0, 1]))
    assert result.correct.tolist() == [True, True, True, False]
    assert (result.top1, result.n, result.per_class) == (0.75, 4, (1.0, 0.0))
    assert result.loss == pytest.approx(-(3 * math.log(p) + math.log(1 - p)) / 4, rel=1e-6)
    assert result.ece == pytest.approx(0.0, abs=1e-7)  # float32 scores


def test_a_class_without_examples_has_no_accuracy():
    result = measured(torch.eye(3)[:2], torch.tensor([0, 1]))
    assert result.per_class[:2] == (1.0, 1.0)
    assert math.isnan(result.per_class[2])


def test_modes_and_statistics_are_untouched():
    data = training.load_data("digits")
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(144, 10)
    )
    model[2].eval()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    first = training.evaluate(model, data)
    second = training.evaluate(model, data.test, data=data, batch_size=7)
    assert [m.training for m in model] == [True, True, False, True, True]
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    # The same images in other batches: equal answers, losses up to float32 rounding.
    assert first.loss == pytest.approx(second.loss, rel=1e-6)
    assert first.correct.tolist() == second.correct.tolist()


def test_a_module_that_keeps_a_tensor_trains_on_afterwards():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))
            self.kept = None

        def forward(self, x):
            if self.kept is None:
                self.kept = torch.ones(3)
            return x * self.weight * self.kept

    model = Keeps()
    training.evaluate(model, [(torch.zeros(2, 3), torch.tensor([0, 1]))])
    model(torch.ones(2, 3)).sum().backward()
    assert model.weight.grad is not None


def test_takes_batches():
    model = nn.Linear(2, 3)
    batches = [(torch.zeros(2, 2), torch.tensor([0, 1])), (torch.zeros(1, 2), torch.tensor([2]))]
    assert training.evaluate(model, batches).n == 3


@pytest.mark.parametrize(
    ("scores", "labels", "text"),
    [
        (torch.zeros(1, 3), [3], "labels reach from 3 to 3 and the model has 3 classes"),
        (torch.full((1, 3), math.nan), [0], "NaN or infinite scores"),
    ],
)
def test_senseless_answers_are_refused(scores, labels, text):
    with pytest.raises(ValueError, match=text):
        measured(scores, torch.tensor(labels))


def test_nothing_to_measure_is_refused():
    with pytest.raises(ValueError, match="there is no example to measure"):
        training.evaluate(nn.Linear(1, 1), [])


def test_a_split_needs_to_say_how_it_is_normalised():
    data = training.load_data("digits")
    with pytest.raises(ValueError, match=r"pass data= with the Data"):
        training.evaluate(nn.Flatten(), data.test)
