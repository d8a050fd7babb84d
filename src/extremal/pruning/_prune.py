"""The verb `prune`: a network, a sparsity and a budget of epochs in; a sparse network out."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from extremal import training
from extremal.lab import Run, append_record, command, resolve

from ._budget import Budget
from ._certificate import write_files, write_prune_certificate
from ._config import PHASED, Config
from ._metrics import parameter_sparsity, theoretical_speedup
from ._phases import Given, check_rates, run_in_training, run_phases
from ._report import write_prune_report
from ._result import Pruned
from ._runs import KIND, Store, answers, load_pruned, write_result
from ._start import Start, find_start, identity, told


@command(options=Config, inputs=("model_or_run?",))
def prune(
    model_or_run: Any = None,
    data: Any = None,
    *,
    config: Config | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    loss: Callable[..., Tensor] | None = None,
    training_step: Callable[..., Tensor] | None = None,
    **options: Any,
) -> Pruned:
    """Prune a network to a stated sparsity and retrain it.

    Args:
        model_or_run: A run folder of `training.fit` or of `prune`, a `training.Fit`, a result of
            `prune`, or any module; it is copied, never changed. None with the option `model`.
        data: A `training.Data`, a pair (training batches, test batches), training batches alone
            (no accuracy is measured then), or a data set's name; by default the dense run's.
        config: All options at once; or give any of its fields as keywords.
        out: Folder for the run: weights, masks, certificate, report.
        resume: Go on with the run in `out`; one that is finished is returned at once.
        force: Replace the run in `out`.
        loss: Of (outputs, labels); by default cross-entropy.
        training_step: Of (model, batch), returns the loss; in place of forward pass and `loss`.
        **options: Fields of `Config`; they replace those of `config`.

    Returns:
        The sparse network, its masks, accuracy, sparsity per layer, phases, cost, certificate.

    Raises:
        ValueError: An option or input makes no sense.
        PruningError: The weights cannot be pruned so.
        TrainingError: Data or weights cannot be read, or a training diverged.
        RunError: `out` holds another run.

    Example:
        >>> from extremal import training
        >>> dense = training.fit(model="mlp", epochs=2)
        >>> result = prune(dense, sparsity=0.9, epochs=1)
        >>> result.masks.pruned, result.masks.size
        (45389, 50432)
    """
    if isinstance(data, str):
        options["data"], data = data, None
    settings = resolve(Config, config, options)
    start = find_start(model_or_run, data, settings)
    check_rates(start, settings)
    given = Given(loss, training_step)
    if out is None:
        return _pruned(start, settings, Store(None), given)
    plain = identity(start, settings, weights_digest(start.model))
    with Run.create(out, kind=KIND, config=plain, resume=resume, force=force) as run:
        if resume and (run.path / "result.json").exists():
            return load_pruned(run.path, start.model)
        return _in_folder(run, start, settings, given)


def _in_folder(run: Run, start: Start, config: Config, given: Given) -> Pruned:
    """Run, keeping every finished step; `result.json` comes last and says that all is whole."""
    store = Store(run)
    run.write_json("start.json", told(start))
    parent = run.path / "parent.safetensors"
    if not parent.exists():
        training.save_tensors(parent, start.model.state_dict())
    training.load_tensors(parent)  # a damaged one is refused before hours of work, not after
    result = _pruned(start, config, store, given)
    write_files(run.path, result)
    tensors = answers(result.evaluation, "pruned.") | answers(result.dense_evaluation, "dense.")
    training.save_tensors(run.path / "evaluation.safetensors", tensors)
    certificate = write_prune_certificate(run.path, result, start.data_name)
    result = replace(result, path=run.path, certificate=certificate)
    write_prune_report(run.path, result, start.data_name)
    if not run.records():
        append_record(
            run.path / "records.jsonl",
            question=f"How accurate is {config.method} at sparsity {config.goal}?",
            configuration=run.config,
            seed=config.seed,
            samples={
                "accuracy": [phase.accuracy for phase in result.phases],
                "accuracy before retraining": [phase.accuracy_pruned for phase in result.phases],
                "sparsity": [phase.sparsity for phase in result.phases],
                "dense accuracy": result.dense_accuracy,
            },
            wall_seconds=result.budget.retrain.seconds,
            notes=start.note,
        )
    write_result(run, result)
    for number in range(1, config.phases + 1):  # finished: only the phases' own files remain
        store.drop(f"phase-{number}-training")
    return result


def _pruned(start: Start, config: Config, store: Store, given: Given) -> Pruned:
    work = run_phases if config.method in PHASED else run_in_training
    outcome = work(start, config, store, given)
    model = start.model
    speedup = theoretical_speedup(model, start.macs, outcome.masks) if start.macs else None
    return Pruned(
        model=model,
        masks=outcome.masks,
        config=config,
        phases=outcome.phases,
        sparsity=outcome.masks.sparsity,
        parameter_sparsity=parameter_sparsity(model),
        budget=Budget(outcome.dense, outcome.retrain),
        speedup=speedup,
        evaluation=outcome.evaluation,
        dense_evaluation=outcome.dense_evaluation,
        learning_rates=outcome.rates,
        note=start.note,
    )


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of names and values of the starting weights."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
