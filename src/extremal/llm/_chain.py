"""Activations that flow from block to block, kept in memory-mapped files or on the device.

The first block's inputs and the keyword arguments of every block (masks, rotary tables, positions)
are taken from one pass in which every block is replaced by a recorder. They may differ from block
to block (sliding windows) but not from window to window: this is checked.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from ._errors import LLMError
from ._skeleton import Skeleton

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Activations:
    """Hidden states of all windows (windows, tokens, width), in one file or in memory."""

    def __init__(
        self,
        path: Path | None,
        shape: tuple[int, int, int],
        dtype: torch.dtype,
        device: torch.device | None = None,
    ) -> None:
        """Map a file, which is created at its full size; or without one, allocate on a device."""
        self.path = path
        self.shape = shape
        if path is None:
            self.values = torch.empty(shape, dtype=dtype, device=device)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        size = shape[0] * shape[1] * shape[2]
        self.values = torch.from_file(str(path), shared=True, size=size, dtype=dtype).view(shape)

    def __len__(self) -> int:
        return self.shape[0]

    def sync(self) -> None:
        """Wait until the file is on the disk, where there is one."""
        if self.path is None:
            return
        handle = os.open(self.path, os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def batches(windows: int, size: int) -> Iterator[slice]:
    """Yield the slices of consecutive batches."""
    for start in range(0, windows, size):
        yield slice(start, min(start + size, windows))


class _Stop(Exception):
    """The last block was reached."""


class _Recorder(nn.Module):
    """Stands for a block: notes its arguments and hands its input on."""

    def __init__(self, place: nn.Module, last: bool, as_tuple: bool, seen: list[Any]) -> None:
        super().__init__()
        # Some models ask their blocks for attributes, such as the kind of attention.
        self.__dict__["place"] = place
        self.last, self.as_tuple, self.seen = last, as_tuple, seen

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["place"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if args:
            hidden, args = args[0], args[1:]
        else:
            kwargs = dict(kwargs)
            hidden = kwargs.pop("hidden_states")
        self.seen.append((hidden, args, kwargs))
        if self.last:
            raise _Stop
        return (hidden,) if self.as_tuple else hidden


def capture(
    skeleton: Skeleton,
    ids: Int[Tensor, "windows tokens"],
    store_of: Callable[[tuple[int, int, int], torch.dtype], Activations],
    batch: int,
    *,
    extra: int = 0,
) -> tuple[Activations, dict[int, list[Arguments]]]:
    """Run the embeddings; return the first block's inputs and all blocks' further arguments.

    Args:
        skeleton: The model.
        ids: Token windows, all of one length.
        store_of: Makes the store for the activations, of a shape and a type.
        batch: Windows at a time.
        extra: Another batch size that will be run, whose arguments are needed too.

    Returns:
        The activations, and for each batch size the arguments of each block.

    Raises:
        LLMError: The arguments of a block depend on the tokens.
    """
    model: Any = skeleton.model
    blocks = list(skeleton.blocks)
    arguments: dict[int, list[Arguments]] = {}
    store: Activations | None = None
    for as_tuple in (False, True):
        try:
            with skeleton.on_call(), torch.no_grad():
                pieces = list(batches(len(ids), batch))
                others = list(batches(len(ids), extra)) if extra and extra != batch else []
                for part in [*pieces, *others[:1], *others[1:][-1:]]:
                    seen: list[Any] = []
                    for i, block in enumerate(blocks):
                        last = i == len(blocks) - 1
                        skeleton.blocks[i] = _Recorder(block, last, as_tuple, seen)
                    with suppress(_Stop):
                        model(input_ids=ids[part].to(skeleton.device), use_cache=False)
                    hidden = seen[0][0]
                    if len(seen) != len(blocks) or any(s[0] is not hidden for s in seen):
                        raise LookupError  # blocks hand on something else than a tensor
                    if store is None:
                        shape = (len(ids), hidden.shape[1], hidden.shape[2])
                        store = store_of(shape, hidden.dtype)
                    store.values[part] = hidden
                    rest = [(s[1], s[2]) for s in seen]
                    size = hidden.shape[0]
                    if size in arguments and not _same(arguments[size], rest):
                        raise LLMError(
                            f"the blocks of {type(model).__name__} take arguments that depend on "
                            "the tokens, which streaming cannot keep apart; it is not supported."
                        )
                    arguments.setdefault(size, rest)
            break
        except (LookupError, IndexError, TypeError):
            if as_tuple:
                raise
        finally:
            for i, block in enumerate(blocks):
                skeleton.blocks[i] = block
    assert store is not None
    store.sync()
    return store, arguments


def run_block(block: nn.Module, hidden: Tensor, arguments: Arguments) -> Tensor:
    """Return a block's hidden states; it may return a tensor or a tuple that begins with one."""
    args, kwargs = arguments
    given = block(hidden, *args, **kwargs)
    found = given[0] if isinstance(given, (tuple, list)) else given
    if not isinstance(found, Tensor) or found.shape != hidden.shape:
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise LLMError(
            f"{type(block).__name__} turns {list(hidden.shape)} into {shape}, so its output is "
            "not the next block's input; this architecture is not supported."
        )
    return found


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(two, Tensor) and one.shape == two.shape and bool((one == two).all())
    if isinstance(one, dict):
        return (
            isinstance(two, dict)
            and one.keys() == two.keys()
            and all(_same(v, two[k]) for k, v in one.items())
        )
    if isinstance(one, (list, tuple)):
        return (
            isinstance(two, (list, tuple))
            and len(one) == len(two)
            and all(_same(a, b) for a, b in zip(one, two, strict=True))
        )
    return type(one) is type(two)
