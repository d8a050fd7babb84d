"""Learning rates of a retraining phase, in closed form, one value an iteration.

Notation: T iterations of the phase; W = int(warmup T) of them warm up along a half cosine from 0
to a, the initial value; R = T - W and j = 0..R-1 count the rest. eta is the largest learning rate
of the dense training, eta_min its smallest after its own warmup, L the length of the dense list
from eta on.

    ft        eta_min                                      Han et al., arXiv:1506.02626
    lrw       the last T values of the dense training      Renda et al., arXiv:2003.02389
    slr       entry int(j L / R) of the dense list         Le and Hua, arXiv:2105.03193
    clr       eta_min + (eta - eta_min)(1 + cos(pi j/R))/2 Le and Hua
    llr       eta (1 - j/R)                                Zimmer et al., arXiv:2111.00843
    allr      a (1 - j/R), a = eta min(max(d1, d2), 1)     Zimmer et al.
    constant, stepped, cosine, linear                      tuned by hand from lr=

Source: Zimmer, Spiegel, Pokutta, arXiv:2111.00843.
Differs from the published code: closed forms instead of chained schedulers, whose hand-over
repeats a step and lets CLR overshoot (0.100758 for eta = 0.1).
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from ._errors import WorthlessScheduleWarning

TRANSLATIONS = ("ft", "lrw", "slr", "clr", "llr", "allr")
TUNABLE = ("constant", "stepped", "cosine", "linear")
ABLATIONS = ("llr-but-last", "allr-accuracy", "allr-floor")
SCHEDULES = (*TRANSLATIONS, *TUNABLE, *ABLATIONS)

WARMUP = 0.1


@dataclass(frozen=True)
class DenseRates:
    """What a dense training tells its retraining about learning rates."""

    rates: tuple[float, ...]  # one value an iteration; empty when unknown
    eta: float  # the largest
    eta_min: float  # the smallest at or after the largest, that is after the warmup

    @classmethod
    def from_list(cls, rates: Sequence[float]) -> "DenseRates":
        """Read eta and eta_min off the recorded learning rates of every iteration."""
        if not rates:
            raise ValueError(
                "The dense training recorded no learning rate, so none can be translated. Give "
                "lr= (the largest) and lr_min= (the smallest after warmup)."
            )
        return cls(tuple(rates), max(rates), min(rates[_warmup_end(rates) :]))


def learning_rates(
    schedule: str,
    iterations: int,
    *,
    dense: DenseRates | None = None,
    factor: float = 1.0,
    lr: float | None = None,
    warmup: float | None = None,
    last_phase: bool = True,
) -> list[float]:
    """Return the learning rate of each of the `iterations` of a retraining phase.

    Args:
        schedule: One of `SCHEDULES`.
        iterations: T, at least 1.
        dense: Of the dense training; every translation needs it.
        factor: min(max(d1, d2), 1) of the adaptive schedules (see `adaptive_factor`).
        lr: Initial value of the tunable schedules.
        warmup: Fraction of T that warms up; 0.1 by default, 0 for ft and lrw.
        last_phase: Only "llr-but-last" asks: it holds eta in every phase before the last.

    Raises:
        ValueError: The schedule is unknown, or what it needs is missing.

    Example:
        >>> dense = DenseRates.from_list([0.1] * 50 + [0.01] * 50)
        >>> [round(x, 4) for x in learning_rates("llr", 5, dense=dense)]
        [0.1, 0.08, 0.06, 0.04, 0.02]
    """
    if schedule not in SCHEDULES:
        raise ValueError(
            f"Unknown retraining schedule {schedule!r}; choose one of {', '.join(SCHEDULES)}."
        )
    if iterations < 1:
        raise ValueError(
            f"Retraining of {iterations} iterations has no learning rate. Give at least one epoch "
            "a phase, or fewer phases."
        )
    if warmup is not None and not 0 <= warmup < 1:
        raise ValueError(f"warmup is {warmup}; it is a fraction of the phase, in [0, 1).")
    if schedule in TUNABLE:
        return _tuned(schedule, iterations, lr, WARMUP if warmup is None else warmup, dense)
    if dense is None:
        raise ValueError(
            f"Schedule {schedule!r} translates the learning rates of the dense training, and none "
            "are known. Prune a run folder of `training.fit`, or give lr= and lr_min=."
        )
    if schedule == "ft":
        if dense.eta_min == 0:
            warnings.warn(
                "The dense training ended at learning rate 0, so 'ft' retrains with 0 and changes "
                "nothing. Choose 'llr' or 'allr', or give lr_min=.",
                WorthlessScheduleWarning,
                stacklevel=2,
            )
        return [dense.eta_min] * iterations
    if schedule == "lrw":
        if len(dense.rates) < iterations:
            raise ValueError(
                f"Schedule 'lrw' repeats the last {iterations} learning rates of the dense "
                f"training, which has {len(dense.rates) or 'none'} on record. Retrain for fewer "
                "epochs a phase, or choose 'llr' or 'allr'."
            )
        return list(dense.rates[-iterations:])

    start = dense.eta
    if schedule.startswith("allr"):
        start *= min(max(factor, 0.0), 1.0)
    if schedule == "llr-but-last" and not last_phase:
        return [dense.eta] * iterations
    rest = iterations - int((WARMUP if warmup is None else warmup) * iterations)
    if schedule == "slr":
        tail = _compressed(dense, rest, "slr")
    elif schedule == "clr":
        swing = dense.eta - dense.eta_min
        tail = [dense.eta_min + swing * (1 + math.cos(math.pi * j / rest)) / 2 for j in range(rest)]
    else:
        tail = _linear(start, rest)
    return _warm(start, iterations - rest) + tail


def relative_norm_drop(removed_squares: float, before_squares: float) -> float:
    """Rho: the norm of what was removed over the norm before, from their squares.

    From the removed weights themselves, not from the difference of two norms, which in float32
    cancels to 0 for a million Gaussian weights at 1 %.
    """
    return math.sqrt(removed_squares / before_squares) if before_squares > 0 else 0.0


def norm_drop_factor(rho: float, removed_fraction: float) -> float:
    """Return d1 = rho / sqrt(p), in [0, 1].

    Args:
        rho: Relative norm drop of this phase.
        removed_fraction: p, the part of the still unpruned weights that this phase removed.
    """
    return min(rho / math.sqrt(removed_fraction), 1.0) if removed_fraction > 0 else 0.0


def adaptive_factor(d1: float, retrain_epochs: int, dense_epochs: int | None) -> float:
    """Return min(max(d1, d2), 1) with d2 = min(1, retrain_epochs / dense_epochs)."""
    if dense_epochs is None or dense_epochs < 1:
        raise ValueError(
            "Schedule 'allr' weighs this phase's epochs against those of the dense training, "
            "which are not known. Prune a run folder of `training.fit`, or give dense_epochs=."
        )
    return min(max(d1, min(1.0, retrain_epochs / dense_epochs)), 1.0)


def _tuned(
    schedule: str, iterations: int, lr: float | None, warmup: float, dense: DenseRates | None
) -> list[float]:
    if lr is None or lr <= 0:
        raise ValueError(
            f"Schedule {schedule!r} starts from lr=, a number above 0; got {lr}. Give it, or "
            "choose 'allr', which needs no tuning."
        )
    rest = iterations - int(warmup * iterations)
    if schedule == "constant":
        tail = [lr] * rest
    elif schedule == "linear":
        tail = _linear(lr, rest)
    elif schedule == "cosine":
        tail = [lr * (1 + math.cos(math.pi * j / rest)) / 2 for j in range(rest)]
    else:
        if dense is None or dense.eta <= 0:
            raise ValueError(
                "Schedule 'stepped' takes its shape from the dense learning rates, and none are "
                "known. Prune a run folder of `training.fit`, or choose 'linear'."
            )
        tail = [lr * rate / dense.eta for rate in _compressed(dense, rest, "stepped")]
    return _warm(lr, iterations - rest) + tail


def _warm(top: float, length: int) -> list[float]:
    return [top * (1 - math.cos(math.pi * i / length)) / 2 for i in range(length)]


def _linear(top: float, length: int) -> list[float]:
    return [top * (1 - j / length) for j in range(length)]


def _compressed(dense: DenseRates, length: int, schedule: str) -> list[float]:
    if not dense.rates:
        raise ValueError(
            f"Schedule {schedule!r} compresses the list of the dense learning rates, and only "
            "their bounds are known. Prune a run folder of `training.fit`, or choose 'allr'."
        )
    end = _warmup_end(dense.rates)
    replaced = [dense.eta] * end + list(dense.rates[end:])
    return [replaced[j * len(replaced) // length] for j in range(length)]


def _warmup_end(rates: Sequence[float]) -> int:
    """The index of the first largest rate: everything before it is warmup."""
    return max(range(len(rates)), key=lambda i: (rates[i], -i))
