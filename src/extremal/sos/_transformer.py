"""The paper's encoder-decoder: terms in, monomials out, one position a term.

Monomial embedding: a term is the sum of an embedding of its coefficient (a small network), one of
each exponent and one of the operator. The decoder's state is expanded to n + 2 vectors, and heads
tied to the tables give all exponents of the next monomial at once.

Source: Pelleriti et al., arXiv:2510.13444; Kera et al., arXiv:2505.23696 (monomial embedding).
Differs from them: sizes are options (a laptop trains a small one), the coefficients that are seen
in training are seen in use, and decoding reads the whole prefix again (no cache).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ._polynomial import Polynomial
from ._sumset import Rows, unique_rows

BEGIN, PLUS, END = 0, 1, 2  # operators


@dataclass(frozen=True)
class Shape:
    """Of the network."""

    variables: int
    exponent: int = 40
    width: int = 128
    heads: int = 4
    encoder: int = 2
    decoder: int = 2
    inner: int = 256
    positions: int = 2048


class Transformer(nn.Module):
    """Encoder of terms, decoder of basis monomials."""

    def __init__(self, shape: Shape) -> None:
        """Make a network with random weights."""
        super().__init__()
        self.shape = shape
        d, n = shape.width, shape.variables
        self.coefficient = nn.Sequential(nn.Linear(2, 2 * d), nn.ReLU(), nn.Linear(2 * d, d))
        self.exponents = nn.Parameter(torch.randn(n, shape.exponent + 1, d) / math.sqrt(d))
        self.operators = nn.Parameter(torch.randn(3, d) / math.sqrt(d))
        self.place = nn.Embedding(shape.positions, d)
        block: dict[str, Any] = {
            "nhead": shape.heads,
            "dim_feedforward": shape.inner,
            "batch_first": True,
        }
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(d, dropout=0.0, **block),
            shape.encoder,
            enable_nested_tensor=False,
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(d, dropout=0.0, **block), shape.decoder
        )
        self.expand = nn.Linear(d, (n + 1) * d)

    def embed(
        self, rows: Int[Tensor, "b t n"], operators: Int[Tensor, "b t"],
        coefficients: Float[Tensor, "b t 2"] | None,
    ) -> Float[Tensor, "b t d"]:  # fmt: skip
        """Return one vector a term."""
        n = self.shape.variables
        h = self.operators[operators]
        h = h + self.exponents[torch.arange(n), rows].sum(2)
        if coefficients is not None:
            h = h + self.coefficient(coefficients)
        return h + self.place(torch.arange(rows.shape[1]))

    def forward(
        self,
        terms: Int[Tensor, "b s n"],
        coefficients: Float[Tensor, "b s 2"],
        absent: Tensor,
        rows: Int[Tensor, "b t n"],
        operators: Int[Tensor, "b t"],
    ) -> tuple[Tensor, Tensor]:
        """Return logits of the exponents (b t n e) and of the operator (b t 3) of the next term."""
        ones = torch.full(terms.shape[:2], PLUS)
        memory = self.encoder(self.embed(terms, ones, coefficients), src_key_padding_mask=absent)
        length = rows.shape[1]
        mask = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
        h = self.decoder(
            self.embed(rows, operators, None), memory, tgt_mask=mask,
            memory_key_padding_mask=absent,
        )  # fmt: skip
        n, d = self.shape.variables, self.shape.width
        parts = self.expand(h).reshape(*h.shape[:2], n + 1, d)
        exponents = torch.einsum("btnd,ned->btne", parts[:, :, :n], self.exponents)
        return exponents, parts[:, :, n] @ self.operators.T


def inputs(p: Polynomial, support_only: bool = False) -> tuple[Tensor, Tensor]:
    """Return sorted terms and their coefficients as sign and size."""
    order = np.lexsort(p.support.T[::-1])[::-1].copy()
    c = p.floats[order] / float(np.abs(p.floats).max())
    size = np.log10(np.maximum(np.abs(c), 1e-12)) / 4
    features = np.stack([np.sign(c), size], 1)
    if support_only:
        features = np.zeros_like(features)
    return (
        torch.as_tensor(p.support[order]),
        torch.as_tensor(features, dtype=torch.float32),
    )


def _padded(items: list[Tensor]) -> Tensor:
    return nn.utils.rnn.pad_sequence(items, batch_first=True)


def loss(
    network: Transformer, examples: list[tuple[Polynomial, Rows]], support_only: bool = False
) -> Tensor:
    """Return the mean cross-entropy of the next monomial, padding left out."""
    seen = [inputs(p, support_only) for p, _ in examples]
    lengths = torch.tensor([len(t) for t, _ in seen])
    terms, coefficients = _padded([t for t, _ in seen]), _padded([c for _, c in seen])
    absent = torch.arange(terms.shape[1]) >= lengths[:, None]
    targets = [torch.as_tensor(rows[np.lexsort(rows.T[::-1])[::-1]].copy()) for _, rows in examples]
    blank = torch.zeros(1, network.shape.variables, dtype=torch.long)
    before = _padded([torch.cat([blank, t]) for t in targets])
    after = _padded([torch.cat([t, blank]) for t in targets])
    said = _padded([torch.tensor([BEGIN, *[PLUS] * len(t)]) for t in targets])
    wanted = _padded([torch.tensor([*[PLUS] * len(t), END]) for t in targets])
    real = torch.arange(said.shape[1]) <= torch.tensor([len(t) for t in targets])[:, None]
    exponents, operators = network(terms, coefficients, absent, before, said)
    more = real & (wanted == PLUS)
    return functional.cross_entropy(operators[real], wanted[real]) + functional.cross_entropy(
        exponents[more].flatten(0, 1), after[more].flatten()
    )


def predict(
    network: Transformer, p: Polynomial, most: int = 200, support_only: bool = False
) -> Rows:
    """Return the monomials that greedy decoding gives, distinct; a repeated one is an end.

    Raises:
        ValueError: The polynomial has another number of variables than the network, too many
            terms or too large exponents.
    """
    shape = network.shape
    if len(p.variables) != shape.variables:
        raise ValueError(
            f"the network was trained for {shape.variables} variables, the polynomial has "
            f"{len(p.variables)}; train one for them, or use the scorer, which takes any number."
        )
    if len(p.terms) > shape.positions or int(p.support.max(initial=0)) > shape.exponent:
        raise ValueError(
            f"the polynomial has {len(p.terms)} terms and exponents to "
            f"{int(p.support.max(initial=0))}; the network takes {shape.positions} and "
            f"{shape.exponent}."
        )
    terms, coefficients = inputs(p, support_only)
    absent = torch.zeros(1, len(terms), dtype=torch.bool)
    rows = torch.zeros(1, 1, shape.variables, dtype=torch.long)
    operators = torch.tensor([[BEGIN]])
    found: list[list[int]] = []
    with torch.no_grad():
        while len(found) < most:
            e, o = network(terms[None], coefficients[None], absent, rows, operators)
            m = e[0, -1].argmax(-1).tolist()
            if int(o[0, -1].argmax()) == END or m in found:
                break
            found.append(m)
            rows = torch.cat([rows, torch.tensor([[m]])], 1)
            operators = torch.cat([operators, torch.tensor([[PLUS]])], 1)
    return unique_rows(np.array(found, dtype=np.int64).reshape(-1, shape.variables))
