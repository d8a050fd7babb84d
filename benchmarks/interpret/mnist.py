"""What are explanations of MNIST digits worth, ours and those of Captum, SHAP and LIME?

Run:      python benchmarks/interpret/mnist.py --path ../shared/data/mnist.npz
          with --peers in an environment that has captum, shap and lime
Expect:   Without Morgana completeness stays high while the bound falls; the bound lies below the
          measured precision. Trained against the default Morgana (worst), games are certified;
          against pool alone gradients find what misleads Arthur. Attribution maps of equal size
          convince less.
Fairness: digits 3 and 8; the same splits, audit rows and attacks. A peer explains a network of the
          same form that was trained on whole images; its k highest pixels are judged by the same
          Arthur as Merlin's (k pixels, gamma 2), and by the same attacks, replay of its own
          features included. Peers run on fewer rows, because LIME is slow; ours is repeated on the
          same rows. An Arthur who learned from Merlin may not read a peer's features, so with
          --post-hoc he learns to read each peer's instead, against the same Morgana; of the slow
          ones (SHAP, LIME) that would need a map of every training row, and is not run.
"""

import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from extremal.interpret import (
    DataConfig,
    TrainConfig,
    attribution,
    certify,
    fw_rde,
    load_task,
    top_k,
    train,
    whole_row_network,
)
from extremal.lab import Table, append_record, read_records

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """What is measured; settings that are recorded already are skipped."""

    path: Path = Path("../shared/data/mnist.npz")
    out: Path = HERE / "results" / "mnist.jsonl"
    seeds: tuple[int, ...] = (0, 1, 2)
    sizes: tuple[int, ...] = (8, 16, 32, 64)
    gammas: tuple[float, ...] = (0.0, 2.0)
    epochs: int = 8
    samples: int = 1000
    peers: bool = False
    """Compare explainers instead of sweeping k and gamma."""
    post_hoc: bool = False
    """Compare explainers each with an Arthur who learned to read it."""
    peer_samples: int = 200
    k: int = 32
    morgana: str = "worst"
    """Of the training: worst, pool, or frank-wolfe with 15 iterations; gamma rises with worst."""
    device: str = "cpu"
    """Where games are played and attacked."""
    games: Path | None = None
    """Folder of the games' runs, so that an interrupted comparison need not play them again."""
    digits: bool = False
    """Compare on the embedded digits in place of MNIST; use --k 6."""


def numbers(found: Any) -> dict[str, Any]:
    """Return what the tables show of an audit."""
    n = found.numbers
    return {
        "completeness": list(found.completeness),
        "soundness": list(found.soundness),
        "soundness_under": found.soundness_under(),
        "precision": found.precision,
        "no_evidence": n["reference"]["no_evidence"],
        "population_precision": n["population"]["precision"],
        "bound": found.bound,
        "information": n["bounds"]["information"],
        "reader": n["reader"]["right"] / n["reader"]["n"],
        "n": n["n"],
        "verdict": found.verdict,
        "audit_seconds": found.seconds["audit"],
    }


def sweep(options: Options, known: list[Any]) -> None:
    """Train and audit every size and gamma."""
    for seed in options.seeds:
        for gamma in options.gammas:
            for k in options.sizes:
                what = {"k": k, "gamma": gamma, "explainer": "merlin", "epochs": options.epochs,
                        "prover": "mlp", "samples": options.samples,
                        **_place(options)}  # fmt: skip
                if (what, seed) in known:
                    continue
                game = _played(options, k, gamma, seed)
                found = certify(game, samples=options.samples, restarts=1, device=options.device)
                _record(options, what, seed, {**numbers(found), "train_seconds": game.seconds})


def _played(options: Options, k: int, gamma: float, seed: int) -> Any:
    config = _game(options, k, gamma, seed)
    if options.games is None:
        return train(config=config)
    name = f"{'digits' if options.digits else 'mnist'}-{options.morgana}-k{k}-g{gamma:g}-s{seed}"
    return replace(train(config=config, out=options.games / name, resume=True), path=None)


def _game(options: Options, k: int, gamma: float, seed: int) -> TrainConfig:
    if options.digits:
        return TrainConfig(
            classes=("3", "8"), k=k, gamma=gamma, seed=seed, epochs=options.epochs,
            morgana=options.morgana, warmup=_warmup(options), device=options.device,
        )  # fmt: skip
    return TrainConfig(
        data="mnist", path=str(options.path), classes=("3", "8"), k=k, gamma=gamma, seed=seed,
        epochs=options.epochs, pretrain=2, morgana=options.morgana if gamma else "none",
        iterations=15, attacker_epochs=1, warmup=_warmup(options), device=options.device,
    )  # fmt: skip


