"""One file of CIFAR's "python version", read without trusting it.

These files are pickles, and a pickle may call anything. This reader lets it build NumPy arrays,
bytes, strings, numbers, lists and dictionaries, and refuses every other name. It is the only file
of the library that touches `pickle`.
"""

import io
import pickle  # noqa: TID251 - CIFAR is published as pickles; the reader below is restricted

import numpy as np

from ._errors import TrainingError


def _array_shell(kind: type, shape: tuple[int, ...], typecode: bytes) -> np.ndarray:
    """The empty array that a pickled array is poured into, whatever the pickle asks for."""
    del kind, shape, typecode
    return np.empty(0, np.uint8)


def _bytes_of(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 pickles them in the old protocols."""
    return text.encode("latin1" if encoding == "latin1" else "ascii")


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _array_shell,
    ("numpy._core.multiarray", "_reconstruct"): _array_shell,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _bytes_of,
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> object:
        allowed = _ALLOWED.get((module_name, global_name))
        if allowed is None:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        return allowed


def read_python_batch(raw: bytes, name: str) -> dict[str, object]:
    """Return the dictionary in `raw`, with its keys as strings.

    Raises:
        TrainingError: The file is damaged, no dictionary, or wants more than arrays, bytes,
            strings, numbers, lists and dictionaries.
    """
    try:
        content: object = _Restricted(io.BytesIO(raw), encoding="bytes").load()
    except Exception as error:  # damaged pickles raise anything, all meaning this
        raise TrainingError(
            f"{name} is not a python batch of CIFAR ({type(error).__name__}: {error}); "
            "it was not loaded. Use the files of the original distribution, or the images."
        ) from error
    if not isinstance(content, dict):
        raise TrainingError(
            f"{name} holds a {type(content).__name__} where a python batch of CIFAR is a "
            "dictionary; use the files of the original distribution."
        )
    return {k.decode("latin1") if isinstance(k, bytes) else str(k): v for k, v in content.items()}
