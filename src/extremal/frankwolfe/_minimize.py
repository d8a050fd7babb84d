"""The verb `minimize`: a convex function over a region, with a bound that needs no trust.

Notation: v the point the LMO finds at the gradient g, a the active atom with the largest <g, a>.
The Frank-Wolfe gap <g, x - v> bounds f(x) - min f from above; it is both the stopping rule and the
certificate. Sources: Jaggi 2013; Lacoste-Julien and Jaggi 2015 (away, pairwise); Braun, Pokutta,
Zink 2017 (lazy).
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors.numpy import load_file

from extremal.lab import (
    Run,
    RunError,
    append_record,
    command,
    progress,
    resolve,
    sha256_file,
    to_plain,
)

from ._active_set import ActiveSet
from ._config import POLYTOPES, Config
from ._errors import FrankWolfeError
from ._estimators import STOCHASTIC, Estimator, Metric, batches
from ._objectives import FunctionState, LinearModel, LinearState, State
from ._optimum import Optimum, Row, certifiable, write_optimum_report
from ._read import read_problem
from ._region import Ball, Region
from ._regions import Oracle
from ._sliding import Sliding
from ._steps import Stepper

KIND = "frankwolfe/minimize"
_SETTLE = 100  # steps between computing scores anew
_WORST = 1e-13  # a gap below this share of |f| is rounding


@command(options=Config, inputs=("problem",))
def minimize(
    problem: Any,
    region: Region | str | Callable[[np.ndarray], np.ndarray] | None = None,
    *,
    config: Config | None = None,
    start: np.ndarray | None = None,
    shape: Sequence[int] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Optimum:
    """Minimise a convex function over a region and say how good the answer is.

    Args:
        problem: A `LogisticLoss`, `SquaredLoss`, `SquaredHinge` or `MatrixCompletion`; a function
            that returns value and gradient; an svmlight file; or "breast-cancer".
        region: A region, its name (the options size it), or a function that maps a direction to an
            extreme point; by default the one that the options name.
        config: All options at once; or give any of its fields as keywords.
        start: Where to begin; by default an extreme point. It must lie in the region.
        shape: Of x, where the problem is a function and no start is given.
        out: Folder for problem, solution, certificate and report.
        resume: Return the finished run in `out`; an unfinished one is computed again.
        force: Replace the run in `out`.
        **options: Fields of `Config`; they replace those of `config`.

    Returns:
        The point, its value, the gap and, where `out` is given, the certificate.

    Raises:
        ValueError: An option, the data or the start make no sense.
        FrankWolfeError: A file is malformed, or the optimum cannot be certified.
        RunError: `out` holds another run.

    Example:
        >>> from extremal.frankwolfe import L1Ball, SquaredLoss
        >>> f = SquaredLoss([[1.0, 0.0], [0.0, 1.0]], [1.0, 2.0])
        >>> best = minimize(f, L1Ball(1.0), gap=1e-9)
        >>> best.x.round(6) + 0.0
        array([0., 1.])
    """
    if isinstance(region, str):  # a name, as in the shell; the options size it
        options["region"], region = region, None
    if isinstance(region, Region) or callable(region):
        options.setdefault("region", "l1")  # a name is required; the object decides
    settings = resolve(Config, config, options)
    objective: Any = (
        read_problem(problem, settings) if isinstance(problem, (str, Path)) else problem
    )
    found_problem = callable(objective)
    if not found_problem:
        raise ValueError(
            f"{type(problem).__name__} is no problem; give an objective such as LogisticLoss(X, "
            "y), a function returning value and gradient, or a file in svmlight form."
        )
    if region is None:
        region = settings.made_region()
    elif not isinstance(region, Region):
        region = Oracle(region)
    form = tuple(getattr(objective, "shape", shape or ())) or (() if start is None else start.shape)
    if not form:
        raise ValueError("the shape of x is not known; give start= or shape=.")
    region = region.sized(form)
    if out is None:
        return _search(objective, region, form, start, settings)
    if not certifiable(objective, region):
        raise FrankWolfeError(
            f"a run of {type(objective).__name__} over {region} could not be checked by anybody, "
            "because one of them is a function or of a kind without a checker; leave out out=."
        )
    model = cast("LinearModel", objective)  # what is certifiable is one
    identity = {**to_plain(settings), "region": region.as_plain(), "problem": _digest(model)}
    if start is not None:
        identity["start"] = _hash(start)
    with Run.create(out, kind=KIND, config=identity, resume=resume, force=force) as run:
        if resume and (run.path / "result.json").exists():
            return _opened(run, model, region)
        found = _search(objective, region, form, start, settings)
        found = replace(found, path=run.path, certificate=found.save(run.path))
        write_optimum_report(run.path, found)
        if not run.records():
            append_record(
                run.path / "records.jsonl",
                question=f"What is the least {model.kind} over {region}?",
                configuration=run.config,
                seed=settings.seed,
                samples={"value": found.value, "gap": found.gap, "lmo_calls": found.lmo_calls},
                wall_seconds=found.trace[-1].seconds,
            )
        run.write_json(
            "result.json",
            {
                "status": found.status,
                "value": found.value,
                "gap": found.gap,
                "method": found.method,
                "trace": [list(vars(row).values()) for row in found.trace],
                "solution_sha256": sha256_file(run.path / "solution.safetensors"),
            },
        )
        return found


def path(problem: Any, region: Ball, radii: Iterable[float], **options: Any) -> list[Optimum]:
    """Minimise over one region at several radii, each search starting from the last answer.

    Args:
        problem: As for `minimize`.
        region: A region with a radius; the other radii replace it.
        radii: The sizes, in the order of solving; ascending is usual.
        **options: As for `minimize`.

    Returns:
        One optimum a radius.
    """
    found: list[Optimum] = []
    for radius in radii:
        sized = region._replaced(radius=float(radius), diameter=None, width=None)
        start = None
        if found:
            start = sized.shrink(found[-1].x)
        found.append(minimize(problem, sized, start=start, **options))
    return found


def _search(
    objective: Any,
    region: Region,
    shape: tuple[int, ...],
    start: np.ndarray | None,
    config: Config,
) -> Optimum:
    method = config.method
    if method == "auto":
        method = "pairwise" if type(region).__name__ in POLYTOPES else "frank-wolfe"
    if start is None:
        x = region.lmo(np.zeros(shape))
    else:
        x = np.array(start, dtype=np.float64)
        if x.shape != shape:
            raise ValueError(f"start has shape {x.shape}, the problem {shape}.")
        if not bool(region.contains(x, 1e-9)):
            raise ValueError(
                f"start lies outside {region}; begin at region.project(start), or leave it out."
            )
    if method in STOCHASTIC:
        if not isinstance(objective, LinearModel):
            raise ValueError(
                f"method={method!r} samples the examples of a finite sum, and a function has "
                "none; choose frank-wolfe, away, pairwise or lazy."
            )
        return stochastic(objective, region, replace(config, method=method), x)
    if config.adaptive:
        raise ValueError(f"adaptive=True is for the methods {', '.join(STOCHASTIC)}.")
    return _deterministic(objective, region, replace(config, method=method), x, start is not None)


def _deterministic(
    objective: Any, region: Region, config: Config, x: np.ndarray, given: bool
) -> Optimum:
    begun = time.perf_counter()
    state: State = (
        LinearState(objective, x)
        if isinstance(objective, LinearModel)
        else FunctionState(objective, x)
    )
    stepper = Stepper(
        "line-search" if config.step == "auto" else config.step,
        config.agnostic,
        config.lipschitz,
        config.fixed,
    )
    if stepper.rule == "short" and stepper.lipschitz == 0.0:
        if not isinstance(objective, LinearModel):
            raise ValueError("step='short' needs lipschitz= where the objective is a function.")
        stepper.lipschitz = objective.lipschitz()
    keep = config.method != "frank-wolfe"
    active = ActiveSet(x) if keep else None
    lazy_goal = np.inf
    trace: list[Row] = []
    lmo = region.following()
    lmo_calls = 0
    gap = np.inf
    status = "limit"
    bar = progress(config.iterations, "minimize") if sys.stderr.isatty() else None
    for t in range(config.iterations + 1):
        g = state.gradient()
        if t % _SETTLE == _SETTLE - 1:
            if active is not None:
                state.x = active.point()
            state.settle()
            g = state.gradient()
        v = None
        if config.method == "lazy" and active is not None and np.isfinite(lazy_goal):
            best = int((active.rows @ g.reshape(-1)).argmin())
            seen = active.atom(best)
            if float(np.vdot(g, state.x - seen)) >= lazy_goal / 2:
                v = seen
        if v is None:
            v = lmo(g)
            lmo_calls += 1
            gap = float(np.vdot(g, state.x - v))
            if config.method == "lazy":
                lazy_goal = gap if not np.isfinite(lazy_goal) else min(gap, lazy_goal / 2)
        seconds = time.perf_counter() - begun
        done = gap <= config.gap
        if done or t == config.iterations or gap <= _WORST * abs(state.value):
            trace.append(Row(t, state.value, gap, 0.0, lmo_calls, t + 1.0, seconds))
            status = "optimal" if done else "limit"
            break
        if active is None or config.method == "lazy":
            step = _towards(t, state, g, v, stepper, active)
        elif config.method == "away":
            step = _away(t, state, g, v, stepper, active)
        else:
            step = _pairwise(t, state, g, v, stepper, active)
        trace.append(Row(t, state.value, gap, step, lmo_calls, t + 1.0, seconds))
        if bar is not None:
            bar.advance(1, f"gap {gap:.3e}")
        if step == 0.0 and config.method != "lazy":  # rounding leaves no descent
            state.settle()
            if trace[-2:-1] and trace[-2].step == 0.0:
                status = "optimal" if gap <= config.gap else "limit"
                break
    x = state.x
    atoms = weights = None
    if active is not None:
        active.clean()
        x = active.point()
        atoms, weights = active.rows.reshape(-1, *active.shape).copy(), active.weights.copy()
    final = LinearState(objective, x) if isinstance(objective, LinearModel) else state
    return Optimum(
        status=status,
        x=x,
        value=final.value,
        gap=max(gap, 0.0),
        method=config.method,
        region=region,
        trace=tuple(trace),
        atoms=atoms,
        weights=weights,
        objective=objective,
    )


def _towards(
    t: int, state: State, g: np.ndarray, v: np.ndarray, stepper: Stepper, active: ActiveSet | None
) -> float:
    d = v - state.x
    state.look(d, v)
    step = stepper.step(t, state, d, -float(np.vdot(g, d)), 1.0)
    state.advance(step)
    if active is not None and step > 0:
        at = active.find(v)
        active.weights *= 1 - step
        active.weights[at] += step
        if step >= 1.0:
            active.weights[:] = 0.0
            active.weights[at] = 1.0
        active.clean()
    return step


def _away(
    t: int, state: State, g: np.ndarray, v: np.ndarray, stepper: Stepper, active: ActiveSet
) -> float:
    values = active.rows @ g.reshape(-1)
    worst = int(values.argmax())
    forward = float(np.vdot(g, state.x - v))
    backward = float(values[worst] - np.vdot(g, state.x))
    if forward >= backward or active.weights[worst] >= 1.0:
        return _towards(t, state, g, v, stepper, active)
    weight = float(active.weights[worst])
    most = weight / (1 - weight)
    d = state.x - active.atom(worst)
    state.look(d)
    step = stepper.step(t, state, d, backward, most)
    state.advance(step)
    active.weights *= 1 + step
    active.weights[worst] -= step
    if step >= most:
        active.weights[worst] = 0.0
    active.weights[active.weights < 0] = 0.0
    active.clean()
    return step


def _pairwise(
    t: int, state: State, g: np.ndarray, v: np.ndarray, stepper: Stepper, active: ActiveSet
) -> float:
    worst = int((active.rows @ g.reshape(-1)).argmax())
    away = active.atom(worst).copy()
    most = float(active.weights[worst])
    d = v - away
    descent = -float(np.vdot(g, d))
    if descent <= 0.0:
        return 0.0
    state.look(d)
    step = stepper.step(t, state, d, descent, most)
    state.advance(step)
    at = active.find(v)
    active.weights[at] += step
    active.weights[worst] -= step
    if step >= most:
        active.weights[worst] = 0.0
    active.clean()
    return step


def stochastic(
    model: LinearModel,
    region: Region,
    config: Config,
    x: np.ndarray,
    draws: Iterable[np.ndarray] | None = None,
    step_at: Callable[[int], float] | None = None,
    seen: Callable[[int, np.ndarray, np.ndarray], None] | None = None,
) -> Optimum:
    """Run a stochastic method; the gap is exact, computed on the whole sum about once a pass.

    Args:
        model: The finite sum.
        region: Where x lives.
        config: The options.
        x: Where to begin.
        draws: Batches of example numbers; by default every example once a pass.
        step_at: The step of each iteration; by default the rule's own.
        seen: Called with t, the direction and the next point.
    """
    begun = time.perf_counter()
    size = min(model.n, config.batch_size or max(1, model.n // 100))
    stream: Iterator[np.ndarray] = iter(draws or batches(model.n, size, config.seed))
    estimator = Estimator(config.method, model)
    metric = None
    if config.adaptive:
        betas = (0.9, 0.999) if config.adam else None
        metric = Metric(config.inner_steps, config.eta, betas=betas)
    sliding = Sliding(region, model.lipschitz(), x) if config.method == "scgs" else None
    if sliding is not None and config.adaptive:
        raise ValueError("adaptive=True replaces the step of a method, and scgs has its own.")
    if sliding is not None and config.step != "auto":
        raise ValueError(f"step={config.step!r}: scgs has steps of its own; leave step out.")
    every = max(1, model.n // size)
    trace: list[Row] = []
    whole, sampled = region.following(), region.following()
    lmo_calls, status, step = 0, "limit", 0.0
    best: tuple[float, float, np.ndarray] | None = None
    for t, batch in enumerate(islice(stream, config.iterations + 1)):
        spent = estimator.gradients / model.n
        last = t == config.iterations or (config.passes > 0 and spent >= config.passes)
        if t % every == 0 or last or sliding is not None:
            value, g = model(x)
            gap = float(np.vdot(g, x - whole(g)))
            seconds = time.perf_counter() - begun
            trace.append(Row(t, value, gap, step, lmo_calls, spent, seconds))
            if best is None or gap < best[1]:
                best = value, gap, x
            if gap <= config.gap:
                status = "optimal"
                break
            if last:
                break
            if config.method == "spider":
                estimator.refresh()
        if sliding is not None:
            wanted = sliding.batch_size(t, size, model.n)
            while len(batch) < wanted:
                batch = np.concatenate([batch, next(stream)])[:wanted]
            d = estimator.direction(t, sliding.looks_at(t, x), batch)
            x, calls = sliding.move(t, d, x)
            lmo_calls, step = lmo_calls + calls, 3.0 / (t + 3.0)
            if seen is not None:
                seen(t, d, x)
            continue
        d = estimator.direction(t, x, batch)
        step = step_at(t) if step_at else _open_loop(config, t)
        if np.any(d):
            if metric is not None:
                x = metric.move(x, d, region)
                lmo_calls += config.inner_steps
            else:
                x = x + step * (sampled(d) - x)
                lmo_calls += 1
        if seen is not None:
            seen(t, d, x)
    assert best is not None
    value, gap, x = best
    return Optimum(
        status=status,
        x=x,
        value=value,
        gap=max(gap, 0.0),
        method=("ada-" if metric else "") + config.method,
        region=region,
        trace=tuple(trace),
        objective=model,
    )


def _open_loop(config: Config, t: int) -> float:
    if config.step in ("auto", "agnostic"):
        if config.method == "msfw":
            return 2.0 / (t + 8.0)
        if config.method == "orgfw":
            return 1.0 / (t + 1.0) ** (2 / 3)
        if config.method == "1-sfw":
            return 1.0 / (t + 1.0)
        return config.agnostic / (t + config.agnostic)
    if config.step == "sqrt":
        return 1.0 / (t + 1.0) ** 0.5
    if config.step == "fixed":
        return config.fixed
    raise ValueError(
        f"step={config.step!r} needs exact gradients; the stochastic methods take agnostic, sqrt "
        "and fixed."
    )


def _opened(run: Run, objective: LinearModel, region: Region) -> Optimum:
    result = run.read_json("result.json")
    file = run.path / "solution.safetensors"
    if sha256_file(file) != result["solution_sha256"]:
        raise RunError(f"{file} is damaged; restore it, or run again with --force.")
    return Optimum(
        status=result["status"],
        x=load_file(file)["x"],
        value=result["value"],
        gap=result["gap"],
        method=result["method"],
        region=region,
        trace=tuple(Row(*row) for row in result["trace"]),
        path=run.path,
        certificate=run.path / "certificate.json",
        objective=objective,
    )


def _digest(objective: LinearModel) -> str:
    parts = [objective.kind, repr(objective.ridge), repr(objective.shape)]
    parts += [f"{name}:{_hash(tensor)}" for name, tensor in objective.tensors().items()]
    return " ".join(parts)


def _hash(array: np.ndarray) -> str:
    import hashlib

    raw = np.ascontiguousarray(array)
    return hashlib.sha256(repr((raw.dtype.str, raw.shape)).encode() + raw.tobytes()).hexdigest()