def _warmup(options: Options) -> float:
    return 0.5 if options.morgana == "worst" else 0.0


def _place(options: Options) -> dict[str, str]:
    """What a record says beside the usual: another Morgana of the training, another device."""
    found = {} if options.morgana == "pool" else {"morgana": options.morgana}
    return found if options.device == "cpu" else {**found, "device": options.device}


def _record(options: Options, what: dict[str, Any], seed: int, samples: dict[str, Any]) -> None:
    append_record(
        options.out,
        question="What are explanations of MNIST digits worth?",
        configuration=what,
        seed=seed,
        samples=samples,
        wall_seconds=samples.get("train_seconds", 0.0) + samples["audit_seconds"],
    )
    print(what, seed, samples["verdict"], round(samples["bound"], 3), flush=True)


def peers(options: Options, known: list[Any]) -> None:
    """Audit every explainer under one Arthur."""
    for seed in options.seeds:
        game = whole = None
        for name in ("merlin", *_PEERS):
            what = {"k": options.k, "gamma": 2.0, "explainer": name, "epochs": options.epochs,
                    "prover": "mlp", "samples": options.peer_samples,
                    "data": "digits" if options.digits else "mnist",
                    **_place(options)}  # fmt: skip
            if (what, seed) in known:
                continue
            if game is None or whole is None:
                game = _played(options, options.k, 2.0, seed)
                whole = whole_row_network(game.task, epochs=20 if options.digits else 3, seed=seed)
            task = game.task.sampled(options.peer_samples)
            # The catalogue asks an explainer too; as many rows of it are enough here.
            few = slice(0, options.peer_samples)
            task = replace(task, catalogue=task.catalogue.take(few))
            explainer = None if name == "merlin" else _PEERS[name](whole, task, options.k, seed)
            begun = time.perf_counter()
            found = certify(game, explainer, task, restarts=1, device=options.device)
            seconds = time.perf_counter() - begun
            _record(options, what, seed, {**numbers(found), "explaining_seconds": seconds})


def post_hoc(options: Options, known: list[Any]) -> None:
    """Train and audit an Arthur for each explainer that is quick enough."""
    for seed in options.seeds:
        for name in _QUICK:
            what = {"k": options.k, "gamma": 2.0, "explainer": f"{name}, post-hoc",
                    "epochs": options.epochs, "prover": "post-hoc", "samples": options.peer_samples,
                    "data": "digits" if options.digits else "mnist",
                    **_place(options)}  # fmt: skip
            if (what, seed) in known:
                continue
            config = _game(options, options.k, 2.0, seed)
            task = load_task(DataConfig(**{f.name: getattr(config, f.name)
                                           for f in fields(DataConfig)}))  # fmt: skip
            whole = whole_row_network(task, epochs=20 if options.digits else 3, seed=seed)
            game = train(task, config=config, merlin=_PEERS[name](whole, task, options.k, seed))
            few = game.task.sampled(options.peer_samples)
            found = certify(game, None, few, restarts=1, device=options.device)
            _record(options, what, seed, {**numbers(found), "train_seconds": game.seconds})


def _torch(whole: Any, codes: Any) -> Any:
    return whole.encoder.values(np.asarray(codes))


