"""PEFT itself reads our adapters and writes ours: needs `peft`, in an environment of its own."""

import pytest
import torch

from extremal import llm
from extremal.llm._load import open_sparse

from .conftest import write_model

transformers = pytest.importorskip("transformers")
IDS = torch.arange(3, 19)[None]


def load(path):
    return transformers.AutoModelForCausalLM.from_pretrained(path, local_files_only=True).eval()


@pytest.mark.peer
@pytest.mark.parametrize(
    ("kind", "family"), [("lora", "llama"), ("lora", "gpt2"), ("hira", "llama")]
)  # PEFT's HiRA knows no Conv1D
def test_peft_computes_the_same_with_our_files_and_we_with_its(kind, family, tmp_path):
    peft = pytest.importorskip("peft", reason="pip install peft, in an environment of its own")
    llm.prune(write_model(tmp_path / "m", family), out=tmp_path / "p", criterion="magnitude")
    sparse = open_sparse(tmp_path / "p")
    ours = load(tmp_path / "p")
    adapters = llm.attach(ours, sparse.transposed, kind, sparse.masks, rank=3, alpha=7)
    torch.manual_seed(1)
    with torch.no_grad():
        for one in adapters.values():
            one.B.copy_(0.1 * torch.randn(one.B.shape))
    llm.save_adapters(adapters, tmp_path / "a", base=str(tmp_path / "p"))
    theirs = peft.PeftModel.from_pretrained(load(tmp_path / "p"), str(tmp_path / "a")).eval()
    with torch.no_grad():
        # Sums of products in another order, over three blocks.
        torch.testing.assert_close(theirs(IDS).logits, ours(IDS).logits, rtol=1e-4, atol=1e-4)

    last = list(sparse.transposed)[-1].rpartition(".")[2]
    options = {"lora": {"lora_alpha": 12}, "hira": {}}[kind]
    make = {"lora": peft.LoraConfig, "hira": peft.HiraConfig}[kind]
    theirs = peft.get_peft_model(load(tmp_path / "p"), make(r=4, target_modules=[last], **options))
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if f"{kind}_B" in name:
                p.copy_(0.1 * torch.randn(p.shape))
    theirs.save_pretrained(tmp_path / "b")
    again = load(tmp_path / "p")
    found = llm.load_adapters(again, tmp_path / "b", sparse.transposed, sparse.masks)
    assert len(found) == (6 if family == "gpt2" else 3)  # two of GPT-2's layers are called c_proj
    with torch.no_grad():
        wanted = theirs.eval()(IDS).logits
        torch.testing.assert_close(again(IDS).logits, wanted, rtol=1e-4, atol=1e-4)
