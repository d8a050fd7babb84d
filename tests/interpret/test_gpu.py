"""Games, provers and attacks on a GPU: the same kinds of answers, certificates that hold."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from extremal import interpret, verify  # noqa: E402
from extremal.interpret import (  # noqa: E402
    TrainConfig,
    attribution,
    certify,
    eval_x,
    fw_rde,
    train,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]
QUICK = {"classes": ("3", "8"), "epochs": 2, "pretrain": 2, "device": "cuda"}


@pytest.mark.parametrize("options", [
    {"prover": "mlp"},
    {"prover": "u-net", "morgana": "learned", "shared": True, "variant": "continuous"},
    {"prover": "mlp", "morgana": "learned", "condition": "none", "variant": "gumbel"},
    {"prover": "u-net", "condition": "gate", "variant": "soft-top-k", "tv": 0.1},
    {"prover": "frank-wolfe", "iterations": 5, "attacker_epochs": 1},
    {"prover": "adam", "morgana": "adam", "iterations": 5, "attacker_epochs": 0},
    {"prover": "mlp", "one_sided": "3", "avoid": ("3,3",)},
], ids=lambda o: "-".join(map(str, o.values()))[:40])  # fmt: skip
def test_games_are_played_and_audited_on_the_gpu(tmp_path, options):
    game = train(config=TrainConfig(**{**QUICK, **options}), out=tmp_path / "run")
    found = certify(game, device="cuda", restarts=1)
    assert {"frank-wolfe", "adam"} <= set(found.numbers["attacks"])
    assert verify.file(tmp_path / "run" / "certificate.json").status == "accepted"
    assert game.arthur.device.type == "cpu"  # the game itself stays as it was saved


def test_a_learned_prover_shows_the_same_there_and_here():
    game = train(config=TrainConfig(**QUICK))
    rows = game.task.audit
    here = game.merlin(rows.codes, rows.labels)
    there = game.to("cuda").merlin(rows.codes, rows.labels)
    assert np.mean(here == there) > 0.999  # float32 sums may turn a near tie


@pytest.mark.parametrize("how", ["saliency", "integrated-gradients", "gradient-shap"])
def test_attributions_agree(how):
    game = train(config=TrainConfig(**QUICK, attacker_epochs=0))
    rows = game.task.audit.take(slice(0, 50))
    nets = [interpret.whole_row_network(game.task, epochs=2, device=d) for d in ("cpu", "cuda")]
    nets[1].load_state_dict(nets[0].state_dict())
    here, there = (attribution(net, game.task, how, 6)(rows.codes, rows.labels) for net in nets)
    assert np.mean(here == there) > 0.99


def test_fw_rde_and_eval_x_run():
    game = train(config=TrainConfig(**QUICK, attacker_epochs=0))
    rows = game.task.audit.take(slice(0, 20))
    net = interpret.whole_row_network(game.task, epochs=1, device="cuda", masked=True)
    assert fw_rde(net, game.task, 6, iterations=3, draws=4)(rows.codes, rows.labels).sum() == 120
    reader = eval_x(game.task, epochs=1)
    assert reader(rows.codes, np.ones(rows.codes.shape, bool)).shape == (20,)
