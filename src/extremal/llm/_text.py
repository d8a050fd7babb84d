"""Text to token windows of one length.

    packed   the whole text as one stream of tokens, cut at random places
    crop     whole documents longer than the window, each cut at a random place

A `.txt` file holds documents separated by blank lines; a `.jsonl` file one object a line with the
field "text". Only what is drawn is used; the draw depends on the seed alone.
"""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from extremal.lab import generator, require

from ._errors import LLMError


def tokenizer_of(folder: Path) -> Any:
    """Return the folder's tokenizer.

    Raises:
        LLMError: It has none.
    """
    transformers = require("transformers", "llm")
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise LLMError(f"{folder} has no tokenizer that transformers reads ({error}).") from error


def read_text(path: Path) -> str:
    """Return a text file whole; of `.jsonl` the texts joined by blank lines.

    Raises:
        LLMError: It is missing, empty or of another form.
    """
    try:
        raw = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            raw = "\n\n".join(json.loads(line)["text"] for line in raw.splitlines() if line)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LLMError(f"{path} cannot be read as text ({error}).") from error
    if not raw.strip():
        raise LLMError(f"{path} is empty; give text to calibrate on.")
    return raw


def tokens_of(tokenizer: Any, text: str) -> Int64[Tensor, " n"]:
    """Return the tokens of a text, without any special ones added."""
    logger = logging.getLogger("transformers.tokenization_utils_base")
    level = logger.level
    logger.setLevel(logging.ERROR)  # "longer than the maximum": it is cut into windows below
    try:
        found = tokenizer(text, add_special_tokens=False)["input_ids"]
    finally:
        logger.setLevel(level)
    return torch.tensor(found, dtype=torch.int64)


def draw_windows(
    tokenizer: Any,
    text: str,
    *,
    window: int,
    samples: int,
    seed: int,
    mode: str = "packed",
    stream: str = "calibration",
) -> Int64[Tensor, "samples window"]:
    """Return `samples` windows of `window` tokens.

    Raises:
        LLMError: The text, or every document of it, is shorter than the window.
    """
    random = generator(seed, stream)
    if mode == "crop":
        documents = [tokens_of(tokenizer, d) for d in text.split("\n\n") if d.strip()]
        long = [d for d in documents if len(d) >= window]
        if not long:
            longest = max((len(d) for d in documents), default=0)
            raise LLMError(
                f"all {len(documents)} documents are too short: the longest has {longest} tokens, "
                f"the window {window}. Use --mode packed, or a smaller --window."
            )
        chosen = [long[i] for i in random.integers(len(long), size=samples)]
        starts = [int(random.integers(len(d) - window + 1)) for d in chosen]
        return torch.stack([d[s : s + window] for d, s in zip(chosen, starts, strict=True)])
    tokens = tokens_of(tokenizer, text)
    if len(tokens) < window:
        raise LLMError(
            f"the text has {len(tokens)} tokens, fewer than the window of {window}; give more "
            "text or a smaller --window."
        )
    starts = random.integers(len(tokens) - window + 1, size=samples)
    return torch.stack([tokens[s : s + window] for s in starts])


def text_sha256(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def context_of(config: Any, window: int | None, limit: int = 2048) -> int:
    """Return the window: what was asked for, else the model's context up to `limit` tokens.

    Raises:
        ValueError: The window is longer than the context, or shorter than 2.
    """
    context = int(getattr(config, "max_position_embeddings", None) or limit)
    if window is None:
        return min(context, limit)
    if not 2 <= window <= context:
        raise ValueError(
            f"a window of {window} tokens is outside 2..{context}, the model's context."
        )
    return window
