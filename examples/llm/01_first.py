"""Prune a small random Llama in a stream, retrain it, check it, and pack it.

Run: python examples/llm/01_first.py
"""

import json
import string
import tempfile
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from extremal import llm, verify

folder = Path(tempfile.mkdtemp())

# A model folder as transformers writes it; yours comes from elsewhere.
letters = string.ascii_lowercase + " ."
config = LlamaConfig(
    vocab_size=len(letters) + 1, hidden_size=32, intermediate_size=64, num_hidden_layers=3,
    num_attention_heads=4, max_position_embeddings=64,
)  # fmt: skip
torch.manual_seed(0)
LlamaForCausalLM(config).save_pretrained(folder / "dense")
tokenizer = Tokenizer(models.WordLevel({c: i for i, c in enumerate([*letters, "?"])}, "?"))
tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
tokenizer.save(str(folder / "dense" / "tokenizer.json"))
about = {"tokenizer_class": "PreTrainedTokenizerFast"}
(folder / "dense" / "tokenizer_config.json").write_text(json.dumps(about))
text = folder / "text.txt"
text.write_text("the cat sat on the mat. the dog sat on the log. " * 60)

# One block at a time: masks by Wanda in the pattern 2:4, least squares for what is kept.
pruned = llm.prune(
    folder / "dense", out=folder / "pruned", pattern="2:4", update="ls", calibration=str(text),
    samples=32, window=32,
)  # fmt: skip
print(pruned.table().as_text())

# Few parameters, zeros kept: an adapter under the mask, and the norms.
options = {"text": str(text), "window": 32}
trained = llm.retrain(folder / "pruned", out=folder / "trained", steps=60, **options)
print(trained.table().as_text())

found = llm.evaluate(folder / "trained", dense=str(folder / "dense"), **options)
print(found.table().as_text())

# Independent code reads the folder again.
print(verify.file(trained.certificate).as_text())

# Without its zeros the folder is smaller, and comes back bit for bit.
packed = llm.pack(folder / "trained", out=folder / "packed")
llm.unpack(folder / "packed", out=folder / "again")
one, two = (folder / name / "model.safetensors" for name in ("trained", "again"))
assert one.read_bytes() == two.read_bytes()
print(f"{packed.packed_bytes / packed.dense_bytes:.1%} of the dense bytes")
