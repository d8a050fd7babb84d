"""The loop: its arithmetic, its order of calls, and the same bits after every interruption."""

import errno
import math
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from extremal import training
from extremal.training import Data, Hooks, LoopConfig, Split, TrainingError, schedule, train

ONE = LoopConfig(threads=1, batch_size=16)


def _data(n: int = 53, augment: str = "crop-flip") -> Data:
    numbers = torch.Generator().manual_seed(0)
    images = torch.rand(n, 1, 6, 6, generator=numbers)
    labels = torch.arange(n) % 3
    split = Split(images, labels)
    return Data("toy", split, split, None, 3, ("a", "b", "c"), (0.5,), (0.3,), augment)


def _model() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


def _weights(model: nn.Module) -> dict[str, bytes]:
    return {name: t.numpy().tobytes() for name, t in model.state_dict().items()}


class Stop(Exception):
    pass


class Mortal(Hooks):
    """Keeps a sum that its checkpoint must hold, and dies at a step of its choice."""

    def __init__(self, dies_at: int = -1) -> None:  # noqa: D107 - a test's
        self.dies_at = dies_at
        self.sum = torch.zeros(1)

    def before_step(self, step):
        if step == self.dies_at:
            raise Stop

    def after_step(self, step):
        self.sum += step

    def state(self):
        return {"sum": self.sum}

    def load_state(self, state):
        self.sum = state["sum"]


def test_sgd_by_hand():
    # One weight, loss = w * x: the gradient is x. Nesterov is off since decay is 0.
    # v1 = 2, w = 1 - 0.1 * 2 = 0.8; v2 = 0.9 * 2 + 2 = 3.8, w = 0.8 - 0.2 * 3.8 = 0.04.
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    history = train(
        model,
        [(torch.tensor([[2.0]]), None)],
        epochs=2,
        lr=[0.1, 0.2],
        loop=LoopConfig(weight_decay=0.0),
        loss=lambda outputs, _: outputs.mean(),
    )
    assert model.weight.item() == pytest.approx(0.04, abs=1e-6)
    assert history.lr == (0.1, 0.2)
    assert history.loss == pytest.approx((2.0, 1.6))
    assert (history.steps, history.epochs) == (2, 2)


def test_decay_turns_nesterov_on_by_default():
    # g = 2 + 0.5 * 1 = 2.5, v = 2.5, step = g + 0.9 v = 4.75.
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    batch = [(torch.tensor([[2.0]]), None)]
    loop = LoopConfig(weight_decay=0.5)
    train(model, batch, epochs=1, lr=[0.1], loop=loop, loss=lambda y, _: y.mean())
    assert model.weight.item() == pytest.approx(1 - 0.1 * 4.75, abs=1e-6)


def test_hooks_are_called_in_order_around_clipping():
    calls = []
    model = nn.Linear(1, 1, bias=False)

    class Spy(Hooks):
        def start(self, model, optimizer):
            calls.append("start")

        def before_step(self, step):
            calls.append(f"before {step}")

        def penalty(self):
            calls.append("penalty")
            return 3.0 * model.weight.sum()

        def after_backward(self, step):
            # x + penalty = 2 + 3, not yet clipped
            calls.append(f"gradient {model.weight.grad.item():.1f}")

        def after_step(self, step):
            calls.append(f"after {model.weight.grad.item():.1f}")

        def after_epoch(self, epoch):
            calls.append(f"epoch {epoch}")

    batch = [(torch.tensor([[2.0]]), None)]
    loop = LoopConfig(clip_norm=1.0)
    history = train(
        model, batch, epochs=1, lr=[0.1], loop=loop, hooks=[Spy()], loss=lambda y, _: y.mean() * 1.0
    )
    assert calls == ["start", "before 0", "penalty", "gradient 5.0", "after 1.0", "epoch 0"]
    assert len(history.loss) == 1


@pytest.mark.parametrize(("n", "steps"), [(32, 2), (33, 2), (34, 3), (1, 1), (53, 4)])
def test_a_single_left_over_image_joins_the_batch_before(n, steps):
    assert training.steps_per_epoch(_data(n), 16) == steps


