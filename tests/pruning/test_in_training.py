"""In-training methods: the specification's numbers, hand gradients against autograd, resuming."""

import pytest
import torch
from torch import nn

from extremal import pruning, training
from extremal.pruning._in_training import (
    CS,
    DNW,
    DPF,
    DST,
    GMP,
    GSM,
    LC,
    STR,
    rising_beta,
    surrogate_slope,
)
from extremal.pruning._selectors import select as choose

SLOPE_TOLERANCE = 1e-12  # float64, a handful of operations


def select(weights, sparsity, masks):
    return choose(weights, sparsity, masks=masks, on_layer_collapse="allow")


class Vector(nn.Module):
    """One weight matrix of one row."""

    def __init__(self, values, dtype=torch.float64):
        """Of these values."""
        super().__init__()
        self.w = nn.Parameter(torch.tensor([values], dtype=dtype))


def started(method, model, lr=0.1, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, **options)
    method.start(model, optimizer)
    return optimizer


def test_gsm_keeps_the_gradients_that_matter():
    model = Vector([1.0, -2, 3, -4])
    method = GSM(["w"], 0.5, select)
    started(method, model)
    model.w.grad = torch.tensor([[4.0, 1, -0.5, 0.1]], dtype=torch.float64)
    method.after_backward(0)
    assert model.w.grad.tolist() == [[4, 1, 0, 0]]


def test_lc_cancels_the_decay_of_the_largest():
    model = Vector([1.0, -2, 3, -4])
    method = LC(["w"], 0.5, select, iterations=30)
    started(method, model, weight_decay=0.1)
    model.w.grad = torch.zeros(1, 4, dtype=torch.float64)
    method.after_backward(0)
    assert model.w.grad[0].tolist() == pytest.approx([0, 0, -0.3, 0.4])


def test_lc_decay_may_grow_on_the_smallest():
    model = Vector([1.0, -2, 3, -4])
    method = LC(["w"], 0.5, select, iterations=30, growth=1.1)
    started(method, model, weight_decay=0.1)
    model.w.grad = torch.zeros(1, 4, dtype=torch.float64)
    method.after_backward(2)
    assert model.w.grad[0].tolist() == pytest.approx([0.021, -0.042, -0.3, 0.4])


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lc_refuses_what_has_no_decay_to_move(decay):
    model = Vector([1.0])
    kind = torch.optim.SGD if decay == 0 else torch.optim.AdamW
    with pytest.raises(ValueError, match="Use optimizer='sgd' and weight_decay above 0"):
        LC(["w"], 0.5, select, iterations=3).start(
            model, kind(model.parameters(), weight_decay=decay)
        )


def test_dpf_updates_the_dense_weights():
    model = Vector([0.1, 2.0])
    method = DPF(["w"], 0.5, select, epochs=2)
    optimizer = started(method, model)
    method.after_epoch(0)
    method.before_step(0)
    assert model.w.tolist() == [[0, 2]]
    (0.5 * (model.w.sum() - 1) ** 2).backward()
    method.after_backward(0)
    optimizer.step()
    assert model.w[0].tolist() == pytest.approx([0, 1.9], abs=1e-15)


def test_dpf_keeps_its_masks_for_16_iterations():
    model = Vector([0.1, 2.0])
    method = DPF(["w"], 0.5, select, epochs=2)
    started(method, model)
    method.after_epoch(0)
    for step, expected in ((3, [0.1, 0]), (15, [0.1, 0]), (16, [0, 2])):
        with torch.no_grad():
            model.w.copy_(torch.tensor([[0.1, 2.0]]) if step > 3 else torch.tensor([[0.1, 0.01]]))
        method.before_step(step)
        seen = model.w[0].tolist()
        model.w.grad = torch.zeros_like(model.w)
        method.after_backward(step)
        assert seen == pytest.approx(expected)


