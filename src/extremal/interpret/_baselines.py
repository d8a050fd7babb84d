"""What others do, on the same terms: attributions of a network, FW-RDE, and EVAL-X.

Attributions become explainers of equal size by `top_k`. Cooperative-only, L2X and REAL-X are games
of `train` with other options; the documentation lists them.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from extremal.lab import derive_seed, generator, seed_everything

from ._explainers import Explainer, top_k
from ._losses import merlin_loss
from ._network import ArthurNet
from ._relaxed import Relaxation, binarised, frank_wolfe_masks
from ._task import Task

ATTRIBUTIONS = ("saliency", "integrated-gradients", "gradient-shap")
_BATCH = 512


def attribution(net: ArthurNet, task: Task, how: str, k: int, seed: int = 0) -> Explainer:
    """Return an explainer that ranks units by gradients of the class's score on the whole row.

    Args:
        net: Any network of Arthur's form, such as one that was trained on whole rows.
        task: Its data.
        how: `saliency` (absolute gradient), `integrated-gradients` (32 steps from the hidden row),
            `gradient-shap` (16 starts among training rows).
        k: Units shown.
        seed: Of starts and ties.

    Raises:
        ValueError: The method is unknown.
    """
    if how not in ATTRIBUTIONS:
        raise ValueError(f"there is no attribution {how!r}; choose {', '.join(ATTRIBUTIONS)}.")
    steps = {"saliency": 1, "integrated-gradients": 32, "gradient-shap": 16}[how]
    starts = net.encoder.values(task.train.codes)
    device = starts.device

    def values(codes: Any, labels: Any) -> Float[np.ndarray, "n d"]:
        draw = torch.Generator().manual_seed(derive_seed(seed, how) % 2**63)
        parts: list[np.ndarray] = []
        for begin in range(0, len(codes), _BATCH):
            x = net.encoder.values(codes[begin : begin + _BATCH])
            y = torch.from_numpy(np.ascontiguousarray(labels[begin : begin + _BATCH])).to(device)
            whole = torch.ones(len(x), task.d, device=device)
            total = torch.zeros_like(x)
            for step in range(steps):
                base = torch.zeros_like(x)
                part = (step + 0.5) / steps
                if how == "gradient-shap":
                    chosen = torch.randint(len(starts), (len(x),), generator=draw)
                    base = starts[chosen.to(device)]
                    part = torch.rand(len(x), 1, generator=draw).to(device)
                at = (x if how == "saliency" else base + part * (x - base)).requires_grad_()
                score = net(at, whole).gather(1, y[:, None]).sum()
                (g,) = torch.autograd.grad(score, at)
                total += g if how == "saliency" else g * (x - base)
            if how == "saliency":
                total = total.abs()
            units = torch.zeros(len(x), task.d, device=device)
            expand: Any = net.encoder.expand
            parts.append(units.index_add_(1, expand, total.detach()).cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, task.d))

    explain: Any = top_k(values, k, seed, task)
    explain.name = how
    return explain


def fw_rde(
    net: ArthurNet, task: Task, k: int, *, iterations: int = 50, draws: int = 16, seed: int = 0
) -> Explainer:
    """Return an explainer that keeps f's score when all that is not shown is replaced at random.

    Minimises the distortion E[(f(s x + (1 - s) n) - f(x))^2] / 2 over relaxed masks by Frank-Wolfe;
    n are training rows instead of a Gaussian with their moments, `draws` of them a step.
    """
    starts = net.encoder.values(task.train.codes)
    allowed = torch.zeros(task.d, dtype=torch.bool)
    allowed[torch.from_numpy(task.shown)] = True
    device = starts.device
    allowed = allowed.to(device)

    def explain(codes: Any, labels: Any) -> Bool[np.ndarray, "n d"]:
        draw = torch.Generator().manual_seed(derive_seed(seed, "fw-rde") % 2**63)
        parts: list[np.ndarray] = []
        for begin in range(0, len(codes), _BATCH):
            x = net.encoder.values(codes[begin : begin + _BATCH])
            y = torch.from_numpy(np.ascontiguousarray(labels[begin : begin + _BATCH])).to(device)
            whole = torch.ones(len(x), task.d, device=device)
            with torch.no_grad():
                wanted = net(x, whole).gather(1, y[:, None])

            def loss(
                at: Int[Tensor, " b"], s: Float[Tensor, "b d"],
                x: Tensor = x, y: Tensor = y, wanted: Tensor = wanted, whole: Tensor = whole,
            ) -> Float[Tensor, " b"]:  # fmt: skip
                chosen = torch.randint(len(starts), (draws, len(at)), generator=draw)
                n = starts[chosen.to(device)]
                keep = s[:, net.encoder.expand]  # pyright: ignore[reportArgumentType]
                mixed = (keep * x[at] + (1 - keep) * n).flatten(0, 1)
                f = net(mixed, whole[:1].expand(len(mixed), -1)).unflatten(0, (draws, len(at)))
                got = f.gather(2, y[at].expand(draws, -1)[..., None])
                return (got - wanted[at]).square().mean(0)[:, 0] / 2

            how = Relaxation(k=k, iterations=iterations, step=0.0)
            parts.append(binarised(frank_wolfe_masks(loss, len(x), allowed, how, draw),
                                   k, allowed, draw).cpu().numpy())  # fmt: skip
        return np.concatenate(parts) if parts else np.zeros(codes.shape, bool)

    explain.name = "fw-rde"  # pyright: ignore[reportFunctionMemberAccess]
    return explain


def whole_row_network(
    task: Task, arthur: str = "mlp", *, epochs: int = 20, lr: float = 1e-3, seed: int = 0,
    masked: bool = False, device: str = "cpu",
) -> ArthurNet:  # fmt: skip
    """Train a network of Arthur's form, on whole rows or on random masks.

    With `masked` it is EVAL-X: it reads any part of a row and knows no prover.

    Cost: `epochs` passes over the training rows.
    """
    seed_everything(derive_seed(seed, "whole"))
    net = ArthurNet(task, arthur).to(device)
    x = net.encoder.values(task.train.codes)
    y = torch.from_numpy(task.train.labels).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    rng = torch.Generator().manual_seed(derive_seed(seed, "masks") % 2**63)
    net.train()
    for epoch in range(epochs):
        order = torch.from_numpy(generator(seed, "order", epoch).permutation(len(x)))
        for rows in order.split(128):
            rows = rows.to(device)
            mask = torch.ones(len(rows), task.d, device=device)
            if masked:  # every share of shown units, from none to all
                share = torch.rand(len(rows), 1, generator=rng)
                drawn = torch.rand(len(rows), task.d, generator=rng) < share
                mask = drawn.float().to(device)
            loss = merlin_loss(net(x[rows], mask), y[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval()


class EvalX:
    """Reads masked rows with a network that was trained on random masks; see `NaiveBayes`."""

    name = "EVAL-X"

    def __init__(self, net: ArthurNet) -> None:
        """Wrap the network."""
        self.net = net

    def __call__(
        self, codes: Int[np.ndarray, "n d"], mask: Bool[np.ndarray, "n d"]
    ) -> Int[np.ndarray, " n"]:
        """Return the likeliest class; don't know is no class."""
        with torch.inference_mode():
            x = self.net.encoder.values(codes)
            shown = torch.from_numpy(mask).float().to(x.device)
            return self.net(x, shown)[:, :-1].argmax(1).cpu().numpy()


def eval_x(task: Task, arthur: str = "mlp", *, epochs: int = 20, seed: int = 0) -> EvalX:
    """Train EVAL-X on a task: pass it as `reader` to `certify`."""
    return EvalX(whole_row_network(task, arthur, epochs=epochs, seed=seed, masked=True))


def gumbel_top_k(
    logits: Float[Tensor, "b d"], k: int, draw: torch.Generator, temperature: float = 0.5
) -> Float[Tensor, "b d"]:
    """Return the entrywise largest of k draws of a relaxed one-hot vector, as L2X samples.

    Each draw is softmax((logits + Gumbel noise) / temperature).
    """
    u = torch.rand(k, *logits.shape, generator=draw).clamp(1e-6, 1 - 1e-6).to(logits.device)
    noise = -torch.log(-torch.log(u))
    return torch.softmax((logits + noise) / temperature, -1).amax(0)
