"""Tensors in one small file, bit for bit.

Each tensor is stored in the smallest of three forms: dense; a bitmask and the values that are not
zero; the gaps between those and the values. Then every stream of bytes is coded by whichever is
smallest: as it is, deflate, its Huffman coding alone, or LZMA.

Two things make the difference to compressing the dense file. Values of float32 are cut into their
exponents, which survivors of a pruning share (the large ones remain), and the other 24 bits,
which no coder shortens. And gaps are bytes, whose Huffman code comes within 1 % of the entropy of
a random mask, where deflate of a bitmask stays 10 to 20 % above it.

-0.0 is a value, not a zero: the file gives back every bit. The layout is written down in
docs/certificates/compression-model.md; the checker has a reader of its own.
"""

import json
import lzma
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from ._errors import CompressionError

MAGIC = b"XTRLPACK"
_DTYPES = {
    "F32": torch.float32, "F64": torch.float64, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_LZMA: list[dict[str, Any]] = [  # order-0 statistics, hardly a search: nothing repeats
    {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20, "lc": 0, "lp": 0, "pb": 0,
     "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3, "depth": 1, "nice_len": 32},
]  # fmt: skip
_SHORT = 1 << 20
_GAP = 255  # this byte means 255 zeros and no value


def pack_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the bytes of a packed file.

    Args:
        tensors: Any names, shapes and common types.

    Raises:
        CompressionError: A type is not among those that the form knows.

    Cost: a few hundred ns a value; LZMA is tried on exponents, gaps and masks only.
    """
    table: dict[str, Any] = {}
    body: list[bytes] = []
    for name, tensor in tensors.items():
        if tensor.dtype not in _CODES:
            raise CompressionError(
                f"{name} is {tensor.dtype}, which a packed file cannot hold; convert it to one of "
                f"{', '.join(_DTYPES)}."
            )
        bits = _bits(tensor)
        form, streams = _smallest_form(bits, tensor.dtype)
        body += [stream.data for stream in streams]
        table[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "form": form,
            "streams": [[s.codec, len(s.data), s.whole] for s in streams],
        }
    head = zlib.compress(json.dumps(table, separators=(",", ":")).encode(), 9)
    return MAGIC + len(head).to_bytes(8, "little") + head + b"".join(body)


def unpack_tensors(data: bytes) -> dict[str, Tensor]:
    """Return the tensors of a packed file.

    Raises:
        CompressionError: The bytes are no packed file, or are damaged.
    """
    try:
        if data[:8] != MAGIC:
            raise ValueError("it does not begin as one")
        length = int.from_bytes(data[8:16], "little")
        table = cast("dict[str, Any]", json.loads(zlib.decompress(data[16 : 16 + length])))
        place = 16 + length
        found: dict[str, Tensor] = {}
        for name, entry in table.items():
            raws: list[bytes] = []
            for codec, size, whole in entry["streams"]:
                raws.append(_decoded(codec, data[place : place + size]))
                place += size
                if len(raws[-1]) != whole:
                    raise ValueError(f"a stream of {name} has the wrong length")
            dtype = _DTYPES[entry["dtype"]]
            count = int(np.prod(entry["shape"], dtype=np.int64))
            bits = _expanded(entry["form"], raws, count, dtype)
            found[name] = _tensor(bits, dtype, entry["shape"])
        if place != len(data):
            raise ValueError("its end does not fit")
    except (ValueError, KeyError, TypeError, IndexError, zlib.error, lzma.LZMAError) as error:
        raise CompressionError(
            f"this is not a packed file, or it is damaged ({error}); export the network again."
        ) from error
    return found


def dense_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of all values, each in its own type."""
    return sum(t.numel() * t.element_size() for t in tensors.values())


def _bits(tensor: Tensor) -> np.ndarray:
    flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return np.frombuffer(flat.tobytes(), dtype=_BITS[tensor.element_size()])


def _tensor(bits: np.ndarray, dtype: torch.dtype, shape: list[int]) -> Tensor:
    raw = torch.from_numpy(np.frombuffer(bits.tobytes(), np.uint8).copy())
    return raw.view(dtype).reshape(shape) if bits.size else torch.zeros(shape, dtype=dtype)


class _Stream(NamedTuple):
    codec: str
    data: bytes
    whole: int  # bytes before coding


def _smallest_form(bits: np.ndarray, dtype: torch.dtype) -> tuple[str, list[_Stream]]:
    """The form with the fewest bytes, and its streams.

    Values weigh the same in both sparse forms, so these are compared by mask and gaps as coded.
    """
    alive = np.flatnonzero(bits)
    share = alive.size / max(bits.size, 1)
    if share > 0.97:  # a bit a value costs more than the zeros
        return "dense", _values(bits, dtype)
    mask = _coded(np.packbits(bits != 0, bitorder="little").tobytes())
    # Above a third a gap is mostly 0 or 1, and a byte that Huffman codes by a bit or more.
    gaps = _coded(_gaps(alive)) if share < 0.34 else mask
    values = _values(bits[alive], dtype)
    if len(gaps.data) < len(mask.data):
        return "delta", [gaps, *values]
    return "bitmask", [mask, *values]


def _gaps(alive: np.ndarray) -> bytes:
    """The zeros before each value, as bytes."""
    before = np.diff(alive, prepend=-1) - 1
    long, rest = np.divmod(before, _GAP)
    out = np.full(int(long.sum()) + alive.size, _GAP, np.uint8)
    out[np.cumsum(long + 1) - 1] = rest
    return out.tobytes()


def _places(gaps: np.ndarray) -> np.ndarray:
    ends = gaps < _GAP
    steps = gaps.astype(np.int64) + ends
    return np.cumsum(steps)[ends] - 1


def _values(bits: np.ndarray, dtype: torch.dtype) -> list[_Stream]:
    if dtype is torch.float32:
        exponents = ((bits >> 23) & 0xFF).astype(np.uint8)
        rest = ((bits & 0x7FFFFF) | ((bits >> 8) & 0x800000)).astype("<u4")
        three = rest.view(np.uint8).reshape(-1, 4)[:, :3]
        raw = np.ascontiguousarray(three).tobytes()
        return [_coded(exponents.tobytes()), _Stream("raw", raw, len(raw))]
    return [_coded(bits.tobytes())]


def _from_values(raws: list[bytes], dtype: torch.dtype) -> np.ndarray:
    if dtype is not torch.float32:
        return np.frombuffer(raws[0], _BITS[dtype.itemsize])
    exponents = np.frombuffer(raws[0], np.uint8).astype(np.uint32)
    three = np.frombuffer(raws[1], np.uint8).reshape(-1, 3).astype(np.uint32)
    rest = three[:, 0] | (three[:, 1] << 8) | (three[:, 2] << 16)
    return (exponents << 23) | (rest & 0x7FFFFF) | ((rest & 0x800000) << 8)


def _expanded(form: str, raws: list[bytes], count: int, dtype: torch.dtype) -> np.ndarray:
    if form == "dense":
        return _from_values(raws, dtype)
    bits = np.zeros(count, _BITS[dtype.itemsize])
    if form == "delta":
        places = _places(np.frombuffer(raws[0], np.uint8))
    elif form == "bitmask":
        mask = np.unpackbits(np.frombuffer(raws[0], np.uint8), count=count, bitorder="little")
        places = np.flatnonzero(mask)
    else:
        raise ValueError(f"the form {form!r} is unknown")
    bits[places] = _from_values(raws[1:], dtype)
    return bits


def _coded(raw: bytes) -> _Stream:
    """The smallest coding of some bytes."""
    best = _Stream("raw", raw, len(raw))
    if len(raw) < 16:
        return best
    huffman = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    tries = [("deflate", huffman.compress(raw) + huffman.flush())]
    tries.append(("lzma", lzma.compress(raw, lzma.FORMAT_RAW, filters=_LZMA)))
    if len(raw) < _SHORT:  # matches pay in short files of repeated values only; they are slow
        tries.append(("deflate", zlib.compress(raw, 9, -15)))
    for codec, data in tries:
        if len(data) < len(best.data):
            best = _Stream(codec, data, len(raw))
    return best


def _decoded(codec: str, data: bytes) -> bytes:
    if codec == "raw":
        return data
    if codec == "deflate":
        return zlib.decompress(data, -15)
    if codec == "lzma":
        return lzma.decompress(data, lzma.FORMAT_RAW, filters=_LZMA)
    raise ValueError(f"the codec {codec!r} is unknown")