def test_dnw_masks_from_the_first_step_and_passes_gradients_through():
    model = Vector([0.1, 2.0, -0.3, 1.0])
    method = DNW(["w"], 0.5, select)
    started(method, model)
    method.before_step(0)
    assert model.w.tolist() == [[0, 2, 0, 1]]
    model.w.sum().backward()
    method.after_backward(0)
    assert model.w.grad.tolist() == [[1, 1, 1, 1]]
    assert model.w.tolist() == [[0.1, 2.0, -0.3, 1.0]]


def test_str_known_answers():
    model = Vector([0.1, -0.2, 0.5])
    method = STR(["w"], 0.0, select, initial=-2.0)
    started(method, model)
    method.before_step(0)
    assert model.w[0].tolist() == pytest.approx([0, -0.080797, 0.380797], abs=5e-7)
    (model.w * torch.tensor([[1.0, 1, 2]])).sum().backward()
    method.after_backward(0)
    assert float(method.tau["w"].grad) == pytest.approx(-0.104994, abs=5e-7)
    masks = method.finish()
    assert masks["w"].tolist() == [[False, True, True]]
    assert model.w[0, 2].item() == pytest.approx(0.380797, abs=5e-7)


def test_dst_surrogate_known_values():
    x = torch.tensor([0.0, 0.2, 0.5, 1.01], dtype=torch.float64)
    assert surrogate_slope(x).tolist() == pytest.approx([2, 1.2, 0.4, 0])
    assert surrogate_slope(-x).equal(surrogate_slope(x))


def test_cs_beta_half_way():
    assert rising_beta(300.0, 50, 100) == pytest.approx(17.3205, abs=5e-5)


def chain(method, model, c):
    method.before_step(3)
    (model.w * c).sum().backward()
    method.after_backward(3)
    return model.w.grad


def test_str_gradients_agree_with_autograd():
    values, c = [0.1, -0.2, 0.5, -0.9], torch.tensor([[1.0, -2, 3, 0.5]], dtype=torch.float64)
    model, method = Vector(values), STR(["w"], 0.0, select, initial=-2.0)
    started(method, model)
    got = chain(method, model, c)
    w = torch.tensor([values], dtype=torch.float64, requires_grad=True)
    tau = torch.tensor(-2.0, dtype=torch.float64, requires_grad=True)
    (c * w.sign() * torch.relu(w.abs() - tau.sigmoid())).sum().backward()
    torch.testing.assert_close(got, w.grad, rtol=SLOPE_TOLERANCE, atol=0)
    torch.testing.assert_close(method.tau["w"].grad, tau.grad)


def test_cs_gradients_agree_with_autograd_and_decay_acts_once():
    values, c = [0.1, -0.2, 0.5, -0.9], torch.tensor([[1.0, -2, 3, 0.5]], dtype=torch.float64)
    model = Vector(values)
    method = CS(["w"], 0.0, select, iterations=10, initial=0.3, penalty=0.01, final_beta=200.0)
    optimizer = started(method, model, weight_decay=0.1)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0]
    got = chain(method, model, c)
    w = torch.tensor([values], dtype=torch.float64, requires_grad=True)
    m = torch.full((1, 4), 0.3, dtype=torch.float64, requires_grad=True)
    soft = (rising_beta(200.0, 3, 10) * m).sigmoid()
    effective = w * soft / torch.tensor(0.3, dtype=torch.float64).sigmoid()
    ((c * effective).sum() + 0.01 * soft.sum() + 0.05 * w.square().sum()).backward()
    torch.testing.assert_close(got, w.grad)
    torch.testing.assert_close(method.m["w"].grad, m.grad)
    with torch.no_grad():
        method.m["w"][0, 1] = -0.1
    assert method.finish()["w"].tolist() == [[True, False, True, True]]


