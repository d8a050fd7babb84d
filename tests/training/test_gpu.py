"""What a GPU changes: precision, speed and rounding, not images or order."""

import copy
import dataclasses
import itertools

import pytest
import torch

from extremal import training
from extremal.training import Hooks, LoopConfig, TrainingError, schedule, train
from extremal.training._augment import augmented
from extremal.training._hash import shuffled

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


def test_order_and_augmentation_are_those_of_the_cpu():
    assert torch.equal(shuffled(1000, 1, 2), shuffled(1000, 1, 2, device="cuda").cpu())
    images, index = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8), torch.arange(64)
    there = augmented("crop-flip", images.cuda(), index.cuda(), 3, 4).cpu()
    assert torch.equal(there, augmented("crop-flip", images, index, 3, 4))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_learns_digits(precision, channels_last):
    torch.manual_seed(0)
    data = training.load_data("digits")
    model = training.network("resnet20", in_channels=1, classes=10, image_size=8)
    loop = LoopConfig(
        device="cuda", precision=precision, channels_last=channels_last, clip_norm=5.0
    )
    steps = 5 * training.steps_per_epoch(data, 128)
    train(model, data, epochs=5, lr=schedule("linear", steps, 0.1), loop=loop)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert training.evaluate(model, data).top1 > 0.9


def test_a_checkpoint_is_taken_up(tmp_path):
    class Stop(Exception):
        pass

    class Mortal(training.Hooks):
        def before_step(self, step):
            if step == 15:
                raise Stop

    def run(hooks, checkpoint):
        torch.manual_seed(0)
        model = training.network("mlp", in_channels=1, classes=10, image_size=8)
        loop = LoopConfig(device="cuda", precision="float16")
        train(model, training.load_data("digits"), epochs=2, lr=[0.05] * 24, loop=loop,
              hooks=hooks, checkpoint=checkpoint)  # fmt: skip
        return model

    with pytest.raises(Stop):
        run([Mortal()], tmp_path / "c")
    # Another class name is another job, so the survivor keeps the name.
    Mortal.before_step = lambda self, step: None
    resumed, whole = run([Mortal()], tmp_path / "c"), run([Mortal()], None)
    for a, b in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-3)  # half precision, atomics in another order


def test_batches_are_those_of_the_cpu():
    data = dataclasses.replace(training.load_data("digits"), augment="crop-flip")
    for first in (0, 5):  # a GPU prepares several at a time, also from the middle of an epoch
        here = training.DataBatches(data, 100, 1, torch.device("cpu")).epoch(2, first, {})
        there = training.DataBatches(data, 100, 1, torch.device("cuda")).epoch(2, first, {})
        for a, b in zip(here, there, strict=True):
            assert a.size == b.size
            assert torch.equal(a.content[1], b.content[1].cpu())
            # the normalisation's division may round otherwise
            assert torch.allclose(a.content[0], b.content[0].cpu(), atol=1e-6)


@pytest.mark.parametrize("regularizer", ["ssl", "glt", "abfp", "nuc", "nuc-loss", "lc"])
def test_every_regularizer_trains(regularizer):
    found = training.fit(
        model="cnn", regularizer=regularizer, epochs=1, device="cuda", train_size=256
    )
    assert all(p.isfinite().all() for p in found.model.parameters())


@pytest.mark.parametrize("options", [
    {"region": "k-support"}, {"region": "group-k-support", "coupled": True},
    {"region": "spectral-k-support"}, {"region": "k-sparse", "sfw_init": 2, "adapt_rate": True},
])  # fmt: skip
def test_every_region_of_the_compression_papers_trains(options):
    found = training.fit(
        model="resnet20", epochs=1, device="cuda", train_size=256, optimizer="sfw",
        constrain="all", dampening=0.0, momentum_seed="gradient", **options,
    )  # fmt: skip
    assert all(p.isfinite().all() for p in found.model.parameters())


@pytest.fixture
def data():
    return training.load_data("digits")


def _trained(data, graph, *, hooks=(), epochs=2, start=None, **options):
    if start is None:
        torch.manual_seed(0)
        start = training.network("resnet20", in_channels=1, classes=10, image_size=8)
    model = copy.deepcopy(start)
    loop = LoopConfig(device="cuda", graph=graph, momentum=0.9, **options)
    total = epochs * training.steps_per_epoch(data, loop.batch_size)
    history = train(model, data, epochs=epochs, lr=[0.01] * total, loop=loop, hooks=hooks)
    return model, history


@pytest.mark.parametrize("options", [{}, {"channels_last": True}, {"clip_norm": 1.0}])
def test_a_recorded_step_gives_the_same_numbers(data, options):
    # float32 convolutions without TF32, so that what is left is the order of sums
    with torch.backends.cudnn.flags(allow_tf32=False, deterministic=True, enabled=True):
        eager, slow = _trained(data, False, **options)
        replayed, fast = _trained(data, True, **options)
    assert fast.loss == pytest.approx(slow.loss, rel=1e-4)
    for name, tensor in eager.state_dict().items():
        other = replayed.state_dict()[name]
        # 24 steps of rate 0.01; a lost or doubled step would differ by 1e-2
        assert torch.allclose(other.double(), tensor.double(), atol=1e-4), name


def test_dropout_draws_anew_at_every_replay(data):
    torch.manual_seed(0)
    start = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.Dropout(0.5), torch.nn.Linear(64, 10)
    )
    seen: list[float] = []

    class Losses(Hooks):
        values_only = True

        def after_backward(self, step):
            seen.append(float(start_of[1].weight.grad.abs().sum()))

    start_of = copy.deepcopy(start)
    loop = LoopConfig(device="cuda", graph=True, batch_size=len(data.train), weight_decay=0.0)
    train(start_of, data, epochs=10, lr=[0.0] * 10, loop=loop, hooks=[Losses()])
    # One batch and weights that stay: only dropout differs, and the order of sums by 1e-6.
    apart = [abs(a - b) / a for a, b in itertools.pairwise(sorted(seen))]
    assert min(apart) > 1e-5


def test_penalties_and_masks_take_part(data):
    from extremal import pruning
    from extremal.pruning._retrain import KeepMasks
    from extremal.training._regularizers import regularizer

    torch.manual_seed(0)
    start = training.network("resnet20", in_channels=1, classes=10, image_size=8).cuda()
    masks = pruning.select(pruning.prunable_weights(start), 0.9, "uniform")

    def both(graph):
        hooks = [KeepMasks(masks), *regularizer("ssl", 0.1, ratio=0.5, epochs=2)]
        return _trained(data, graph, hooks=hooks, start=start)[0]

    with torch.backends.cudnn.flags(allow_tf32=False, deterministic=True, enabled=True):
        eager, replayed = both(False), both(True)
    parameters = dict(replayed.named_parameters())
    for name, mask in masks.items():
        assert not parameters[name][~mask].any()
    for a, b in zip(eager.parameters(), replayed.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_a_foreign_hook_is_refused(data):
    class Mine(Hooks):
        pass

    with pytest.raises(ValueError, match="values_only"):
        _trained(data, True, hooks=[Mine()])


def test_a_step_that_waits_for_the_gpu_is_refused(data):
    class Looks(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(64, 10)

        def forward(self, x):
            return self.linear(x.flatten(1)) * (1.0 if x.sum().item() > 0 else 2.0)

    with pytest.raises(TrainingError, match="graph=False"):
        _trained(data, True, start=Looks())
