"""llm: prune Hugging Face causal language models in a stream, repair them, save a plain folder."""

from ._config import PruneConfig
from ._errors import DampingWarning, FewTokensWarning, LLMError
from ._prune import LLMPruned, load_llm_pruned, prune

__all__ = [
    "DampingWarning",
    "FewTokensWarning",
    "LLMError",
    "LLMPruned",
    "PruneConfig",
    "load_llm_pruned",
    "prune",
]