def test_every_image_is_seen_once_per_epoch_in_an_order_of_seed_and_epoch():
    seen = []

    def step(model, batch):
        seen.append(batch[1])
        return model(batch[0]).square().mean()

    data = _data(48, "none")
    labelled = Split(data.train.images, torch.arange(48))
    numbered = Data("n", labelled, labelled, None, 48, tuple(map(str, range(48))), (0.5,), (0.3,))
    for seed in (0, 0, 1):
        train(_model(), numbered, epochs=2, lr=lambda _: 0.01,
              loop=LoopConfig(batch_size=16, seed=seed), training_step=step)  # fmt: skip
    epochs = torch.cat(seen).view(6, 48)
    assert (epochs.sort(1).values == torch.arange(48)).all()
    assert torch.equal(epochs[0], epochs[2])
    assert torch.equal(epochs[1], epochs[3])
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0], epochs[4])


@pytest.mark.parametrize("dies_at", [0, 1, 3, 4, 5, 6, 7, 11])
@pytest.mark.parametrize("every", [0, 1, 3])
def test_a_training_that_died_goes_on_to_the_same_bits(tmp_path, dies_at, every):
    data, loop = _data(), LoopConfig(threads=1, batch_size=16, checkpoint_every=every)
    rates = schedule("linear", 12, 0.1)
    whole, hook = _model(), Mortal()
    expected = train(whole, data, epochs=3, lr=rates, loop=loop, hooks=[hook])
    file = tmp_path / "c.safetensors"
    with pytest.raises(Stop):
        train(_model(), data, epochs=3, lr=rates, loop=loop, hooks=[Mortal(dies_at)],
              checkpoint=file)  # fmt: skip
    resumed, second = _model(), Mortal()
    history = train(resumed, data, epochs=3, lr=rates, loop=loop, hooks=[second], checkpoint=file)
    assert _weights(resumed) == _weights(whole)
    assert second.sum == hook.sum == sum(range(12))
    assert (history.loss, history.lr) == (expected.loss, expected.lr)


@pytest.mark.parametrize("dies_at", [2, 5])
def test_a_shuffled_loader_goes_on_to_the_same_bits(tmp_path, dies_at):
    split = _data().train
    dataset = torch.utils.data.TensorDataset(split.images, split.labels)

    def run(hook, checkpoint=None):
        model = _model()
        loader = torch.utils.data.DataLoader(dataset, 16, shuffle=True)
        train(model, loader, epochs=2, lr=lambda _: 0.1, hooks=[hook], checkpoint=checkpoint,
              loop=LoopConfig(threads=1, checkpoint_every=1))  # fmt: skip
        return _weights(model)

    with pytest.raises(Stop):
        run(Mortal(dies_at), tmp_path / "c")
    assert run(Mortal(), tmp_path / "c") == run(Mortal())


@pytest.mark.parametrize("name", ["adamw", "rmsprop"])
def test_other_optimizers_resume_too(tmp_path, name):
    def run(hook, checkpoint=None):
        model, factory = _model(), torch.optim.RMSprop if name == "rmsprop" else None
        loop = LoopConfig(optimizer="adamw", threads=1, batch_size=16)
        train(model, _data(), epochs=2, lr=lambda _: 0.01, hooks=[hook], checkpoint=checkpoint,
              optimizer=factory, loop=loop)  # fmt: skip
        return _weights(model)

    with pytest.raises(Stop):
        run(Mortal(6), tmp_path / "c")
    assert run(Mortal(), tmp_path / "c") == run(Mortal())


def test_channels_last_resumes_to_the_same_bits(tmp_path):
    loop = LoopConfig(threads=1, batch_size=16, channels_last=True, checkpoint_every=1)

    def run(hook, checkpoint=None):
        model = _model()
        train(model, _data(), epochs=2, lr=lambda _: 0.1, hooks=[hook], checkpoint=checkpoint,
              loop=loop)  # fmt: skip
        return _weights(model)

    with pytest.raises(Stop):
        run(Mortal(6), tmp_path / "c")
    assert run(Mortal(), tmp_path / "c") == run(Mortal())


def test_a_finished_training_returns_at_once(tmp_path):
    first, second = _model(), _model()
    arguments = {"epochs": 1, "lr": [0.1] * 4, "loop": ONE, "checkpoint": tmp_path / "c"}
    expected = train(first, _data(), **arguments)
    again = train(second, _data(), hooks=(), **arguments)
    assert _weights(first) == _weights(second)
    assert again.loss == expected.loss


