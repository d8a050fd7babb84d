"""The relaxation: small sine networks from points to distributions over colours, many at once.

Notation: S networks in a stack, A anchors a step, J partners an anchor, K colours, n dimensions.
Source: arXiv 2501.18527 (loss, sizes, schedules; the preset "reference").
Differs from it: every anchor has its own rotation of the directions; anchors are a shifted
low-discrepancy sequence; colours that avoid the same distance share their partners; the factor of
the first layer is 10, because 30 leaves short runs rough (measured: 0.05 % of pairs in conflict
against 2-7 % after 2,500 steps).

On a GPU a step of a small stack is some 150 kernels of a few microseconds each, so that starting
them would take longer than running them. Therefore the whole step, samples and optimizer included,
is recorded once as a CUDA graph for each size of the stack and then replayed.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from extremal.lab import derive_seed

from ._device import torch_on
from ._errors import ColoringError
from ._problem import Problem

if TYPE_CHECKING:
    from torch import Tensor

WARM = 3  # steps of a new stack before its graph is recorded: the libraries set themselves up
_HALVINGS = (0.1, 0.3)  # of the steps; the worse half of the stack ends there
_GOLDEN = (0.7548776662466927, 0.5698402909980532, 0.8191725133961645)


@dataclass(frozen=True)
class TrainConfig:
    """How networks are trained."""

    width: int = 32
    """Units of a hidden layer."""
    depth: int = 4
    """Hidden layers after the first."""
    factor: float = 10.0
    """Scale of the first layer's weights; large means fine patterns."""
    box: float = 3.0
    """Half the side of the box of the anchors, in the unit of the distances."""
    steps: int = 2500
    """Optimizer steps."""
    anchors: int = 512
    """Points a step."""
    directions: int = 6
    """Partners of an anchor, a rule each."""
    rate: float = 2e-3
    """Largest learning rate of Adam."""
    sharpness: float = 5.0
    """Weights of an anchor's partners are softmax(sharpness * conflict); 0 averages plainly."""
    free_price: float = 0.02
    """What a free point costs, against 1 for a certain conflict."""
    networks: int = 1
    """Trained at once; the worse half ends after 10 %, again after 30 % of the steps."""
    device: str = "cpu"
    """"cpu", "cuda" or another torch device."""

    def __post_init__(self) -> None:
        for name in ("width", "steps", "anchors", "directions", "networks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is a count of at least 1, got {getattr(self, name)}.")
        for name in ("factor", "box", "rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is a number above 0, got {getattr(self, name)}.")
        if self.depth < 0 or self.sharpness < 0 or self.free_price < 0:
            raise ValueError("depth, sharpness and free_price are 0 or more.")

    @classmethod
    def reference(cls) -> "TrainConfig":
        """Return the published settings: 10,000 steps of 2,048 anchors with 8 directions."""
        return cls(
            factor=30.0, steps=10_000, anchors=2048, directions=8, rate=1e-3, free_price=0.01
        )


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network as plain arrays.

    Attributes:
        weights: Of each layer, (in, out).
        biases: Of each layer, (out,).
        loss: Mean loss over the last tenth of the training.
        box: Half the side of the box it was trained on.
    """

    weights: tuple[Float[np.ndarray, "_ _"], ...]
    biases: tuple[Float[np.ndarray, " _"], ...]
    loss: float
    box: float

    def __call__(
        self, points: Float[np.ndarray, "m n"], parameters: Sequence[float] = ()
    ) -> Float[np.ndarray, "m k"]:
        """Return the distribution over colours at each point."""
        x = np.asarray(points, np.float32)
        if parameters:
            given = np.broadcast_to(np.asarray(parameters, np.float32), (len(x), len(parameters)))
            x = np.concatenate([x, given], 1)
        last = len(self.weights) - 1
        for layer, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ w + b
            if layer < last:
                x = np.sin(x)
        x = np.exp(x - x.max(1, keepdims=True))
        return x / x.sum(1, keepdims=True)


def train(
    problem: Problem,
    config: TrainConfig,
    seed: int = 0,
    report: Callable[[int, float], bool] | None = None,
    start: Network | None = None,
) -> list[Network]:
    """Train a stack of networks on the expected conflict of a problem.

    Args:
        problem: Its rules; parameters become inputs of the network, drawn anew for every anchor.
        config: Sizes and schedule.
        seed: Of the initial weights and the samples.
        report: Called now and then with the step and the best loss; training ends early where it
            returns False.
        start: Weights of a network of the same shape to go on from.

    Returns:
        The networks that were trained to the end, best loss first.

    Raises:
        MissingExtra: torch is not installed.
        ColoringError: The loss became NaN, or the device is not there.

    Cost: (1 + rules * directions) * anchors points a step and network; about 65 s on one core for
    the defaults.
    """
    torch = torch_on(config.device)
    stack = Stack(torch, problem, config, seed, start)
    history: list[Any] = []
    halve = {int(f * config.steps) for f in _HALVINGS} if config.networks > 1 else set[int]()
    tail = max(1, config.steps // 10)
    for step in range(config.steps):
        history.append(stack.step(step))
        if step in halve and step:
            recent = torch.stack(history[-max(1, step // 10) :]).mean(0)
            keep = torch.argsort(recent)[: max(1, (len(recent) + 1) // 2)]
            stack.keep(keep)
            history = [h[keep] for h in history[-tail:]]
        if step % 50 == 49:
            best = float(torch.stack(history[-50:]).mean(0).min())
            if not math.isfinite(best):
                raise ColoringError(
                    f"the loss became {best} at step {step}; train with a smaller --rate."
                )
            if report is not None and not report(step + 1, best):
                break
    recent = torch.stack(history[-tail:]).mean(0).tolist()
    order = sorted(range(len(recent)), key=lambda i: recent[i])
    return [stack.network(i, recent[i]) for i in order]


class Stack:
    """S networks, their optimizer and their samples."""

    def __init__(
        self, torch: Any, problem: Problem, config: TrainConfig, seed: int, start: Network | None
    ) -> None:
        self.torch, self.problem, self.config = torch, problem, config
        inputs = problem.dim + len(problem.parameters)
        sizes = [inputs, *[config.width] * (config.depth + 1), problem.palette]
        self.layers: list[tuple[Any, Any]] = []
        for layer, (a, b) in enumerate(itertools.pairwise(sizes)):
            weight = torch.empty(config.networks, a, b)
            bias = torch.empty(config.networks, 1, b)
            for k in range(config.networks):
                draw = torch.Generator().manual_seed(derive_seed(seed, "weights", k, layer))
                bound = 1 / a if layer == 0 else math.sqrt(6 / a)
                weight[k].uniform_(-bound, bound, generator=draw)
                bias[k].uniform_(-bound, bound, generator=draw)
                if start is not None:
                    weight[k] = torch.tensor(start.weights[layer])
                    bias[k] = torch.tensor(start.biases[layer])
                elif layer == 0:
                    weight[k] *= config.factor
            self.layers.append((weight.to(config.device), bias.to(config.device)))
        self.draw = torch.Generator(device=config.device).manual_seed(derive_seed(seed, "samples"))
        self.on_gpu = torch.device(config.device).type == "cuda"
        self._optimizer()
        # Constants go to the device once: a copy cannot be part of a graph.
        n, put = problem.dim, {"device": config.device}
        self.golden = torch.tensor(_GOLDEN[:n], **put)
        self.places = torch.arange(config.anchors, **put)[:, None]
        self.fan = torch.arange(config.directions, **put) / config.directions
        self.mirror = torch.diag(torch.tensor([1.0] * (n - 1) + [-1.0], **put))
        self.rules = _grouped(problem)
        self.bound = [torch.tensor(w, **put) if not r.points else None for r, w in self.rules]
        self.points = {
            id(r): torch.tensor([[float(x) for x in q] for q in r.points], **put)
            for r in problem.rules
            if r.points
        }

    def _optimizer(self) -> None:
        flat = [p.requires_grad_() for pair in self.layers for p in pair]
        # `fused` does the whole update in one kernel; per-entry state keeps networks independent.
        # A graph reads the rate from where it was when recorded, so it is a tensor there.
        self.rate: Any = self.config.rate
        if self.on_gpu:
            self.rate = self.torch.tensor(self.config.rate, device=self.config.device)
        self.adam = self.torch.optim.Adam(flat, lr=self.rate, fused=True, capturable=self.on_gpu)
        self.graph: Any = None
        self.warm = 0

    def keep(self, which: Any) -> None:
        """Go on with some of the networks; their moments are kept."""
        states = [self.adam.state[p] for pair in self.layers for p in pair]
        self.layers = [
            (w.detach()[which].clone(), b.detach()[which].clone()) for w, b in self.layers
        ]
        self._optimizer()
        for p, state in zip([p for pair in self.layers for p in pair], states, strict=True):
            self.adam.state[p] = {k: (v[which].clone() if v.dim() else v) for k, v in state.items()}

    def forward(self, x: "Tensor") -> "Tensor":
        last = len(self.layers) - 1
        for layer, (w, b) in enumerate(self.layers):
            x = self.torch.baddbmm(b, x, w)
            if layer < last:
                x = self.torch.sin(x)
        return self.torch.softmax(x, -1)

    def step(self, number: int) -> "Tensor":
        """One step of every network; returns their losses."""
        config = self.config
        warm = max(1, config.steps // 20)
        scale = (
            (number + 1) / warm
            if number < warm
            else (config.steps - number) / (config.steps - warm)
        )
        if not self.on_gpu:
            for group in self.adam.param_groups:
                group["lr"] = config.rate * scale
            return self._whole()
        self.rate.fill_(config.rate * scale)
        if self.warm < WARM:
            self.warm += 1
            side = self.torch.cuda.Stream()
            side.wait_stream(self.torch.cuda.current_stream())
            with self.torch.cuda.stream(side):
                losses = self._whole()
            self.torch.cuda.current_stream().wait_stream(side)
            return losses
        if self.graph is None:
            self.graph = self.torch.cuda.CUDAGraph()
            self.graph.register_generator_state(self.draw)
            self.adam.zero_grad(set_to_none=True)
            with self.torch.cuda.graph(self.graph):
                self.recorded = self._whole()
            # The capture sets the generator on a stream of its own; on a busy GPU that may still be
            # waiting when the first replay sets it, too (met once: that step drew other samples).
            self.torch.cuda.synchronize()
        self.graph.replay()
        return self.recorded.clone()

    def _whole(self) -> "Tensor":
        losses = self.losses()
        self.adam.zero_grad(set_to_none=True)
        losses.sum().backward()
        self.adam.step()
        return losses.detach()

    def losses(self) -> "Tensor":
        torch, problem, config = self.torch, self.problem, self.config
        n, anchors, many = problem.dim, config.anchors, config.directions
        stack = self.layers[0][0].shape[0]
        device = config.device
        shift = torch.rand(1, n, generator=self.draw, device=device)
        x = ((self.places * self.golden + shift) % 1.0 * 2 - 1) * config.box  # (A, n)
        values: dict[str, Any] = {}
        for rule in problem.rules:
            if rule.parameter is not None:
                low, high = (math.sqrt(s) for s in rule.spans[0])
                u = torch.rand(anchors, 1, 1, generator=self.draw, device=device)
                values[rule.parameter] = low + (high - low) * u
        partners: list[Any] = []
        for rule, _ in self.rules:
            partners.append(x[:, None, None, :] + self._moves(rule, values))  # (A, J, m, n)
        points = torch.cat([x, *(p.reshape(-1, n) for p in partners)])
        if values:
            own = torch.cat([v[:, 0] for v in values.values()], 1)
            spread = [
                own,
                *(
                    own[:, None].expand(-1, p.shape[1] * p.shape[2], -1).flatten(0, 1)
                    for p in partners
                ),
            ]
            points = torch.cat([points, torch.cat(spread)], 1)
        p = self.forward(points.expand(stack, -1, -1))
        home, p = p[:, :anchors], p[:, anchors:]
        total = torch.zeros(stack, device=device)
        for (_, patterns), bound, part in zip(self.rules, self.bound, partners, strict=True):
            size = part.shape[1] * part.shape[2] * anchors
            other = p[:, :size].reshape(stack, anchors, many, part.shape[2], -1)
            p = p[:, size:]
            conflict = _conflict(home, other, patterns if bound is None else bound)  # (S, A, J)
            if config.sharpness > 0:
                weight = torch.softmax(config.sharpness * conflict, -1)
                total = total + (weight * conflict).sum(-1).mean(-1)
            else:
                total = total + conflict.mean((1, 2))
            if problem.free_color:
                total = total + config.free_price * other[..., -1].mean((1, 2, 3)) / len(self.rules)
        if problem.free_color:
            total = total + config.free_price * home[..., -1].mean(1)
        return total

    def _moves(self, rule: Any, values: dict[str, Any]) -> "Tensor":
        """Vectors from an anchor to its J partners (A, J, m, n)."""
        torch, config, n = self.torch, self.config, self.problem.dim
        anchors, many, device = config.anchors, config.directions, config.device
        if rule.points:
            q = self.points[id(rule)]
            if rule.scales:
                low, high = rule.scale_range
                part = torch.rand(anchors, many, 1, 1, generator=self.draw, device=device)
                q = q * (low + (high - low) * part)
            if rule.motions == "translations":
                return q.expand(anchors, many, -1, -1)
            turn = self._rotations(anchors * many).reshape(anchors, many, n, n)
            if rule.motions == "rigid":
                flip = torch.rand(anchors, many, 1, 1, generator=self.draw, device=device) < 0.5
                turn = torch.where(flip, turn @ self.mirror, turn)
            return torch.einsum("ajnk,ajmk->ajmn", turn, q.expand(anchors, many, -1, -1))
        unit = self._directions(anchors, many, rule.norm)
        if rule.parameter is not None:
            return (unit * values[rule.parameter])[:, :, None, :]
        low, high = (math.sqrt(s) for s in rule.spans[0])
        length = low
        if high > low:
            length = low + (high - low) * torch.rand(
                anchors, many, 1, generator=self.draw, device=device
            )
        return (unit * length)[:, :, None, :]

    def _directions(self, anchors: int, many: int, norm: float) -> "Tensor":
        torch, n, device = self.torch, self.problem.dim, self.config.device
        if norm == 2.0 and n == 2:  # equal angles, turned at random for every anchor
            start = torch.rand(anchors, 1, generator=self.draw, device=device)
            angle = 2 * math.pi * (start + self.fan)
            return torch.stack([torch.cos(angle), torch.sin(angle)], -1)
        if norm == 2.0:
            v = torch.randn(anchors, many, n, generator=self.draw, device=device)
            return v / v.norm(dim=-1, keepdim=True)
        if norm == math.inf:  # cone measure of the cube: a face, then a point on it
            v = torch.rand(anchors, many, n, generator=self.draw, device=device) * 2 - 1
            return v / v.abs().amax(-1, keepdim=True)
        # |v|^p is Gamma(1/p) distributed: cone measure of the l_p sphere
        shape = torch.full((anchors, many, n), 1 / norm, device=device)
        size = torch._standard_gamma(shape, generator=self.draw) ** (1 / norm)
        sign = torch.rand(anchors, many, n, generator=self.draw, device=device) < 0.5
        v = torch.where(sign, size, -size)
        return v / v.abs().pow(norm).sum(-1, keepdim=True).pow(1 / norm)

    def _rotations(self, count: int) -> "Tensor":
        torch, n, device = self.torch, self.problem.dim, self.config.device
        if n == 2:
            angle = 2 * math.pi * torch.rand(count, generator=self.draw, device=device)
            c, s = torch.cos(angle), torch.sin(angle)
            return torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
        q = torch.randn(count, 4, generator=self.draw, device=device)
        a, b, c, d = (q / q.norm(dim=1, keepdim=True)).unbind(1)
        return torch.stack(
            [
                torch.stack([1 - 2 * (c * c + d * d), 2 * (b * c - a * d), 2 * (b * d + a * c)], 1),
                torch.stack([2 * (b * c + a * d), 1 - 2 * (b * b + d * d), 2 * (c * d - a * b)], 1),
                torch.stack([2 * (b * d - a * c), 2 * (c * d + a * b), 1 - 2 * (b * b + c * c)], 1),
            ],
            1,
        )

    def network(self, index: int, loss: float) -> Network:
        weights = tuple(w[index].detach().cpu().numpy().copy() for w, _ in self.layers)
        biases = tuple(b[index, 0].detach().cpu().numpy().copy() for _, b in self.layers)
        return Network(weights, biases, loss, self.config.box)


def _grouped(problem: Problem) -> list[tuple[Any, Any]]:
    """Each rule with what is summed: colours of a pair rule, or patterns of a configuration."""
    found: list[tuple[Any, Any]] = []
    for rule in problem.rules:
        if rule.points:
            found.append((rule, rule.patterns(problem.colors)))
        else:
            found.append((rule, list(rule.bound(problem.colors))))
    return found


def _conflict(home: Any, other: Any, what: Any) -> Any:
    """Probability of a forbidden pattern at each partner: (S, A, J)."""
    if hasattr(what, "device"):  # a pair of one of these colours
        mine = home.index_select(-1, what)[:, :, None]
        return (mine * other[:, :, :, 0].index_select(-1, what)).sum(-1)
    total = 0.0
    for pattern in what:
        product = home[:, :, None, pattern[0]]
        for i, color in enumerate(pattern[1:]):
            product = product * other[:, :, :, i, color]
        total = total + product
    return total
