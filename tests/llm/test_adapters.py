"""Adapters: known answers, gradients equal to the plain form, nothing kept, merges checked."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from extremal.llm import AdaptedLinear, LLMError, attach, detach, effective, merge, trainable_count
from extremal.llm._adapters import KINDS
from extremal.llm._train import Trainer, check_groups, factor
from extremal.pruning import group_parameters

W = torch.tensor([[1.0, 0, 2], [0, 3, 0]])
A, B = torch.tensor([[1.0, 2, 3]]), torch.tensor([[1.0], [2]])
MASKED = [k for k in KINDS if k not in ("lora", "lora_prune")]


def sparse_layer(o=12, d=8, seed=0, bias=True, dtype=torch.float32):
    torch.manual_seed(seed)
    layer = nn.Linear(d, o, bias=bias, dtype=dtype)
    mask = torch.rand(o, d) > 0.5
    with torch.no_grad():
        layer.weight.masked_fill_(~mask, 0)
    return layer, mask


def moved(layer, mask, kind, **options):
    """An adapter away from its start."""
    adapted = AdaptedLinear(layer, kind, mask, rank=3, **options)
    with torch.no_grad():
        adapted.A.add_(0.3 * torch.randn_like(adapted.A))
        adapted.B.add_(0.3 * torch.randn_like(adapted.B))
    return adapted


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("mask_lora", [[3, 0, 8], [0, 11, 0]]),
        ("scale_lora", [[1, 0, 6], [0, 12, 0]]),
        ("hira", [[3, 0, 14], [0, 27, 0]]),
        ("lora", [[3, 4, 8], [4, 11, 12]]),
    ],
)
def test_known_weights(kind, wanted):
    assert effective(kind, W, W != 0, A, B, 2.0).tolist() == wanted


def test_spp_repeats_the_rows_of_a():
    weight = torch.ones(5, 2)
    a, c = torch.tensor([[1.0, 2], [3, 4]]), torch.arange(5.0)[:, None]
    found = effective("spp", weight, weight != 0, a, c, 2.0)
    rows = [a[0], a[0], a[0], a[1], a[1]]
    assert torch.equal(found, torch.stack([1 + 2 * i * r for i, r in enumerate(rows)]))


def test_known_gradients_of_mask_lora():
    layer = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(W)
    adapted = AdaptedLinear(layer, "mask_lora", W != 0, rank=1, alpha=2)
    with torch.no_grad():
        adapted.A.copy_(A)
        adapted.B.copy_(B)
    x = torch.ones(3, requires_grad=True)
    y = adapted(x)
    assert y.tolist() == [11, 11]
    y.sum().backward()
    assert adapted.B.grad.tolist() == [[8], [4]]
    assert adapted.A.grad.tolist() == [[2, 4, 2]]
    assert x.grad.tolist() == [3, 11, 8]


@pytest.mark.parametrize("kind", MASKED)
def test_gradients_are_bit_identical_to_the_plain_form(kind):
    layer, mask = sparse_layer()
    adapted = moved(layer, mask, kind)
    torch.manual_seed(1)
    x = torch.randn(2, 5, 8, requires_grad=True)
    g = torch.randn(2, 5, 12)
    y = adapted(x)
    y.backward(g)
    plain_x = x.detach().clone().requires_grad_()
    a, b = (p.detach().clone().requires_grad_() for p in (adapted.A, adapted.B))
    weight = effective(kind, layer.weight, mask, a, b, adapted.scaling)
    plain = nn.functional.linear(plain_x, weight, layer.bias)
    plain.backward(g)
    assert torch.equal(y, plain)
    assert torch.equal(adapted.A.grad, a.grad)
    assert torch.equal(adapted.B.grad, b.grad)
    assert torch.equal(x.grad, plain_x.grad)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("kind", MASKED)
def test_tiles_and_transposed_storage_change_nothing(kind, transposed):
    layer, mask = sparse_layer()
    whole = moved(layer, mask, kind)
    other = copy.deepcopy(layer)
    if transposed:
        other.weight = nn.Parameter(layer.weight.detach().T.contiguous())
    tiled = AdaptedLinear(other, kind, mask, rank=3, tile=24, transposed=transposed)
    with torch.no_grad():
        tiled.A.copy_(whole.A)
        tiled.B.copy_(whole.B)
    x = torch.randn(7, 8)
    for one in (whole, tiled):
        one(x).square().sum().backward()
    # The tiles add up in another order: rounding of sums of a dozen float32 numbers.
    torch.testing.assert_close(whole(x), tiled(x))
    torch.testing.assert_close(whole.A.grad, tiled.A.grad, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(whole.B.grad, tiled.B.grad, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", MASKED)
def test_nothing_per_weight_is_kept_for_the_backward_pass(kind):
    layer, mask = sparse_layer(64, 64, bias=False)
    adapted = AdaptedLinear(layer, kind, mask, rank=2)
    x = torch.randn(3, 64, requires_grad=True)
    known = {t.untyped_storage().data_ptr() for t in (layer.weight, adapted.A, adapted.B, x)}
    extra = []

    def note(t):
        if t.untyped_storage().data_ptr() not in known:
            extra.append(t.untyped_storage().nbytes())
        return t

    with saved_tensors_hooks(note, lambda t: t):
        adapted(x)
    assert sum(extra) == 0
    plain = []

    def note_plain(t):
        if t.untyped_storage().data_ptr() not in known:
            plain.append((t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()))
        return t

    with saved_tensors_hooks(note_plain, lambda t: t):
        weight = effective(kind, layer.weight, mask, adapted.A, adapted.B, 2.0)
        nn.functional.linear(x, weight)
    assert sum(n for _, n in set(plain)) >= 64 * 64  # what the plain form keeps


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_is_the_base_model_exactly(kind):
    layer, mask = sparse_layer()
    x = torch.randn(4, 8)
    found = AdaptedLinear(layer, kind, mask, rank=4)(x)
    if kind == "scale_lora":  # BA = r * (1/sqrt r)^2 is 1 up to rounding for other ranks than 4
        assert torch.equal(found, layer(x))
        return
    assert torch.equal(found, layer(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", MASKED)
def test_a_merge_keeps_the_mask_and_the_function(kind, dtype):
    layer, mask = sparse_layer(dtype=dtype)
    adapted = moved(layer, mask, kind)
    x = torch.randn(20, 8).to(dtype)
    y = adapted(x).detach().float()
    new = adapted.merged()
    assert new.dtype == dtype
    assert not new[~mask].any()
    tolerance = 30 * torch.finfo(dtype).eps * float(y.abs().max())
    assert (
        float((nn.functional.linear(x, new, layer.bias).float() - y).abs().max().detach())
        < tolerance
    )


def test_plain_lora_is_merged_only_on_demand():
    layer, mask = sparse_layer()
    adapted = moved(layer, mask, "lora")
    with pytest.raises(LLMError, match="makes the layer dense again"):
        adapted.merged()
    assert (adapted.merged(allow_dense=True)[~mask] != 0).any()
    assert not moved(layer, mask, "lora_prune").merged()[~mask].any()


def test_a_kept_weight_that_merges_to_zero_stays_in_the_mask():
    layer = nn.Linear(2, 1, bias=False, dtype=torch.float16)
    mask = torch.tensor([[True, False]])
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0]]))
    adapted = AdaptedLinear(layer, "mask_lora", mask, rank=1, alpha=1)
    with torch.no_grad():
        adapted.A.copy_(torch.tensor([[-1.0, 5.0]]))
        adapted.B.fill_(1.0)
    new = adapted.merged()
    assert new.tolist() == [[0, 0]]
    with torch.no_grad():
        layer.weight.copy_(new)
    again = AdaptedLinear(layer, "mask_lora", mask, rank=1, alpha=1)
    assert again.mask().tolist() == [[True, False]]
    with torch.no_grad():
        again.A.copy_(torch.tensor([[2.0, 2.0]]))
        again.B.fill_(1.0)
    assert again.merged().tolist() == [[2, 0]]  # revived inside the mask, nothing outside


def test_a_weight_that_is_zero_is_never_revived_by_products():
    layer, mask = sparse_layer()
    for kind in ("scale_lora", "hira", "spp"):
        assert not moved(layer, mask, kind).merged()[layer.weight == 0].any()


def test_refuses_layers_without_mask_and_masks_that_do_not_fit():
    layer, mask = sparse_layer()
    with pytest.raises(LLMError, match="has none"):
        AdaptedLinear(layer, "mask_lora", None)
    with pytest.raises(LLMError, match="does not fit"):
        AdaptedLinear(layer, "mask_lora", ~mask)
    with pytest.raises(ValueError, match="no adapter 'dora'"):
        AdaptedLinear(layer, "dora", mask)
    with pytest.raises(ValueError, match="rank 0"):
        AdaptedLinear(layer, "hira", mask, rank=0)


def test_attach_merge_and_detach_in_a_model():
    model = nn.Sequential(sparse_layer(8, 8)[0], nn.ReLU(), sparse_layer(8, 8, seed=1)[0])
    masks = {n: model.get_submodule(n).weight != 0 for n in ("0", "2")}
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(3, 8)
    adapters = attach(model, {"0": False, "2": False}, "mask_lora", masks, rank=2)
    with torch.no_grad():
        adapters["0"].B.fill_(0.1)
    y = model(x)
    detach(model, adapters)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    adapters = attach(model, {"0": False, "2": False}, "mask_lora", masks, rank=2)
    with torch.no_grad():
        adapters["0"].B.fill_(0.1)
    merge(model, adapters)
    assert type(model[0]) is nn.Linear
    torch.testing.assert_close(model(x), y)
    assert not model[0].weight[~masks["0"]].any()


def test_at_full_rank_mask_lora_reaches_the_masked_optimum_of_a_regression():
    torch.manual_seed(0)
    x, target = torch.randn(200, 6), torch.randn(200, 5)
    mask = torch.rand(5, 6) > 0.4
    best = 0.0
    for i in range(5):
        part = x[:, mask[i]]
        fit = torch.linalg.lstsq(part.double(), target[:, i].double()).solution
        best += float((part.double() @ fit - target[:, i].double()).square().sum())
    layer = nn.Linear(6, 5, bias=False)
    with torch.no_grad():
        layer.weight.masked_fill_(~mask, 0)
    adapted = AdaptedLinear(layer, "mask_lora", mask, rank=5, alpha=5)
    optimizer = torch.optim.LBFGS(
        [adapted.A, adapted.B], max_iter=400, line_search_fn="strong_wolfe", tolerance_grad=1e-9,
        tolerance_change=1e-12,
    )  # fmt: skip

    def closure():
        optimizer.zero_grad()
        loss = (adapted(x) - target).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert float(closure().detach()) == pytest.approx(best, rel=1e-4)


# Training ----------------------------------------------------------------------------------------


def test_known_schedule():
    assert [factor(i, 1000) for i in (0, 50, 100, 550)] == [0, 0.5, 1, 0.5]
    assert factor(999, 1000) > 0


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_masked_parameter_stays_zero_through_momentum(optimizer, dtype):
    torch.manual_seed(0)
    p = nn.Parameter(torch.randn(6, 6).to(dtype))
    mask = torch.rand(6, 6) > 0.5
    with torch.no_grad():
        p.mul_(mask)
    trainer = Trainer({"p": p}, {"p": 0.1}, steps=10, optimizer=optimizer, masks={"p": mask})
    start = p.detach().clone()
    for _ in range(10):
        (p.float() - 1).square().sum().backward()
        trainer.step()
    assert not p[~mask].any()
    assert (p != start)[mask].all()


@pytest.mark.parametrize(
    "groups", [(), ("weights",), ("mask_lora", "hira"), ("full", "norm")], ids=str
)
def test_refuses_groups_that_make_no_sense(groups):
    with pytest.raises(ValueError, match=r"cannot train|one adapter|full trains"):
        check_groups(groups)


OPT = {
    "1.3B": (2048, 8192, 24, 32, 542_720, 200_704, 643_072),
    "2.7B": (2560, 10240, 32, 32, 903_680, 332_800, 1_070_080),
    "6.7B": (4096, 16384, 32, 32, 1_445_888, 532_480, 1_712_128),
    "13B": (5120, 20480, 40, 40, 2_257_920, 829_440, 2_672_640),
    "30B": (7168, 28672, 48, 56, 3_791_872, 1_390_592, 4_487_168),
}


@pytest.mark.parametrize("name", OPT)
def test_known_trainable_counts_of_opt(name):
    import transformers

    width, ffn, depth, heads, bias, norm, union = OPT[name]
    config = transformers.OPTConfig(
        hidden_size=width, ffn_dim=ffn, num_hidden_layers=depth, num_attention_heads=heads,
        word_embed_proj_dim=width,
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.OPTForCausalLM(config)
    assert trainable_count(model, ("bias",)) == bias
    assert trainable_count(model, ("norm",)) == norm
    assert trainable_count(model, ("bias", "norm")) == union
    if name == "30B":
        assert trainable_count(model, ("mask_lora",)) == 99_090_432


def test_known_trainable_counts_of_llama_2_7b():
    import transformers

    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig())
    assert trainable_count(model, ("norm",)) == 266_240
    assert trainable_count(model, ("mask_lora",)) == 39_976_960
    assert trainable_count(model, ("bias",)) == 0
    assert not group_parameters(model, "bias")


def test_the_experts_of_a_mixture_are_counted_and_its_gate_is_not():
    import transformers

    config = transformers.Qwen3MoeConfig(
        vocab_size=32, hidden_size=32, intermediate_size=48, moe_intermediate_size=16,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        num_experts=4, num_experts_per_tok=2,
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.Qwen3MoeForCausalLM(config)
    attention = (32 + 32) + 2 * (32 + 16) + (32 + 32)  # q, k and v, o: inputs + outputs
    assert trainable_count(model, ("mask_lora",), rank=3) == 2 * 3 * (attention + 4 * 3 * 48)
