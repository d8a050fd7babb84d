"""Masks as packed bits: one bit a weight, rows as stored, the first column in the lowest bit."""

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor


def pack_bits(mask: Bool[Tensor, "r c"]) -> UInt8[Tensor, "r b"]:
    """Return ceil(c / 8) bytes for each row.

    Example:
        >>> pack_bits(torch.tensor([[1, 0, 0, 1, 1, 0, 1, 0, 0, 1]]).bool()).tolist()
        [[89, 2]]
    """
    if mask.is_cuda:  # packed there: an eighth of the bytes comes back
        padded = torch.nn.functional.pad(mask, (0, -mask.shape[1] % 8)).to(torch.uint8)
        places = 2 ** torch.arange(8, dtype=torch.uint8, device=mask.device)
        eights = padded.reshape(len(mask), -1, 8) * places
        return eights.sum(2, dtype=torch.uint8).cpu()
    return torch.from_numpy(np.packbits(mask.cpu().numpy(), axis=1, bitorder="little"))


def unpack_bits(packed: UInt8[Tensor, "r b"], columns: int) -> Bool[Tensor, "r c"]:
    """Return the first `columns` bits of each row.

    Example:
        >>> unpack_bits(torch.tensor([[89, 2]], dtype=torch.uint8), 10).int().tolist()
        [[1, 0, 0, 1, 1, 0, 1, 0, 0, 1]]
    """
    bits = np.unpackbits(packed.cpu().numpy(), axis=1, count=columns, bitorder="little")
    return torch.from_numpy(bits.astype(bool))
