"""llm: prune Hugging Face causal language models in a stream, repair them, save a plain folder."""

from ._adapter_files import AdapterFile, load_adapters, read_adapters, save_adapters
from ._adapters import AdaptedLinear, attach, detach, effective, merge
from ._archive import PackConfig, Packed, UnpackConfig, pack, unpack
from ._config import PruneConfig
from ._errors import FewTokensWarning, LLMError
from ._evaluate import EvaluateConfig, Evaluated, evaluate
from ._kernels import Timed, use_2_4
from ._prune import LLMPruned, load_llm_pruned, prune
from ._retrain import RetrainConfig, Retrained, load_retrained, retrain
from ._train import trainable_count

__all__ = [
    "AdaptedLinear",
    "AdapterFile",
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
    "Timed",
    "UnpackConfig",
    "attach",
    "detach",
    "effective",
    "evaluate",
    "load_adapters",
    "load_llm_pruned",
    "load_retrained",
    "merge",
    "pack",
    "prune",
    "read_adapters",
    "retrain",
    "save_adapters",
    "trainable_count",
    "unpack",
    "use_2_4",
]