class Step(torch.autograd.Function):
    """The step function with DST's surrogate derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * surrogate_slope(*ctx.saved_tensors)


def test_dst_gradients_agree_with_autograd():
    values, c = [0.1, -0.2, 0.5, -0.9], torch.tensor([[1.0, -2, 3, 0.5]], dtype=torch.float64)
    model, method = Vector(values), DST(["w"], 0.0, select, penalty=0.01)
    started(method, model)
    with torch.no_grad():
        method.t["w"].fill_(0.3)
    got = chain(method, model, c)
    w = torch.tensor([values], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    ((c * w * Step.apply(w.abs() - t)).sum() + 0.01 * (-t).exp().sum()).backward()
    torch.testing.assert_close(got, w.grad)
    torch.testing.assert_close(method.t["w"].grad, t.grad)


def test_dst_resets_the_thresholds_of_a_dead_layer():
    model, method = Vector([0.1, 0.2]), DST(["w"], 0.0, select)
    started(method, model)
    with torch.no_grad():
        method.t["w"].fill_(5.0)
    method.before_step(0)
    assert method.t["w"].tolist() == [0.0]


def test_gmp_masks_grow_or_recover():
    for recovering, expected in ((False, [0, 0, 3, 4]), (True, [1, 0, 0, 4])):
        model = Vector([1.0, 2, 3, 4])
        method = GMP(["w"], 0.5, select, epochs=4, allow_recovering=recovering)
        optimizer = started(method, model, momentum=0.9)
        model.w.grad = torch.zeros_like(model.w)
        optimizer.step()
        method.prune_to(0.25)
        assert model.w.tolist() == [[0, 2, 3, 4]]
        with torch.no_grad():
            model.w[0, 1], model.w[0, 2] = (0.1, 0.2) if recovering else (0.1, 3.0)
        method.prune_to(0.5)
        assert model.w.tolist() == [expected]


def test_gmp_zeroes_the_momentum():
    model = Vector([1.0, 2, 3, 4])
    method = GMP(["w"], 0.5, select, epochs=4)
    optimizer = started(method, model, momentum=0.9)
    model.w.grad = torch.ones_like(model.w)
    optimizer.step()
    method.prune_to(0.25)
    assert optimizer.state[model.w]["momentum_buffer"].abs().sum() == 0


METHODS = {
    "gmp": lambda names, steps: GMP(names, 0.8, select, epochs=3),
    "gmp-recovering": lambda names, steps: GMP(names, 0.8, select, 3, 1, True),
    "gsm": lambda names, steps: GSM(names, 0.8, select),
    "lc": lambda names, steps: LC(names, 0.8, select, steps),
    "dpf": lambda names, steps: DPF(names, 0.8, select, epochs=3),
    "dnw": lambda names, steps: DNW(names, 0.8, select),
    "str": lambda names, steps: STR(names, 0.8, select),
    "cs": lambda names, steps: CS(names, 0.8, select, steps),
    "dst": lambda names, steps: DST(names, 0.8, select),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_resumes_and_ends_sparse(name, tmp_path):
    data = training.load_data("digits", train_size=256)
    loop = training.LoopConfig(batch_size=64, threads=1, checkpoint_every=1)
    rates = [0.05] * 12

    def run(file, stop=None):
        torch.manual_seed(0)
        model = training.network("mlp", in_channels=1, classes=10, image_size=8)
        method = METHODS[name](list(pruning.prunable_weights(model)), 12)
        hooks = [method] if stop is None else [method, stop]
        training.train(model, data, epochs=3, lr=rates, loop=loop, hooks=hooks, checkpoint=file)
        masks = method.finish()
        return model, masks

    class Killed(Exception):
        pass

    class Hooks(training.Hooks):
        def before_step(self, step):
            if step == 9 and kill:
                raise Killed

    kill = False
    model, masks = run(tmp_path / "a", Hooks())
    kill = True
    with pytest.raises(Killed):
        run(tmp_path / "b", Hooks())
    kill = False
    again, same = run(tmp_path / "b", Hooks())
    for one, two in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert one.equal(two)
    weights = pruning.prunable_weights(model)
    assert all((weights[k][~m] == 0).all() for k, m in masks.items())
    assert all(same[k].equal(m) for k, m in masks.items())
    if name not in ("str", "cs", "dst"):
        assert masks.pruned == pruning.pruned_count(0.8, masks.size)
