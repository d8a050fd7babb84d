"""Learned oracles for the cascade: a trained scorer or encoder-decoder behind one interface."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from extremal.lab import generator, require

from ._errors import SosError
from ._polynomial import Polynomial, from_terms
from ._sumset import Rows, find

SHIPPED = Path(__file__).with_name("scorer")  # of the package, if it holds one
_THRESHOLD = 0.3  # below one half: a surplus monomial costs little, a missing one a stage


@dataclass(frozen=True)
class Oracle:
    """What the cascade asks.

    Attributes:
        seed: The first basis of a polynomial, before repair.
        scores: Of candidates; higher is more likely needed.
    """

    seed: Callable[[Polynomial], Rows]
    scores: Callable[[Polynomial, Rows], np.ndarray]


def load_oracle(name: str, permutations: int = 4) -> Oracle:
    """Return a trained oracle.

    Args:
        name: `"learned"` for the scorer of this package, or the folder of a training run.
        permutations: Of the variables, over which an encoder-decoder is averaged.

    Raises:
        MissingExtra: torch is not installed.
        SosError: The folder holds no trained network.
    """
    require("torch", "training")
    folder = SHIPPED if name == "learned" else Path(name)
    if not (folder / "model.json").is_file():
        what = "this package ships no scorer" if name == "learned" else f"{folder} holds no model"
        raise SosError(f"{what}; train one with extremal sos train --out FOLDER and give its path.")
    return _loaded(str(folder.resolve()), permutations)


@lru_cache(maxsize=8)
def _loaded(folder: str, permutations: int) -> Oracle:
    network, about = read_network(Path(folder))
    support_only = bool(about["support_only"])
    if about["network"] == "scorer":
        from ._graph import candidates, graph
        from ._scorer import probabilities

        def seed(p: Polynomial) -> Rows:
            rows = candidates(p)
            return rows[probabilities(network, graph(p, rows, support_only)) > _THRESHOLD]

        def scores(p: Polynomial, rows: Rows) -> np.ndarray:
            whole = candidates(p)
            given = probabilities(network, graph(p, whole, support_only))
            at = find(rows, whole)
            return np.where(at >= 0, given[at], 0.0)

        return Oracle(seed, scores)
    from ._consistency import repair
    from ._transformer import predict

    def predicted(p: Polynomial) -> Rows:
        return predict(network, p, support_only=support_only)

    def votes(p: Polynomial, rows: Rows) -> np.ndarray:
        """How often a candidate is in the repaired prediction of a permuted copy."""
        n = len(p.variables)
        rng = generator(0, "sos", "permutations")
        total = np.zeros(len(rows))
        for i in range(permutations + 1):
            order = np.arange(n) if i == 0 else rng.permutation(n)
            q = from_terms(
                {tuple(m[k] for k in order): c for m, c in p.terms.items()}, list(p.variables)
            )
            found = repair(predicted(q), q.support)[0]
            back = np.empty_like(found)
            back[:, order] = found
            total += find(rows, back) >= 0
        return total / (permutations + 1)

    return Oracle(predicted, votes)


def read_network(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return a trained network and what its folder says of it.

    Raises:
        SosError: A file is damaged or of another form.
    """
    from safetensors.torch import load_file

    from ._scorer import Scorer
    from ._transformer import Shape, Transformer

    try:
        about = json.loads((folder / "model.json").read_text())
        if about["network"] == "scorer":
            network: Any = Scorer(about["width"], about["rounds"])
        else:
            network = Transformer(Shape(**about["shape"]))
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise SosError(
            f"the network in {folder} cannot be read ({type(error).__name__}: {str(error)[:120]}); "
            "train it again."
        ) from error
    return network.eval(), about
