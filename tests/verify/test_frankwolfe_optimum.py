"""Forgeries of `frankwolfe/optimum`: each field changed by the least amount is rejected."""

import copy
import hashlib
import json

import numpy as np
import pytest
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from extremal import frankwolfe as fw
from extremal import verify

rng = np.random.default_rng(5)
X = rng.standard_normal((40, 6))
Y = np.sign(X @ rng.standard_normal(6) + 0.3)
SPD = np.eye(6) + 0.1
M = rng.standard_normal((4, 4))
ROWS, COLUMNS = np.divmod(np.arange(16), 4)
POINTS = rng.standard_normal((9, 6))
# Node 0 is out of the source's reach, and node 5 a dead end.
EDGES = [[0, 2], [1, 2], [1, 3], [2, 4], [3, 4], [2, 5]]
TRIANGLE = fw.Hull([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
SHORT = fw.FlowPolytope([[0, 1], [0, 1]], source=0, sink=1)
INNER = fw.Product([SHORT, fw.L2Ball(0.1)], [(2,), (1,)])


def over_rows(objective, region):
    return objective(X, Y), region


def over_matrices(region):
    return fw.MatrixCompletion(ROWS, COLUMNS, (M + M.T).ravel(), shape=(4, 4)), region


PROBLEMS = {
    "logistic-l1": over_rows(fw.LogisticLoss, fw.L1Ball(1.5)),
    "squared-l2": over_rows(fw.SquaredLoss, fw.L2Ball(0.5)),
    "hinge-linf": over_rows(fw.SquaredHinge, fw.LinfBall(0.2)),
    "lp": over_rows(fw.SquaredLoss, fw.LpBall(0.5, p=3)),
    "lp-inf": over_rows(fw.SquaredLoss, fw.LpBall(0.1, p=float("inf"))),
    "k-sparse": over_rows(fw.LogisticLoss, fw.KSparse(0.5, k=2)),
    "k-norm": over_rows(fw.LogisticLoss, fw.KNorm(0.7, k=2)),
    "k-support": over_rows(fw.LogisticLoss, fw.KSupport(0.7, k=2)),
    "simplex": over_rows(fw.LogisticLoss, fw.Simplex(1.0)),
    "unit-simplex": over_rows(fw.LogisticLoss, fw.UnitSimplex(1.0)),
    "hypersimplex": over_rows(fw.LogisticLoss, fw.Hypersimplex(0.4, k=3)),
    "unit-hypersimplex": over_rows(fw.LogisticLoss, fw.UnitHypersimplex(0.4, k=3)),
    "permutahedron": over_rows(fw.SquaredLoss, fw.Permutahedron((0.0, 0.1, 0.2, 0.0, 0.0, -0.5))),
    "owl": over_rows(fw.SquaredLoss, fw.OWLBall(1.0, weights=(3, 2, 1, 1, 1, 1))),
    "box": over_rows(fw.SquaredLoss, fw.Box(-0.1, 0.2)),
    "diamond": over_rows(fw.SquaredLoss, fw.Diamond(-0.3, 0.6)),
    "ellipsoid": over_rows(fw.SquaredLoss, fw.Ellipsoid(SPD, 0.01 * np.ones(6), radius=0.1)),
    "sign": over_rows(fw.SquaredLoss, fw.Sign(0.1)),
    "nuclear": over_matrices(fw.NuclearBall(1.0)),
    "spectral": over_matrices(fw.SpectralBall(0.5, scaling="outputs")),
    "group-l1": over_matrices(fw.GroupL1(1.0)),
    "group-k-support": over_matrices(fw.GroupKSupport(1.0, k=2)),
    "spectral-k-support": over_matrices(fw.SpectralKSupport(1.0, k=2)),
    "ky-fan": over_matrices(fw.KyFanKSparse(0.5, k=2)),
    "columns": over_matrices(fw.ColNorm(0.2)),
    "rows": over_matrices(fw.RowNorm(0.5)),
    "spectraplex": over_matrices(fw.Spectraplex(1.0)),
    "spectrahedron": over_matrices(fw.UnitSpectrahedron(1.0)),
    "fantope": over_matrices(fw.Fantope(k=2)),
    "birkhoff": over_matrices(fw.Birkhoff()),
    "hull": over_rows(fw.LogisticLoss, fw.Hull(POINTS)),
    "flow": over_rows(fw.SquaredLoss, fw.FlowPolytope(EDGES, source=1, sink=4)),
    "product": over_rows(fw.LogisticLoss, fw.Product([fw.Birkhoff(), TRIANGLE], [(2, 2), (2,)])),
    "nested": over_rows(
        fw.SquaredLoss,
        fw.Product(
            [fw.L1Ball(0.5), fw.Product([SHORT, fw.L2Ball(0.1)], [(2,), (1,)])], [(3,), (3,)]
        ),
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder for each problem, made once."""
    folders = {}
    for name, (objective, region) in PROBLEMS.items():
        folder = tmp_path_factory.mktemp(name)
        fw.minimize(objective, region, gap=1e-4, iterations=300).save(folder)
        folders[name] = folder
    return folders


@pytest.fixture
def genuine(made, tmp_path):
    """A copy of the logistic certificate that a test may damage."""
    return copied(made["logistic-l1"], tmp_path)


def copied(folder, to):
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def claim_of(folder):
    return json.loads((folder / "certificate.json").read_text())


def rewrite(folder, body):
    for name in ("problem", "solution"):
        raw = (folder / f"{name}.safetensors").read_bytes()
        body["parts"][0]["claim"][f"{name}_sha256"] = hashlib.sha256(raw).hexdigest()
    (folder / "certificate.json").write_text(json.dumps(body))


def verdict(folder):
    return verify.file(folder / "certificate.json")


@pytest.mark.parametrize("name", PROBLEMS)
def test_accepts_every_region(made, name):
    found = verdict(made[name])
    assert found.accepted, found.reason


@pytest.mark.parametrize("name", PROBLEMS)
def test_rejects_a_point_outside(made, name, tmp_path):
    folder = copied(made[name], tmp_path)
    body = claim_of(folder)
    tensors = load_file(folder / "solution.safetensors")
    tensors["x"] = tensors["x"] * 1.001 + 1e-4
    objective, region = PROBLEMS[name]
    if bool(region.contains(tensors["x"], 1e-9)):
        tensors["x"] = tensors["x"] * 4 + 1
    value, g = objective(tensors["x"])
    save_file(tensors, folder / "solution.safetensors")
    claim = body["parts"][0]["claim"]
    claim["value"] = value
    claim["gap"] = float(region.gap(g, tensors["x"]))
    rewrite(folder, body)
    assert verdict(folder).status == "rejected"


@pytest.mark.parametrize("field", ["value", "gap"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_rejects_a_number_off_by_little(genuine, field, sign):
    body = claim_of(genuine)
    claim = body["parts"][0]["claim"]
    claim[field] += sign * 2 * claim["tolerance"]
    rewrite(genuine, body)
    assert field in verdict(genuine).reason


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tolerance", 3e-9),
        ("tolerance", -1.0),
        ("feasibility", 1.1e-9),
        ("violation", 1e-11),
        ("shape", [7]),
        ("region", {"region": "L1Ball", "radius": 1.49}),
        ("region", {"region": "L1Ball", "radius": 1.51}),
        ("region", {"region": "L1Ball", "radius": -1.5}),
        ("region", {"region": "L1Ball", "radius": "1.5"}),
        ("region", {"region": "L2Ball", "radius": 1.5}),
        ("region", {"region": "L1Ball", "radius": 1.5, "k": 1}),
        ("region", {"region": "KSparse", "radius": 1.5, "k": 7}),
        ("region", {"region": "Nothing"}),
        ("objective", {"kind": "squared", "ridge": 0.0}),
        ("objective", {"kind": "logistic", "ridge": 1e-3}),
        ("objective", {"kind": "logistic", "ridge": -1.0}),
        ("objective", {"kind": "concave", "ridge": 0.0}),
        ("objective", {"kind": "logistic"}),
        ("problem_sha256", "0" * 64),
    ],
)
def test_rejects_a_changed_claim(genuine, field, value):
    body = claim_of(genuine)
    body["parts"][0]["claim"][field] = value
    (genuine / "certificate.json").write_text(json.dumps(body))
    assert verdict(genuine).status == "rejected"


@pytest.mark.parametrize(
    ("file", "tensor"), [("solution", "x"), ("problem", "X"), ("problem", "y")]
)
def test_rejects_changed_data(genuine, file, tensor):
    path = genuine / f"{file}.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert "SHA-256" in verdict(genuine).reason
    raw[-1] ^= 1
    path.write_bytes(raw)
    whole = load_file(path)
    whole[tensor] = whole[tensor].copy()
    whole[tensor].flat[1] *= -1.001 if tensor != "y" else -1
    if tensor == "x" and whole[tensor].flat[1] == 0:
        whole[tensor].flat[1] = 1e-6
    save_file(whole, path)
    body = claim_of(genuine)
    rewrite(genuine, body)
    assert verdict(genuine).status == "rejected"


def test_rejects_bad_labels_types_and_names(genuine):
    path = genuine / "problem.safetensors"
    whole = load_file(path)
    for change in (
        {"y": np.where(whole["y"] > 0, 1.0, 0.0)},
        {"y": whole["y"].astype(np.float32)},
        {"X": whole["X"][:, :5].copy()},
        {"X": np.full_like(whole["X"], np.nan)},
        {"extra": whole["y"]},
    ):
        save_file({**whole, **change}, path)
        rewrite(genuine, claim_of(genuine))
        assert verdict(genuine).status == "rejected"
    path.write_bytes(b"nothing")
    rewrite(genuine, claim_of(genuine))
    assert "no safetensors" in verdict(genuine).reason


@pytest.mark.parametrize("field", ["u", "v"])
def test_birkhoff_potentials_carry_the_bound(made, tmp_path, field):
    folder = copied(made["birkhoff"], tmp_path)
    body = claim_of(folder)
    tensors = load_file(folder / "solution.safetensors")
    for change in (1e-6, -1e-6):
        forged = {**tensors, field: tensors[field] + np.eye(4)[2] * change}
        save_file(forged, folder / "solution.safetensors")
        rewrite(folder, copy.deepcopy(body))
        assert "gap" in verdict(folder).reason


@pytest.mark.parametrize(
    ("name", "tensor"),
    [("hull", "weights"), ("flow", "potentials"), ("product", "1.weights"), ("product", "0.u"),
     ("nested", "1.0.potentials")],
)  # fmt: skip
def test_every_witness_carries_its_part(made, tmp_path, name, tensor):
    folder = copied(made[name], tmp_path)
    body = claim_of(folder)
    tensors = load_file(folder / "solution.safetensors")
    changes = [
        {tensor: tensors[tensor] + 1e-6 * np.eye(tensors[tensor].size)[i] * sign}
        for sign in (-1, 1)
        for i in ((0, -1) if tensor == "weights" else (-1,))
    ]
    changes += [{tensor: tensors[tensor][:-1].copy()}, {"more": tensors[tensor]}]
    if "potentials" in tensor:  # a lower sink proves less; so does a higher source
        source, sink = (1, 4) if name == "flow" else (0, 1)
        nodes = np.eye(tensors[tensor].size)
        changes[:2] = [{tensor: tensors[tensor] - 1e-6 * (nodes[sink] - nodes[source])}]
    for change in changes:
        save_file({**tensors, **change}, folder / "solution.safetensors")
        rewrite(folder, copy.deepcopy(body))
        assert verdict(folder).status == "rejected"
    del tensors[tensor]
    save_file(tensors, folder / "solution.safetensors")
    rewrite(folder, copy.deepcopy(body))
    assert "holds the tensors" in verdict(folder).reason


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("hull", lambda r: r["vertices"][0].__setitem__(0, r["vertices"][0][0] + 100.0)),
        ("hull", lambda r: r["vertices"].pop()),
        ("hull", lambda r: r.update(radius=1.0)),
        ("flow", lambda r: r.update(sink=5)),
        ("flow", lambda r: r.update(source=True)),
        ("flow", lambda r: r["edges"].__setitem__(3, [4, 1])),
        ("flow", lambda r: r["edges"].__setitem__(5, [2, 6])),
        ("flow", lambda r: r["edges"].__setitem__(5, [2, 1.0])),
        ("flow", lambda r: r["edges"].__setitem__(5, [2, 1])),
        ("flow", lambda r: r["edges"].pop()),
        ("product", lambda r: r["shapes"].pop()),
        ("product", lambda r: r["shapes"].__setitem__(1, [3])),
        ("product", lambda r: r["shapes"].__setitem__(1, [-2])),
        ("product", lambda r: r["regions"].__setitem__(0, 3)),
        ("product", lambda r: r.update(regions=[])),
        ("nested", lambda r: r["regions"][0].update(radius=0.499)),
        ("nested", lambda r: r["regions"][1]["regions"][1].update(radius=0.0999)),
    ],
)
def test_rejects_a_changed_composite_region(made, tmp_path, name, change):
    folder = copied(made[name], tmp_path)
    body = claim_of(folder)
    change(body["parts"][0]["claim"]["region"])
    (folder / "certificate.json").write_text(json.dumps(body))
    assert verdict(folder).status == "rejected"


def test_a_product_nested_without_end_is_rejected(made, tmp_path):
    folder = copied(made["product"], tmp_path)
    body = claim_of(folder)
    region = body["parts"][0]["claim"]["region"]
    for _ in range(12):
        region = {"region": "Product", "regions": [region], "shapes": [[6]]}
    body["parts"][0]["claim"]["region"] = region
    (folder / "certificate.json").write_text(json.dumps(body))
    assert "too deeply" in verdict(folder).reason


def test_sparse_rows_give_the_same_claim(tmp_path):
    thin = np.where(np.abs(X) > 1, X, 0.0)
    claims = []
    for i, matrix in enumerate((thin, sp.csr_matrix(thin))):
        folder = tmp_path / str(i)
        folder.mkdir()
        found = fw.minimize(fw.LogisticLoss(matrix, Y), fw.L1Ball(1.0), gap=1e-8)
        found.save(folder)
        assert verdict(folder).accepted
        claims.append(found.value)
    assert claims[0] == pytest.approx(claims[1], abs=1e-8)


@pytest.mark.parametrize("field", ["problem", "solution"])
def test_rejects_a_missing_or_foreign_file(genuine, field):
    body = claim_of(genuine)
    for name in ("../x.safetensors", "/x", "absent.safetensors"):
        body["parts"][0]["witness"][field] = name
        (genuine / "certificate.json").write_text(json.dumps(body))
        assert verdict(genuine).status == "rejected"
    del body["parts"][0]["witness"][field]
    (genuine / "certificate.json").write_text(json.dumps(body))
    assert verdict(genuine).status == "rejected"
