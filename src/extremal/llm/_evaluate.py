"""The verb `evaluate`: perplexity, by one stated protocol."""

import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from extremal.lab import Part, Table, command, progress, require, resolve, to_plain

from ._errors import LLMError
from ._load import load_model
from ._text import context_of, read_text, text_sha256, tokenizer_of, tokens_of

DEFINITION = (
    "perplexity = exp(mean over windows of the mean cross-entropy of the L - 1 predicted tokens); "
    "the text is tokenised once without special tokens and cut into floor(N / L) windows of L, the "
    "rest is left out"
)


@dataclass(frozen=True)
class EvaluateConfig:
    """What `llm.evaluate` measures."""

    text: str | None = None
    """A text file (.txt, .jsonl)."""
    window: int | None = None
    """Tokens of a window L; None is the model's context, at most 2048."""
    dense: str | None = None
    """The dense model's folder: its perplexity and its continuation stand beside."""
    prompt: str | None = None
    """Continue this, greedily, as a smoke test."""
    new_tokens: int = 48
    """Of the continuation."""
    tasks: tuple[str, ...] = ()
    """Also answer these tasks of lm-eval without examples, such as hellaswag; needs lm-eval."""
    task_folder: str | None = None
    """A folder with task files of your own, beside those that lm-eval knows."""
    limit: int | None = None
    """Of the questions of each task; None takes all."""
    batch_size: int = 8
    """Windows of a forward pass."""
    device: str = "cpu"
    """cpu or cuda."""


@dataclass(frozen=True)
class Evaluated:
    """Perplexity of a model on a text.

    Attributes:
        model: Its folder.
        perplexity: exp of the mean of `losses`.
        losses: Mean cross-entropy of every window, in nats a token.
        window: Tokens of a window.
        tokens: Of the text, before cutting.
        text_sha256: Of the text.
        continuation: Of the prompt, or "".
        dense: The same of the dense model, or None.
        accuracy: Share of right answers of each task of lm-eval ("acc", no examples).
    """

    model: str
    perplexity: float
    losses: tuple[float, ...]
    window: int
    tokens: int
    text_sha256: str
    continuation: str
    dense: "Evaluated | None"
    accuracy: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def standard_error(self) -> float | None:
        """Of the logarithm of the perplexity, from the spread between windows."""
        n = len(self.losses)
        return statistics.stdev(self.losses) / math.sqrt(n) if n > 1 else None

    @property
    def change(self) -> tuple[float, float] | None:
        """Log-perplexity minus the dense model's, with its standard error, paired by window."""
        if self.dense is None or len(self.losses) < 2:
            return None
        steps = [a - b for a, b in zip(self.losses, self.dense.losses, strict=True)]
        return statistics.mean(steps), statistics.stdev(steps) / math.sqrt(len(steps))

    def table(self) -> Table:
        """A row for the model, and one for the dense one."""
        rows = [
            [
                one.model,
                round(one.perplexity, 4),
                round(math.log(one.perplexity), 4),
                None if one.standard_error is None else round(one.standard_error, 4),
                len(one.losses),
                one.window,
                one.continuation or None,
                *[round(one.accuracy[t], 4) for t in self.accuracy],
                *([round(statistics.fmean(one.accuracy.values()), 4)] if one.accuracy else []),
            ]
            for one in (self, self.dense)
            if one is not None
        ]
        return Table(
            [
                "model",
                "perplexity",
                "log",
                "st. error",
                "windows",
                "L",
                "continuation",
                *[f"acc {t}" for t in self.accuracy],
                *(["mean acc"] if self.accuracy else []),
            ],
            rows,
            DEFINITION,
        )

    def as_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return {**to_plain(self), "definition": DEFINITION, "standard_error": self.standard_error}

    def part(self) -> Part:
        """The claim for a certificate: the mean loss over windows, with every sample."""
        from extremal.lab import seeds_part

        return seeds_part(
            "cross-entropy in nats a token, mean over windows",
            dict(enumerate(self.losses)),
            data=f"text {self.text_sha256[:12]}, windows of {self.window}",
            note=f"the seeds number the windows; {DEFINITION}",
        )


