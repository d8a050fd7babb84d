"""How the tests of the optimizers drive them."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from extremal import frankwolfe as fw  # noqa: E402

KERNELS = [
    fw.L2Ball(3.0), fw.LinfBall(0.5), fw.L1Ball(5.0), fw.KSparse(0.5, fraction=0.1),
    fw.KSupport(3.0, fraction=0.1), fw.KSparse(0.5, fraction=1.0), fw.KSupport(2.0, fraction=1.0),
]  # fmt: skip


def over(region, **options):
    return lambda ps: fw.SFW([{"params": ps, "region": region}], **options)


def gradients(shapes, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(s, generator=generator) for s in shapes] for _ in range(steps)]


def drive(optimizer, params, grads):
    for step in grads:
        for p, g in zip(params, step, strict=True):
            p.grad = g.to(p.dtype).clone()
        optimizer.step()


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 10)
    )


X, Y = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(3)), torch.arange(32) % 10


def train(model, optimizer, steps, closure=False):
    def loss():
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(model(X), Y)
        value.backward()
        return value

    values = []
    for _ in range(steps):
        if closure:
            values.append(float(optimizer.step(loss).detach()))
        else:
            values.append(float(loss().detach()))
            optimizer.step()
    return values


def uneven(kind):
    """Gradients of which a sample says little."""
    g = torch.randn(300, 400, generator=torch.Generator().manual_seed(1))
    if kind == "mostly-zero":
        return g * (torch.arange(300) % 97 == 0)[:, None]
    if kind == "rows-of-all-sizes":
        return g * 10.0 ** torch.linspace(-12, 12, 300)[:, None]
    if kind == "few-values":
        return g.round()
    if kind == "every-value-twice":
        return torch.cat([g[:150], g[:150].flip(0)])
    if kind == "ones":
        return torch.ones(300, 400)
    return g.flatten().sort().values.reshape(300, 400)