def _scores(whole: Any, d: int) -> Any:
    """The whole-row network as a torch module of the values alone."""
    import torch

    class Whole(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return whole(x, torch.ones(len(x), d))

    return Whole().eval()


def _captum(kind: str) -> Any:
    def make(whole: Any, task: Any, k: int, seed: int) -> Any:
        import captum.attr
        import torch

        method = getattr(captum.attr, kind)(_scores(whole, task.d))

        def values(codes: Any, labels: Any) -> Any:
            x = _torch(whole, codes)
            more = {"n_steps": 32} if kind == "IntegratedGradients" else {}
            found = method.attribute(x, target=torch.from_numpy(np.asarray(labels)), **more)
            return found.detach().numpy()

        return top_k(values, k, seed, task)

    return make


def _shap(whole: Any, task: Any, k: int, seed: int) -> Any:
    import shap

    model = _scores(whole, task.d)
    explainer = shap.GradientExplainer(model, _torch(whole, task.train.codes[:100]))

    def values(codes: Any, labels: Any) -> Any:
        found = np.asarray(explainer.shap_values(_torch(whole, codes), nsamples=50, rseed=seed))
        return found[np.arange(len(codes)), :, labels]

    return top_k(values, k, seed, task)


def _lime(whole: Any, task: Any, k: int, seed: int) -> Any:
    import torch
    from lime.lime_tabular import LimeTabularExplainer

    model = _scores(whole, task.d)

    def probabilities(x: Any) -> Any:
        with torch.no_grad():
            return torch.softmax(model(torch.from_numpy(x).float()), 1).numpy()

    explainer = LimeTabularExplainer(
        _torch(whole, task.train.codes[:1000]).numpy(), mode="classification",
        discretize_continuous=False, random_state=seed, feature_selection="highest_weights",
    )  # fmt: skip

    def values(codes: Any, labels: Any) -> Any:
        x = _torch(whole, codes).numpy().astype(float)
        out = np.full(x.shape, -np.inf)
        for i, label in enumerate(labels):
            found = explainer.explain_instance(
                x[i], probabilities, labels=(int(label),), num_features=k, num_samples=500
            )
            for unit, weight in found.local_exp[int(label)]:
                out[i, unit] = abs(weight)
        return out

    return top_k(values, k, seed, task)


_PEERS: dict[str, Any] = {
    "ours: saliency": lambda w, t, k, s: attribution(w, t, "saliency", k, s),
    "ours: FW-RDE": lambda w, t, k, s: fw_rde(w, t, k, iterations=20, draws=8, seed=s),
    "Captum: Saliency": _captum("Saliency"),
    "Captum: IntegratedGradients": _captum("IntegratedGradients"),
    "SHAP: GradientExplainer": _shap,
    "LIME: tabular": _lime,
}
_QUICK = ("ours: saliency", "ours: FW-RDE", "Captum: IntegratedGradients")


def main(options: Options) -> None:
    """Measure what is asked for and is not recorded yet."""
    done = read_records(options.out) if options.out.exists() else []
    known = [(r["configuration"], r["seed"]) for r in done]
    (post_hoc if options.post_hoc else peers if options.peers else sweep)(options, known)


def table(records: list[dict[str, Any]]) -> list[Table]:
    """Return the sweep over k and gamma, and the comparison of explainers."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for r in records:
        c = r["configuration"]
        key = (
            c["explainer"], c["samples"], c["k"], c["gamma"], c.get("data", "mnist"), c["epochs"],
            c["prover"], c.get("morgana", "pool") if c["gamma"] else "none",
        )  # fmt: skip
        groups.setdefault(key, []).append(r["samples"])

    def mean(values: list[Any]) -> float | None:
        known = [v for v in values if v is not None]
        return sum(known) / len(known) if known else None

    def row(s: list[dict[str, Any]]) -> list[Any]:
        return [
            len(s),
            mean([min(x["completeness"]) for x in s]),
            *(
                mean([min(x["soundness_under"][a]) for x in s if a in x["soundness_under"]])
                for a in ("replay", "pool", "swaps", "frank-wolfe", "adam", "learned")
            ),
            mean([min(x["soundness"]) for x in s]),
            mean([x["precision"] for x in s]),
            mean([x["no_evidence"] / sum(x["n"]) for x in s]),
            mean([x["bound"] for x in s]),
            mean([x["information"] for x in s]),
            mean([x["reader"] for x in s]),
        ]

    columns = [
        "seeds", "completeness", "sound: replay", "pool", "swaps", "Frank-Wolfe", "Adam", "learned",
        "all", "precision, measured", "no evidence", "bound, 95 %", "bits", "read by naive Bayes",
    ]  # fmt: skip
    # A game on a GPU is the same game: its records stand in one row with those of a CPU.
    compared = {(k[1], k[4]) for k in groups if k[0] != "merlin"}
    sweeps = [k for k in groups if (k[1], k[4]) not in compared]
    others = [k for k in groups if k not in sweeps]
    out = [
        Table(
            ["k", "gamma", "Morgana", "epochs", *columns],
            [
                [k[2], k[3], k[7], k[5], *row(groups[k])]
                for k in sorted(sweeps, key=lambda k: (k[3], k[7], k[2], k[5]))
            ],
            title="Merlin, by k and gamma; the lesser of the two classes, mean of the seeds",
        )
    ]
    if others:
        out.append(
            Table(
                ["data", "rows", "Morgana", "explainer", "k", *columns],
                [[k[4], k[1], k[7], k[0], k[2], *row(groups[k])] for k in others],
                title="Explainers of equal size under one Arthur (gamma 2), or post-hoc under one "
                "that learned to read them, and the same attacks",
            )
        )
    return out


if __name__ == "__main__":
    main(tyro.cli(Options))