@command(options=EvaluateConfig, inputs=("model",), flags=())
def evaluate(
    model: str | Path, *, config: EvaluateConfig | None = None, **options: Any
) -> Evaluated:
    """Measure the perplexity of a model folder on a text.

    Args:
        model: The folder, dense or pruned.
        config: All options at once; or give any of its fields as keywords.
        **options: Fields of `EvaluateConfig`; they replace those of `config`.

    Returns:
        Perplexity and the loss of every window; the definition is printed with it.

    Raises:
        ValueError: An option makes no sense.
        LLMError: Folder or text cannot be used, or the text is shorter than one window.
    """
    from ._prune import device_of

    settings = resolve(EvaluateConfig, config, options)
    if settings.text is None:
        raise ValueError("evaluate needs text: give text, or --text FILE.")
    text = read_text(Path(settings.text))
    device = device_of(settings.device)
    dense = None
    if settings.dense is not None:
        dense = _one(Path(settings.dense), text, settings, device, None)
    return _one(Path(model), text, settings, device, dense)


def _one(
    path: Path,
    text: str,
    settings: EvaluateConfig,
    device: torch.device,
    dense: Evaluated | None,
) -> Evaluated:
    tokenizer = tokenizer_of(path)
    network = load_model(path, device)
    config: Any = network.config
    window = context_of(config, settings.window)
    tokens = tokens_of(tokenizer, text)
    losses = window_losses(network, tokens, window, settings.batch_size)
    continuation = ""
    if settings.prompt is not None:
        start = tokens_of(tokenizer, settings.prompt)
        room = max(0, min(settings.new_tokens, context_of(config, None) - len(start)))
        continuation = tokenizer.decode(continue_greedily(network, start, room)[len(start) :])
    accuracy = _answers(path, settings) if settings.tasks else {}
    return Evaluated(
        str(path), math.exp(statistics.fmean(losses)), tuple(losses), window, len(tokens),
        text_sha256(text), continuation, dense, accuracy,
    )  # fmt: skip


def _answers(path: Path, settings: EvaluateConfig) -> dict[str, float]:
    """Accuracy of each task, by lm-eval."""
    lm_eval: Any = require("lm_eval", "llm-eval")
    manager: Any = require("lm_eval.tasks", "llm-eval").TaskManager(
        include_path=settings.task_folder
    )
    try:
        found = lm_eval.simple_evaluate(
            model="hf", model_args={"pretrained": str(path)}, tasks=list(settings.tasks),
            num_fewshot=0, batch_size=settings.batch_size, device=settings.device,
            limit=settings.limit, task_manager=manager, bootstrap_iters=0,
        )  # fmt: skip
    except (ValueError, KeyError, OSError) as error:
        raise LLMError(
            f"lm-eval cannot run {', '.join(settings.tasks)} ({error}); its data sets are "
            "downloaded once, and --task-folder names tasks of your own."
        ) from error
    accuracy: dict[str, float] = {}
    for task in settings.tasks:
        values = found["results"].get(task, {})
        if "acc,none" not in values:
            raise LLMError(
                f"the task {task} measures no accuracy, but {', '.join(map(str, values)) or 'none'}"
                "; choose multiple-choice tasks."
            )
        accuracy[task] = float(values["acc,none"])
    return accuracy


@torch.no_grad()
def window_losses(
    model: nn.Module, tokens: Int64[Tensor, " n"], window: int, batch_size: int = 8
) -> list[float]:
    """Return the mean cross-entropy of each window's predicted tokens, in nats.

    Args:
        model: Gives logits (or an object with `logits`) for token ids.
        tokens: The whole text.
        window: L, at least 2.
        batch_size: Windows at a time.

    Raises:
        LLMError: The text is shorter than one window, or the logits are not finite.
    """
    count = len(tokens) // window
    if count == 0 or window < 2:
        raise LLMError(
            f"the text has {len(tokens)} tokens, too few for one window of {window}; give more "
            "text or a smaller --window."
        )
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    windows = tokens[: count * window].reshape(count, window)
    losses: list[float] = []
    with progress(count, "windows") as bar:
        for ids in windows.split(batch_size):
            given: Any = model(ids.to(device))
            logits: Tensor = given if isinstance(given, Tensor) else given.logits
            if not bool(torch.isfinite(logits).all()):
                raise LLMError("the model's logits are not finite on this text; it is broken.")
            each = nn.functional.cross_entropy(
                logits[:, :-1].float().transpose(1, 2), ids[:, 1:].to(device), reduction="none"
            )
            losses += each.double().mean(1).tolist()
            bar.advance(len(ids))
    return losses


@torch.no_grad()
def continue_greedily(
    model: nn.Module, start: Int64[Tensor, " n"], count: int
) -> Int64[Tensor, " m"]:
    """Return a text's tokens with `count` more, each the likeliest; no cache, for short texts."""
    device = next(model.parameters()).device
    ids = start[None].to(device)
    for _ in range(count):
        given: Any = model(ids)
        ids = torch.cat([ids, given.logits[:, -1:].argmax(-1)], 1)
    return ids[0].cpu()
