"""What a GPU changes: precision, speed and rounding, not images or order."""

import pytest
import torch

from extremal import training
from extremal.training import LoopConfig, schedule, train
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
