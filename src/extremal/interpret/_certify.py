"""The verb `certify`: audit a classifier with any explainer, ours or anybody's.

Works without torch, unless the classifier needs it.
"""

import inspect
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from extremal.lab import (
    Run,
    append_record,
    command,
    generator,
    imported,
    require,
    resolve,
    to_plain,
    write_certificate,
)

from ._arthur import Arthur, Asked, Lookup
from ._attacks import Siege
from ._audit import Terms, audit
from ._data import DataConfig, load_task
from ._errors import InterpretError, OverlapWarning
from ._explainers import Explainer, Rules, random_masks
from ._result import CERTIFICATE_ARRAYS, Audit, from_counted
from ._search import SEARCHES, Searching
from ._task import Task, check_size

if TYPE_CHECKING:
    from ._trained import Trained

_K = 2  # units shown where neither a run nor the caller says


@dataclass(frozen=True)
class CertifyConfig(DataConfig):
    """What is audited, on which rows, and how sure the answer is to be."""

    classifier: str = "lookup"
    """`lookup` (majority of the training rows), or `module:function` of yours."""
    explainer: str = "auto"
    """`rules`, `merlin` (a run's own), `greedy`, `swaps`, `brute-force` (search what convinces the
    classifier), `random`, or `module:function`; by default what fits."""
    labels: str | None = None
    """`module:function` of a black box on codes of whole rows; its answers become the classes."""
    k: int | None = None
    """The most units that a prover may show; by default the run's, or 2."""
    smallest: int | None = None
    """The fewest units of a feature; by default 1 for tables, k for images."""
    samples: int | None = None
    """Audit rows; all by default."""
    confidence: float = 0.95
    """Of each statement, taken alone."""
    kappa: float = 1.0
    """Assumed: asymmetric feature correlation at most this."""
    alpha: float = 1.0
    """Assumed: Morgana's relative success rate at least this; replay makes it 1 or more."""
    shift: float = 0.0
    """Assumed: total variation between the audited and the true rows of a class at most this."""
    purity: float = 0.9
    """`lookup` answers a class from this share of the matching training rows up."""
    support: int = 20
    """`lookup` answers and `rules` shows nothing with fewer matching training rows."""
    avoid: tuple[str, ...] = ()
    """Columns that the explainer `rules` does not show although Morgana may."""
    attacks: tuple[str, ...] = ("auto",)
    """Morgana's attacks; `replay` is always run."""
    restarts: int = 2
    """Of the attacks by gradients."""
    budget: int = 5_000_000
    """Features that one attack may look at."""
    chunk: int = 8
    """Reference rows for each audited row in the direct certificate."""
    device: str = "cpu"
    """Where the networks of a run answer, explain and are attacked."""


@command(options=CertifyConfig, inputs=("run?",))
def certify(
    arthur: "Arthur | Trained | Path | str | None" = None,
    explainer: Explainer | str | None = None,
    data: Task | str | None = None,
    *,
    config: CertifyConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    reader: Any = None,
    **options: Any,
) -> Audit:
    """Audit a classifier and an explainer: attack them, and bound what explanations are worth.

    Merlin is the explainer; he is asked for a feature of every audit row. Morgana is the union of
    all attacks, replay always among them. From how often each succeeds follows a lower bound of the
    precision of the explanations, with its assumptions, or the verdict `vacuous`.

    Args:
        arthur: A run of `train` (folder or object), or any function of codes and masks; by default
            the `classifier` option.
        explainer: Any function of codes and classes to masks, or a name (the `explainer` option).
        data: A task, or the name of one (the `data` option); by default the run's.
        config: All options at once; or give any of its fields as keywords.
        out: Run folder for certificate, report and pictures; of a run by default the run itself.
        resume: Audit again into `out`, where the options are the same: the same result.
        force: Replace the audit in `out`.
        reader: Reads masked rows independently of Arthur; by default naive Bayes.
        **options: Fields of `CertifyConfig`; they replace those of `config`.

    Returns:
        Every number, a verdict in plain language, and the certificate where it was saved.

    Raises:
        ValueError: An option is out of range, or a class has no audit row.
        InterpretError: Arthur cannot say don't know, a prover invents values, or audit and
            reference rows overlap.
        TooFewSamples: Even a perfect audit of so few rows would be vacuous; the text says how
            many are needed.
        OverBudget: An attack asked for by name needs more questions than `budget`.

    Example:
        >>> found = certify(data="monks", k=3)
        >>> found.verdict, found.numbers["attacks"]
        ('certified', ['replay', 'exhaustive'])

    Cost: replay and counting take under a second for 2,000 rows; `exhaustive` looks at every set of
    at most k units, networks cost a forward pass a question.
    """
    if isinstance(data, str):
        options["data"] = data
    if isinstance(explainer, str):
        options["explainer"], explainer = explainer, None
    settings = resolve(CertifyConfig, config, options)
    begun = time.perf_counter()
    run: Any = None
    task = None if isinstance(data, str) else data
    if isinstance(arthur, (str, Path)) or type(arthur).__name__ == "Trained":
        require("torch", "interpret")
        from ._trained import Trained, load_trained

        run = arthur if isinstance(arthur, Trained) else load_trained(Path(str(arthur)))
        run = run.to(settings.device)
        if task is None:
            _refuse_data_options(settings)
            task = run.task
    if run is not None and out is None:
        _refuse_second(run, resume or force)
    given = task is not None
    task = task if task is not None else load_task(_data_of(settings))
    if settings.hide and given:
        task = task.hide(*settings.hide)
    if settings.labels is not None:
        task = task.relabelled(imported(settings.labels, "black box"))
    if settings.samples is not None:
        task = task.sampled(settings.samples)
    k = settings.k if settings.k is not None else run.config.k if run is not None else _K
    check_size(k, task)
    judge, shows, subject = _players(settings, arthur, explainer, run, task, k)
    smallest = settings.smallest if settings.smallest is not None else k if task.image else 1
    terms = Terms(
        smallest, k, settings.confidence, settings.kappa, settings.alpha, settings.shift,
        settings.chunk, settings.seed, settings.budget, settings.attacks,
    )  # fmt: skip
    own: dict[str, Callable[[Siege], str]] = {}
    if hasattr(judge, "attacks"):
        own = cast("Any", judge).attacks(settings.restarts, settings.seed)
    started = time.perf_counter()
    counted = audit(task, Asked(judge, task.classes), shows, terms, own, reader)
    ended = time.perf_counter()
    for note in counted.notes:
        if "training" in note:
            warnings.warn(note, OverlapWarning, stacklevel=3)
    seconds = {"preparing": started - begun, "audit": ended - started}
    found = from_counted(counted, subject, task, terms, seconds)
    return found if out is None and run is None else _save(
        found, settings, out, run, resume=resume, force=force
    )  # fmt: skip


