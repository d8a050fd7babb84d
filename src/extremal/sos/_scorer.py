"""A small network that scores candidates, the same whatever the variables are called.

Nodes and edges are those of `_graph`. Each round adds to a node what its edges say, and the mean of
all nodes; one forward pass gives a probability for every candidate, without a limit on length.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ._graph import EDGE_FEATURES, NODE_FEATURES, Graph


class Scorer(nn.Module):
    """Probability of each candidate to be needed.

    Attributes:
        width: Of the hidden states.
        rounds: How far information travels along edges.
    """

    def __init__(self, width: int = 48, rounds: int = 3) -> None:
        """Make a network with random weights."""
        super().__init__()
        self.width, self.rounds = width, rounds
        self.begin = nn.Sequential(nn.Linear(NODE_FEATURES, width), nn.ReLU())
        self.message = nn.ModuleList(
            nn.Sequential(nn.Linear(width + EDGE_FEATURES, width), nn.ReLU()) for _ in range(rounds)
        )
        self.update = nn.ModuleList(
            nn.Sequential(nn.Linear(4 * width, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(rounds)
        )
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(rounds))
        self.end = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(
        self,
        nodes: Float[Tensor, "c f"],
        head: Tensor,
        tail: Tensor,
        edges: Float[Tensor, "e g"],
        owner: Tensor,
    ) -> Float[Tensor, " c"]:
        """Return logits; `owner` says which polynomial of the batch a node belongs to."""
        h = self.begin(nodes)
        count = torch.zeros(len(nodes)).index_add_(0, head, torch.ones(len(head)))
        polynomials = int(owner.max()) + 1 if len(owner) else 0
        size = torch.zeros(polynomials).index_add_(0, owner, torch.ones(len(owner)))
        for message, update, norm in zip(self.message, self.update, self.norm, strict=True):
            m = message(torch.cat([h[tail], edges], 1))
            total = torch.zeros(len(nodes), self.width).index_add_(0, head, m)
            mean = total / count.clamp(min=1)[:, None]
            every = torch.zeros(polynomials, self.width).index_add_(0, owner, h)
            every = (every / size[:, None])[owner]
            scaled = total / 16
            h = norm(h + update(torch.cat([h, mean, scaled, every], 1)))
        return self.end(h)[:, 0]


def batch(graphs: Sequence[Graph]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return several graphs as one."""
    starts = np.cumsum([0, *(len(g.rows) for g in graphs)])
    shifted = list(zip(graphs, starts, strict=False))
    return (
        torch.as_tensor(np.concatenate([g.nodes for g in graphs]), dtype=torch.float32),
        torch.as_tensor(np.concatenate([g.head + s for g, s in shifted])),
        torch.as_tensor(np.concatenate([g.tail + s for g, s in shifted])),
        torch.as_tensor(np.concatenate([g.edges for g in graphs]), dtype=torch.float32),
        torch.as_tensor(np.concatenate([np.full(len(g.rows), i) for i, g in enumerate(graphs)])),
    )


def probabilities(network: Scorer, g: Graph) -> np.ndarray:
    """Return the probability of each candidate."""
    with torch.no_grad():
        return torch.sigmoid(network(*batch([g]))).numpy().astype(float)
