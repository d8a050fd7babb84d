"""Training through the project's loop, over regions."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from extremal import training  # noqa: E402


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sfw", "region": "l2"},
        {"optimizer": "sfw", "region": "k-sparse", "width": 50.0},
        {"optimizer": "sfw", "region": "spectral", "rescale": "diameter", "lr": 1.0},
        {"optimizer": "muon"},
        {"optimizer": "scion", "lr": 2.0**-9},
    ],
    ids=lambda o: "-".join(map(str, o.values())),
)
def test_fit_learns_over_regions(options):
    result = training.fit(model="mlp", data="digits", epochs=4, threads=1, **options)
    assert result.accuracy > 0.9  # 0.92 to 0.98 over seeds; chance is 0.1


def test_a_resumed_training_repeats_the_bits(tmp_path):
    data = training.load_data("digits")
    loop = training.LoopConfig(optimizer="sfw", region="k-support", threads=1)
    rates = [0.1] * (2 * training.steps_per_epoch(data, loop.batch_size))
    weights = []
    for stop in (False, True):
        torch.manual_seed(0)
        model = training.network("mlp", in_channels=1, classes=10, image_size=8)
        file = tmp_path / f"{stop}.safetensors"

        class Stop(training.Hooks):
            def after_epoch(self, epoch):
                if epoch == 1:
                    raise KeyboardInterrupt

        if stop:
            with pytest.raises(KeyboardInterrupt):
                training.train(
                    model, data, epochs=2, lr=rates, loop=loop, checkpoint=file, hooks=[Stop()]
                )
            torch.manual_seed(0)
            model = training.network("mlp", in_channels=1, classes=10, image_size=8)

            class Stop(training.Hooks):
                pass

            training.train(
                model, data, epochs=2, lr=rates, loop=loop, checkpoint=file, hooks=[Stop()]
            )
        else:
            training.train(model, data, epochs=2, lr=rates, loop=loop)
        weights.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_an_unknown_region_is_refused():
    with pytest.raises(ValueError, match="no region 'ball'"):
        training.fit(model="mlp", data="digits", epochs=1, optimizer="sfw", region="ball")


def test_a_row_runs_through_all_tensors_of_a_joint_group():
    from extremal import frankwolfe as fw

    a = torch.nn.Parameter(torch.zeros(3, 2))
    b = torch.nn.Parameter(torch.zeros(3, 1, 1))
    opt = fw.SFW(
        [{"params": [a, b], "region": fw.GroupKSupport(2.0, k=1), "joint": True}],
        lr=1.0, momentum=0.0, rescale="none",
    )  # fmt: skip
    a.grad = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    b.grad = torch.tensor([0.0, 0.0, 3.0]).reshape(3, 1, 1)
    opt.step()
    # rows (1, 0, 0), (3, 0, 0), (0, 2, 3): the last is the longest, of length sqrt(13)
    torch.testing.assert_close(a.detach(), torch.tensor([[0, 0], [0, 0], [0, -4 / 13**0.5]]))
    torch.testing.assert_close(b.detach().flatten(), torch.tensor([0, 0, -6 / 13**0.5]))
    assert opt.metrics()[0]["size"] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="same first dimension"):
        fw.SFW([{"params": [a, torch.nn.Parameter(torch.zeros(4, 2))],
                 "region": fw.GroupKSupport(2.0, k=1), "joint": True}])  # fmt: skip