def _players(
    settings: CertifyConfig, arthur: Any, explainer: Explainer | None, run: Any, task: Task, k: int
) -> tuple[Arthur, Explainer, str]:
    """Arthur, Merlin and what to call them."""
    tables = None
    if run is not None:
        judge, who = run.arthur, f"Arthur of a run ({run.config.arthur})"
    elif arthur is not None:
        judge, who = arthur, getattr(arthur, "name", type(arthur).__name__)
    elif settings.classifier == "lookup":
        lookup = Lookup(task, settings.purity, settings.support)
        tables = lookup.tables
        judge, who = lookup, f"lookup with purity {settings.purity:g}, support {settings.support}"
    else:
        judge, who = own_function(settings.classifier, "classifier", task, k), settings.classifier
    name = settings.explainer
    if explainer is not None:
        return judge, explainer, f"{who}, explained by {getattr(explainer, 'name', 'a function')}"
    if name == "auto":
        name = "merlin" if run is not None else "rules"
    if name == "merlin":
        if run is None:
            raise ValueError("explainer=merlin is a run's own; name the run, or use rules.")
        return judge, run.merlin.on(task), f"{who}, explained by {run.merlin.name}"
    if name == "rules":
        shows: Explainer = Rules(task, k, settings.support, settings.avoid, tables)
        return judge, shows, f"{who}, explained by rules on at most {k} columns"
    if name in SEARCHES:
        search = Searching(judge, task, k, name, settings.seed, settings.budget)
        return judge, search, f"{who}, explained by {name} search for {k} units"
    if name == "random":
        seed = settings.seed

        def anything(codes: Any, labels: Any) -> Any:
            return random_masks(len(labels), task, k, generator(seed, "explainer"))

        return judge, anything, f"{who}, explained by random units"
    return judge, own_function(name, "explainer", task, k), f"{who}, explained by {name}"


def own_function(name: str, what: str, task: Task, k: int) -> Any:
    """Return a function of the user's; one that takes `task` makes the function."""
    if ":" not in name:
        raise ValueError(f"there is no {what} {name!r}; write your own as module:function.")
    function = imported(name, what)
    taken = inspect.signature(function).parameters
    if "task" not in taken:
        return function
    return function(**{n: v for n, v in (("task", task), ("k", k)) if n in taken})


def _data_of(settings: CertifyConfig) -> DataConfig:
    return DataConfig(**{f.name: getattr(settings, f.name) for f in fields(DataConfig)})


def _refuse_data_options(settings: CertifyConfig) -> None:
    given = [
        f.name
        for f in fields(DataConfig)
        if f.name not in ("hide", "seed") and getattr(settings, f.name) != f.default
    ]
    if given:
        raise ValueError(
            f"a run brings its data, so {', '.join('--' + n for n in given)} would be ignored; "
            "leave them out, or pass data= in Python."
        )


def _refuse_second(run: Any, again: bool) -> None:
    if run.path is not None and (Path(run.path) / "certificate.json").exists() and not again:
        raise InterpretError(
            f"{run.path} has been certified already; replace that with --force, or choose --out."
        )


def _save(
    found: Audit, settings: CertifyConfig, out: str | Path | None, parent: Any, *,
    resume: bool, force: bool,
) -> Audit:  # fmt: skip
    """Write the audit into its own run folder, or beside the run that it is about."""
    if out is None:
        if parent.path is None:
            return found
        return write_audit(Run.open(parent.path), found)
    identity = {**to_plain(settings), "subject": found.subject, "task": found.task.fingerprint}
    with Run.create(
        out, kind="interpret/certify", config=identity, resume=resume, force=force
    ) as run:
        return write_audit(run, found)


def write_audit(run: Run, found: Audit) -> Audit:
    """Write arrays, certificate, record, pictures and report."""
    from safetensors.numpy import save

    from ._report import report

    arrays = {name: np.ascontiguousarray(a) for name, a in found.arrays.items()}
    run.write(CERTIFICATE_ARRAYS, save(arrays))
    certificate = write_certificate(run.path / "certificate.json", [found.part(run.path)])
    saved = replace(found, path=run.path, certificate=certificate)
    append_record(
        run.path / "records.jsonl",
        question="How precise are the explanations at least?",
        configuration=run.config,
        seed=found.terms.seed,
        samples={
            "bound": found.bound, "completeness": list(found.completeness),
            "soundness": list(found.soundness), "precision": found.precision,
        },
        wall_seconds=sum(found.seconds.values()),
    )  # fmt: skip
    report(saved)
    run.write_json("audit.json", saved.as_json())
    return saved
