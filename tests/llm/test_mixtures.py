"""Mixtures of experts: pruned expert by expert, or refused by name."""

import pytest
import torch

from extremal import llm, verify
from extremal.llm import LLMError
from extremal.llm._experts import take_apart

from .conftest import SIZE, write_tokenizer
from .test_prune import load, prune, tensors

transformers = pytest.importorskip("transformers")

MIXTURES = {
    "qwen3-moe": ("Qwen3MoeConfig", {"moe_intermediate_size": 16, "head_dim": 8, "num_experts": 4}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 4}),
    "qwen2-moe": ("Qwen2MoeConfig", {"moe_intermediate_size": 16, "num_experts": 4,
                                     "shared_expert_intermediate_size": 16}),
    "phimoe": ("PhimoeConfig", {"num_local_experts": 4}),
}  # fmt: skip


def mixture(folder, family, **changes):
    """A random mixture of experts, with a tokenizer."""
    name, options = MIXTURES[family]
    config = getattr(transformers, name)(**{
        **SIZE, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "num_experts_per_tok": 2,
        "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, **options, **changes,
    })  # fmt: skip
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.copy_(0.3 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


@pytest.mark.parametrize("family", MIXTURES)
def test_every_expert_of_a_mixture_is_pruned_and_its_gate_is_not(family, tmp_path, text):
    model = mixture(tmp_path / "moe", family)
    options = {"update": "ls", "repair": "reconstruct", "epochs": 1, "samples": 24}
    result = prune(model, tmp_path / "out", text, pattern="2:4", **options)
    assert verify.file(result.certificate).accepted
    before, after = tensors(model), tensors(tmp_path / "out")
    experts = [n for n in before if ".experts." in n]
    assert len(experts) == 2 * 4 * 3
    for name in experts:
        groups = (after[name] != 0).reshape(-1, 4).sum(1)
        assert int(groups.max()) <= 2
        assert float((after[name] != 0).float().mean()) > 0.45
    gates = [n for n in before if n.endswith((".gate.weight", "router.weight", "_gate.weight"))]
    assert len(gates) >= 2
    assert all(torch.equal(before[n], after[n]) for n in gates)
    # Loaded again, every fused tensor of transformers holds the pruned experts.
    loaded = load(tmp_path / "out").eval()
    fused = [m for m in loaded.modules() if getattr(m, "gate_up_proj", None) is not None
             and isinstance(m.gate_up_proj, torch.Tensor)]  # fmt: skip
    assert len(fused) == 2
    assert all(float((m.gate_up_proj == 0).float().mean()) == 0.5 for m in fused)
    assert torch.isfinite(loaded(torch.arange(3, 19)[None]).logits).all()
    tuned = llm.retrain(
        tmp_path / "out", out=tmp_path / "tuned", text=text, steps=3, batch_size=2, window=16
    )
    assert verify.file(tuned.certificate).accepted
    changed = {n for n, v in tensors(tmp_path / "tuned").items() if not torch.equal(v, after[n])}
    assert any(".experts." in n for n in changed)


def test_a_mixture_taken_apart_computes_the_same(tmp_path):
    folder = mixture(tmp_path / "moe", "mixtral")
    model = load(folder).eval()
    ids = torch.arange(3, 19)[None]
    with torch.no_grad():
        wanted = model(ids).logits
        assert len(take_apart(model, ("w1", "w3", "w2"))) == 2
        # Two orders of adding up the same few float32 products.
        torch.testing.assert_close(model(ids).logits, wanted, rtol=1e-4, atol=1e-5)


def test_an_expert_that_few_tokens_reach_is_pruned_by_magnitude_and_named(tmp_path, text):
    model = mixture(tmp_path / "moe", "mixtral", num_local_experts=16)
    result = prune(model, tmp_path / "out", text, samples=6, criterion="sparsegpt")
    notes = [x.note for x in result.layers if "experts" in x.name]
    assert any("magnitude, no update" in n for n in notes)
    assert verify.file(result.certificate).accepted


def test_mixtures_that_cannot_be_taken_apart_are_refused_by_name(tmp_path, text):
    config = transformers.GraniteMoeConfig(
        vocab_size=32, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "moe")
    with pytest.raises(LLMError, match=r"block_sparse_moe\.\w+"):
        prune(tmp_path / "moe", tmp_path / "out", criterion="magnitude")


def test_experts_that_compute_something_else_are_refused(tmp_path):
    model = load(mixture(tmp_path / "moe", "mixtral"))
    kind = type(model.model.layers[0].mlp.experts)
    original = kind.forward
    try:
        kind.forward = lambda self, *given: 2 * original(self, *given)
        with pytest.raises(LLMError, match=r"mlp\.experts .* do not compute"):
            take_apart(model, ("w1", "w3", "w2"))
    finally:
        kind.forward = original