@pytest.mark.parametrize("offset", [0, 9, 200, -1])
def test_a_changed_checkpoint_is_refused_by_name(tmp_path, offset):
    file = tmp_path / "c.safetensors"
    arguments = {"epochs": 1, "lr": [0.1] * 4, "loop": ONE, "checkpoint": file}
    train(_model(), _data(), **arguments)
    raw = bytearray(file.read_bytes())
    raw[offset] ^= 1
    file.write_bytes(raw)
    with pytest.raises(TrainingError, match=r"c\.safetensors is cut short or changed"):
        train(_model(), _data(), **arguments)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_checkpoint_is_refused_by_name(tmp_path, kept):
    file = tmp_path / "c.safetensors"
    arguments = {"epochs": 1, "lr": [0.1] * 4, "loop": ONE, "checkpoint": file}
    train(_model(), _data(), **arguments)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(TrainingError, match=r"c\.safetensors is cut short or changed"):
        train(_model(), _data(), **arguments)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lr": [0.2] * 4}, "learning rates"),
        ({"loop": LoopConfig(threads=1, batch_size=16, seed=1)}, "seed: 0 there, 1 now"),
        ({"hooks": [Hooks()]}, "hooks"),
        ({"optimizer": torch.optim.RMSprop}, "rule: SGD there, RMSprop now"),
        ({"data": _data(52)}, "data"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, change, named):
    file = tmp_path / "c"
    arguments = {"data": _data(), "epochs": 1, "lr": [0.1] * 4, "loop": ONE, "checkpoint": file}
    train(_model(), **arguments)
    with pytest.raises(TrainingError, match=f"belongs to another training .*{named}"):
        train(_model(), **{**arguments, **change})


def test_another_start_is_another_training(tmp_path):
    arguments = {"epochs": 1, "lr": [0.1] * 4, "loop": ONE, "checkpoint": tmp_path / "c"}
    train(_model(), _data(), **arguments)
    model = _model()
    model[5].bias.data += 1e-6
    with pytest.raises(TrainingError, match="weights at the start"):
        train(model, _data(), **arguments)


def test_the_callers_generators_and_modes_are_left_alone():
    model = _model()
    model[3].eval()
    before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 - what must not change
    train(model, _data(), epochs=1, lr=[0.1] * 4, loop=ONE)
    after = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    np.testing.assert_equal(after[1], before[1])
    assert [m.training for m in model] == [True, True, True, False, True, True]


def test_divergence_stops_and_names_step_and_rate():
    with pytest.raises(TrainingError, match=r"at iteration 2, where the learning rate is 0\.25"):
        train(
            nn.Linear(1, 1),
            [(torch.tensor([[1.0]]), k) for k in range(4)],
            epochs=1,
            lr=[0.1, 0.1, 0.25, 0.1],
            loss=lambda y, k: y.mean() * (math.nan if k == 2 else 1.0),
        )


def test_bfloat16_trains_float32_weights():
    model = training.network("mlp", in_channels=1, classes=10, image_size=8)
    data = training.load_data("digits")
    loop = LoopConfig(precision="bfloat16", seed=1)
    history = train(model, data, epochs=3, lr=schedule("linear", 36, 0.1), loop=loop)
    assert history.loss[-1] < history.loss[0] / 2
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 0}, "batch_size=0 is out of range; choose 1 or more"),
        ({"optimizer": "lion"}, "optimizer='lion' is out of range; choose sgd or adamw"),
        ({"precision": "int8"}, "choose float32, bfloat16, float16"),
        ({"precision": "float16"}, "needs a CUDA device .* use precision='bfloat16'"),
        ({"momentum": 0.0, "nesterov": True}, "no momentum to look ahead along"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0 is out of range"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0 is out of range"),
        ({"clip_norm": -1.0}, "clip_norm=-1.0"),
        ({"threads": -1}, "threads=-1"),
    ],
)
def test_senseless_options_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        LoopConfig(**options)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"epochs": 0}, "epochs=0 trains nothing"),
        ({"lr": [0.1] * 3}, "lr has 3 entries and the training 4 iterations"),
        ({"lr": [0.1, 0.1, -0.1, 0.1]}, "lr is -0.1 at iteration 2"),
        ({"loop": LoopConfig(device="toaster")}, "device='toaster' is no device of torch"),
        ({"data": []}, "have no batch"),
        ({"data": iter([1])}, r"\(list_iterator\) have no length"),
    ],
)
def test_senseless_arguments_are_refused(arguments, text):
    usual = {"data": _data(), "epochs": 1, "lr": [0.1] * 4, "loop": ONE}
    with pytest.raises(ValueError, match=text):
        train(_model(), **{**usual, **arguments})


