"""Small random models of many families, as folders that transformers reads, with a tokenizer."""

import json
import string

import pytest
import torch

transformers = pytest.importorskip("transformers")

ALPHABET = string.ascii_lowercase + " .\n"
SIZE = {"vocab_size": len(ALPHABET) + 3, "max_position_embeddings": 32}
_LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}

FAMILIES = {
    "llama": ("LlamaConfig", _LLAMA),
    "mistral": ("MistralConfig", {**_LLAMA, "sliding_window": 8}),
    "qwen2": ("Qwen2Config", {**_LLAMA, "use_sliding_window": True, "max_window_layers": 1}),
    "qwen3": ("Qwen3Config", {**_LLAMA, "head_dim": 8}),
    "gemma": ("GemmaConfig", {**_LLAMA, "head_dim": 8, "tie_word_embeddings": True}),
    "gemma2": (
        "Gemma2Config",
        {**_LLAMA, "head_dim": 8, "sliding_window": 8, "tie_word_embeddings": True},
    ),
    "opt": (
        "OPTConfig",
        {
            "hidden_size": 32,
            "ffn_dim": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "word_embed_proj_dim": 32,
            "dropout": 0.1,
        },
    ),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 32}),
    "gpt-neox": (
        "GPTNeoXConfig",
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
        },
    ),
    "phi3": ("Phi3Config", _LLAMA),
    "gpt-j": (
        "GPTJConfig",
        {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 32, "rotary_dim": 8},
    ),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 3, "n_head": 4}),
    "falcon": (
        "FalconConfig",
        {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4},
    ),
    "opt-350m": (
        "OPTConfig",
        {
            "hidden_size": 32,
            "ffn_dim": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "word_embed_proj_dim": 16,
            "do_layer_norm_before": False,
        },
    ),
    "phi": (
        "PhiConfig",
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
        },
    ),
}


def text_of(seed, length=6000):
    """Words of random letters: enough structure for a tokenizer, none to learn by heart."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(len(ALPHABET), (length,), generator=generator).tolist()
    return "".join(ALPHABET[i] for i in index) + "a"


def write_tokenizer(folder):
    """A tokenizer of single characters."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {c: i for i, c in enumerate(["<unk>", "<s>", "</s>", *ALPHABET])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_model(folder, family="llama", dtype=torch.float32, shard="5GB", **changes):
    """Save a random model of a family with its tokenizer."""
    name, options = FAMILIES[family]
    size = {**SIZE, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = getattr(transformers, name)(**{**size, **options, **changes})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():  # beyond 0.02: the blocks shall do something
            if parameter.dim() >= 2:
                parameter.mul_(5)
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape).to(dtype))
    model.save_pretrained(folder, max_shard_size=shard)
    write_tokenizer(folder)
    return folder


@pytest.fixture(autouse=True, scope="session")
def quiet():
    """No progress bars of transformers between the dots."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A small Llama folder, in two shards."""
    return write_model(tmp_path_factory.mktemp("tiny"), shard="40KB")


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """A text file."""
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text(text_of(1))
    return str(file)
