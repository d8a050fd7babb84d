"""llm: prune Hugging Face causal language models in a stream, repair them, save a plain folder."""

from ._adapters import AdaptedLinear, attach, detach, effective, merge
from ._archive import PackConfig, Packed, UnpackConfig, pack, unpack
from ._config import PruneConfig
from ._errors import FewTokensWarning, LLMError
from ._evaluate import EvaluateConfig, Evaluated, evaluate
from ._prune import LLMPruned, load_llm_pruned, prune
from ._retrain import RetrainConfig, Retrained, load_retrained, retrain
from ._train import trainable_count

__all__ = [
    "AdaptedLinear",
    "EvaluateConfig",
    "Evaluated",
    "FewTokensWarning",
    "LLMError",
    "LLMPruned",
    "PackConfig",
    "Packed",
    "PruneConfig",
    "RetrainConfig",
    "Retrained",
    "UnpackConfig",
    "attach",
    "detach",
    "effective",
    "evaluate",
    "load_llm_pruned",
    "load_retrained",
    "merge",
    "pack",
    "prune",
    "retrain",
    "trainable_count",
    "unpack",
]