def test_a_model_without_parameters_is_refused():
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        train(nn.Flatten(), _data(), epochs=1, lr=[0.1] * 4, loop=ONE)


def test_a_loader_that_ends_early_is_refused():
    class Short(list):
        def __len__(self):
            return 3

    with pytest.raises(TrainingError, match="announced 3 batches and gave 1"):
        train(
            nn.Linear(1, 1),
            Short([(torch.ones(1, 1), None)]),
            epochs=1,
            lr=[0.1] * 3,
            loss=lambda y, _: y.mean(),
        )


def test_state_that_needs_a_pickle_is_refused(tmp_path):
    class Odd(torch.optim.SGD):
        def state_dict(self):
            return {**super().state_dict(), "odd": object()}

    with pytest.raises(TrainingError, match=r"cannot keep part\.optimizer\.odd, a object"):
        train(_model(), _data(), epochs=1, lr=[0.1], optimizer=Odd, checkpoint=tmp_path / "c")


def test_names_of_modules_do_not_collide_with_the_checkpoints_own(tmp_path):
    def made():
        torch.manual_seed(0)
        layers = {"part": nn.Linear(2, 2), "model": nn.Linear(2, 1)}
        return nn.Sequential(OrderedDict(layers))

    def run(hook, checkpoint=None):
        model = made()
        train(model, [(torch.ones(3, 2), None)] * 4, epochs=2, lr=lambda _: 0.1, hooks=[hook],
              loss=lambda y, _: y.square().mean(), checkpoint=checkpoint)  # fmt: skip
        return _weights(model)

    with pytest.raises(Stop):
        run(Mortal(5), tmp_path / "c")
    assert run(Mortal(), tmp_path / "c") == run(Mortal())


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    file = tmp_path / "c.safetensors"
    arguments = {"epochs": 2, "lr": [0.1] * 8, "loop": ONE, "checkpoint": file}
    with pytest.raises(Stop):
        train(_model(), _data(), hooks=[Mortal(5)], **arguments)
    before = file.read_bytes()

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="the disk is full"):
            train(_model(), _data(), hooks=[Mortal()], **arguments)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
    resumed, whole = _model(), _model()
    train(resumed, _data(), hooks=[Mortal()], **arguments)
    train(whole, _data(), hooks=[Mortal()], **{**arguments, "checkpoint": None})
    assert _weights(resumed) == _weights(whole)


JOB = """
import sys, time
import torch
from extremal import training

class Slow(training.Hooks):
    def after_step(self, step):
        time.sleep(0.01)

def job(out, checkpoint=None):
    torch.manual_seed(0)
    model = training.network("cnn", in_channels=1, classes=10, image_size=8)
    data = training.load_data("digits", train_size=200, augment="crop")
    loop = training.LoopConfig(batch_size=32, threads=1, checkpoint_every=2)
    training.train(model, data, epochs=6, lr=training.schedule("cosine", 42, 0.05), loop=loop,
                   hooks=[Slow()], checkpoint=checkpoint)
    training.save_tensors(out, model.state_dict())

if __name__ == "__main__":
    job(*sys.argv[1:])
"""


@pytest.mark.parametrize(
    "moment", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, 12))]
)
def test_kill_9_at_a_random_moment_then_the_same_bytes(tmp_path, moment):
    script = tmp_path / "job.py"
    script.write_text(JOB)
    job = runpy.run_path(str(script))["job"]
    checkpoint = tmp_path / "c" / "c.safetensors"
    command = [sys.executable, script, tmp_path / "unused", checkpoint]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.002)
    time.sleep(random.Random(moment).uniform(0, 0.8))  # the steps take about one second
    process.send_signal(signal.SIGKILL)
    process.wait()
    job(tmp_path / "whole")
    job(tmp_path / "resumed", checkpoint)
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()
