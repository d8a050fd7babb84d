"""Learning rates of every iteration, in closed form.

Notation: T iterations, W of warm-up, j = i - W counts the R = T - W iterations after it, a the
largest rate. Warm-up is a half cosine, a (1 - cos(pi i / W)) / 2, which begins at 0. Then

    linear    a (1 - j / R)                          never 0; the last rate is a / R
    cosine    a (1 + cos(pi j / R)) / 2
    step      a, from j = R/2 on a / 10, from j = 3R/4 on a / 100
    thirds    a, from j = R/3 on a / 10, from j = 2R/3 on a / 100
    constant  a

These are written out instead of chaining torch's schedulers, whose hand-over between two of them
changed from version to version.
"""

import math

SCHEDULES = ("linear", "cosine", "step", "thirds", "constant")


def warmup_steps(steps: int, warmup: float) -> int:
    """Return how many of `steps` iterations a warm-up of this share takes: rounded down."""
    return int(warmup * steps)


def schedule(name: str, steps: int, lr: float, *, warmup: float = 0.0) -> list[float]:
    """Return the learning rate of each iteration.

    Args:
        name: "linear", "cosine", "step", "thirds" or "constant".
        steps: Number of iterations, 1 or more.
        lr: The largest rate, reached after the warm-up.
        warmup: Share of the iterations in which the rate rises, 0 <= share < 1.

    Raises:
        ValueError: An argument makes no sense.

    Example:
        >>> schedule("linear", 4, 0.1)
        [0.1, 0.07500000000000001, 0.05, 0.025]
    """
    if name not in SCHEDULES:
        raise ValueError(
            f"schedule: there is no schedule {name!r}; there are {', '.join(SCHEDULES)}."
        )
    if steps < 1:
        raise ValueError(f"schedule: {steps} iterations leave nothing to do; give 1 or more.")
    if not 0 < lr < math.inf:
        raise ValueError(f"schedule: lr={lr} moves no weight sensibly; give a finite lr > 0.")
    if not 0 <= warmup < 1:
        raise ValueError(
            f"schedule: warmup={warmup} is no share of the iterations; choose 0 <= warmup < 1."
        )
    rising = warmup_steps(steps, warmup)
    rest = steps - rising
    head = [lr * (1 - math.cos(math.pi * i / rising)) / 2 for i in range(rising)]
    if name == "linear":
        tail = [lr * (1 - j / rest) for j in range(rest)]
    elif name == "cosine":
        tail = [lr * (1 + math.cos(math.pi * j / rest)) / 2 for j in range(rest)]
    elif name == "step":
        tail = [lr / (1 if 2 * j < rest else 10 if 4 * j < 3 * rest else 100) for j in range(rest)]
    elif name == "thirds":
        tail = [lr / (1 if 3 * j < rest else 10 if 3 * j < 2 * rest else 100) for j in range(rest)]
    else:
        tail = [lr] * rest
    return head + tail
