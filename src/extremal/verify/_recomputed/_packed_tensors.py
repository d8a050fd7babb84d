"""Reads a packed file of tensors with the standard library and NumPy; see compression-model.md."""

import json
import lzma
import zlib
from typing import Any

import numpy as np

from extremal.verify._rejected import Rejected

_SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1,
    "BOOL": 1,
}  # fmt: skip
_UNSIGNED = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}
_MAX = 1 << 36
_FILTERS: list[dict[str, Any]] = [
    {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20, "lc": 0, "lp": 0, "pb": 0}
]


def read(data: bytes) -> dict[str, tuple[str, tuple[int, ...], np.ndarray]]:
    """Return type, shape and bits (unsigned integers, flat) of every tensor.

    Raises:
        Rejected: The bytes are no packed file, or one of its streams does not fit.
    """
    if data[:8] != b"XTRLPACK":
        raise Rejected("the packed file does not begin as one.")
    place = 16 + int.from_bytes(data[8:16], "little")
    table = json.loads(_inflate(data[16:place], 15, 1 << 28))
    found: dict[str, tuple[str, tuple[int, ...], np.ndarray]] = {}
    for name, entry in table.items():
        if set(entry) != {"dtype", "shape", "form", "streams"} or entry["dtype"] not in _SIZES:
            raise Rejected(f"the entry of {name} in the packed file is malformed.")
        shape = tuple(entry["shape"])
        if any(type(n) is not int or n < 0 for n in shape):
            raise Rejected(f"the shape of {name} in the packed file is malformed.")
        count = int(np.prod(shape, dtype=np.int64)) if shape else 1
        streams: list[np.ndarray] = []
        for codec, size, whole in entry["streams"]:
            if type(size) is not int or type(whole) is not int or not 0 <= whole <= _MAX:
                raise Rejected(f"a stream of {name} is malformed.")
            raw = _decode(codec, data[place : place + size], whole)
            if len(raw) != whole:
                raise Rejected(f"a stream of {name} holds {len(raw)} bytes, not {whole}.")
            streams.append(np.frombuffer(raw, np.uint8))
            place += size
        found[name] = (entry["dtype"], shape, _bits(name, entry, count, streams))
    if place != len(data):
        raise Rejected("the packed file is longer or shorter than its streams.")
    return found


def _bits(name: str, entry: dict[str, Any], count: int, streams: list[np.ndarray]) -> np.ndarray:
    kind = _UNSIGNED[_SIZES[entry["dtype"]]]
    if entry["form"] == "dense":
        values = _values(entry["dtype"], kind, streams)
        places = np.arange(count)
    else:
        values = _values(entry["dtype"], kind, streams[1:])
        if entry["form"] == "bitmask":
            places = np.flatnonzero(np.unpackbits(streams[0], bitorder="little")[:count])
        elif entry["form"] == "delta":
            # A byte b < 255 is b zeros and then a value; 255 is 255 zeros.
            ends = streams[0] != 255
            places = np.cumsum(streams[0].astype(np.int64) + ends)[ends] - 1
        else:
            raise Rejected(f"{name} has the unknown form {entry['form']!r}.")
    if len(values) != len(places) or (len(places) and places[-1] >= count):
        raise Rejected(f"{name}: {len(values)} values for {len(places)} places of {count}.")
    bits = np.zeros(count, kind)
    bits[places] = values
    return bits


def _values(dtype: str, kind: str, streams: list[np.ndarray]) -> np.ndarray:
    if dtype != "F32":
        return np.frombuffer(streams[0].tobytes(), kind)
    three = streams[1].reshape(-1, 3).astype(np.uint32)
    rest = three @ np.array([1, 1 << 8, 1 << 16], np.uint32)
    sign, mantissa = rest >> 23, rest & ((1 << 23) - 1)
    return (sign << 31) | (streams[0].astype(np.uint32) << 23) | mantissa


def _decode(codec: Any, data: bytes, whole: int) -> bytes:
    if codec == "raw":
        return data
    if codec == "deflate":
        return _inflate(data, -15, whole)
    if codec == "lzma":
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
        try:
            return _ended(decoder, decoder.decompress(data, whole + 1))
        except lzma.LZMAError as error:
            raise Rejected(f"a stream of the packed file is damaged ({error}).") from error
    raise Rejected(f"the coding {codec!r} is unknown.")


def _inflate(data: bytes, window: int, most: int) -> bytes:
    decoder = zlib.decompressobj(window)
    try:
        return _ended(decoder, decoder.decompress(data, most + 1))
    except zlib.error as error:
        raise Rejected(f"a stream of the packed file is damaged ({error}).") from error


def _ended(decoder: Any, raw: bytes) -> bytes:
    if not decoder.eof or decoder.unused_data:
        raise Rejected("a stream of the packed file does not end where its coding does.")
    return raw
