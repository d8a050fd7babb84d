"""Forgeries of `compression/model`: each field changed by the least amount is rejected."""

import copy
import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

pytest.importorskip("torch_pruning")

from extremal import compression
from extremal.verify._recomputed import compression_model
from extremal.verify._recomputed._compression_shapes import follow
from extremal.verify._rejected import Rejected

FILES = compression_model.FILES


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 5),
    ).eval()
    compression.compress(model, kind="filters", ratio=0.5, shape=(1, 4, 4), out=folder / "run")
    return folder / "run"


@pytest.fixture
def genuine(made, tmp_path):
    """A copy of folder, claim and witness that a test may damage."""
    part = json.loads((made / "certificate.json").read_text())["parts"][0]
    for name in part["witness"].values():
        (tmp_path / name).write_bytes((made / name).read_bytes())
    return tmp_path, copy.deepcopy(part["claim"]), copy.deepcopy(part["witness"])


def refuse(genuine, text=None):
    folder, claim, witness = genuine
    with pytest.raises(Rejected, match=text):
        compression_model.check(claim, witness, folder)


def rewrite(genuine, name, change):
    """Change a JSON file and state its new hash."""
    folder, claim, witness = genuine
    file = folder / witness[name]
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))
    claim[f"{name}_sha256"] = sha(file)


def test_accepts_the_genuine_one(genuine):
    folder, claim, witness = genuine
    said = " | ".join(compression_model.check(claim, witness, folder))
    # 3 filters of 9 weights and a bias, 6 numbers of the norm, 12 x 5 weights and 5 biases
    assert "101 of 197 parameters" in said
    assert "492 multiply-accumulates instead of 984" in said
    assert "bit for bit" in said


@pytest.mark.parametrize("step", [-1, 1])
@pytest.mark.parametrize(
    "field",
    [
        *compression_model.COUNTS,
        *(f"parent_{n}" for n in compression_model.COUNTS),
        "bytes",
        "parent_bytes",
        "examples",
    ],
)
def test_rejects_every_count_off_by_one(genuine, field, step):
    genuine[1][field] += step
    refuse(genuine, field)


def test_rejects_another_difference(genuine):
    value = genuine[1]["max_difference"]
    for forged in (np.nextafter(value, 1.0), np.nextafter(value, -1.0)):
        genuine[1]["max_difference"] = float(forged)
        refuse(genuine, "max_difference")


@pytest.mark.parametrize("field", ["kind", "shape", "macs", "nonzero", "name"])
def test_rejects_every_changed_layer(genuine, field):
    for layer in range(2):
        forged = copy.deepcopy(genuine[1])
        entry = forged["layers"][layer]
        entry[field] = {
            "kind": "linear" if entry["kind"] == "conv2d" else "conv2d",
            "shape": [*entry["shape"][:-1], entry["shape"][-1] + 1],
            "name": "9",
        }.get(field, entry["macs"] + 1 if field == "macs" else entry["nonzero"] + 1)
        refuse((genuine[0], forged, genuine[2]), "layer")


def test_rejects_layers_left_out_or_repeated(genuine):
    folder, claim, witness = genuine
    for layers in (claim["layers"][:1], claim["layers"] + claim["layers"][:1]):
        refuse((folder, {**claim, "layers": layers}, witness), "layer")
    claim["layers"][0]["note"] = "x"
    refuse(genuine, "fields")


@pytest.mark.parametrize("field", compression_model.CLAIM)
def test_rejects_a_missing_claim(genuine, field):
    del genuine[1][field]
    refuse(genuine)


@pytest.mark.parametrize("name", FILES)
def test_rejects_a_missing_witness_and_any_changed_byte(genuine, name):
    folder, claim, witness = genuine
    file = folder / witness[name]
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    refuse(genuine, "has changed")
    del witness[name]
    refuse(genuine)
    witness[name] = "../" + file.name
    refuse((folder, claim, witness), "leads out")


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a["layers"]["0"].update(out_channels=4),
        lambda a: a["layers"]["0"].update(kernel_size=[3, 1]),
        lambda a: a["layers"]["0"].update(bias=False),
        lambda a: a["layers"]["0"].update(stride=[2, 2]),
        lambda a: a["layers"]["0"].update(padding=[0, 0]),
        lambda a: a["layers"]["0"].update(groups=3),
        lambda a: a["layers"]["1"].update(num_features=4),
        lambda a: a["layers"]["1"].update(kind="batchnorm9d"),
        lambda a: a["layers"]["3"].update(kernel_size=4),
        lambda a: a["layers"]["5"].update(in_features=24),
        lambda a: a["layers"].pop("5"),
        lambda a: a["layers"].update(extra={"kind": "relu"}),
        lambda a: a.update(input=[1, 5, 5, 5]),
        lambda a: a.update(input=[1, 6, 6]),
        lambda a: a.update(output="nowhere"),
        lambda a: a.update(version=2),
        lambda a: a["steps"].reverse(),
        lambda a: a["steps"].append(a["steps"][-1]),
        lambda a: a["steps"][1].update(op="cosine"),
    ],
)
def test_rejects_an_architecture_that_does_not_fit(genuine, change):
    rewrite(genuine, "architecture", change)
    refuse(genuine)


def test_rejects_a_parent_with_another_output(genuine):
    def change(a):
        a["output"] = a["steps"][-2]["name"]
        a["steps"].pop()
        a["layers"].pop("5")

    rewrite(genuine, "parent_architecture", change)
    refuse(genuine)


def resave(genuine, name, change):
    folder, claim, witness = genuine
    file = folder / witness[name]
    tensors = {n: t.clone() for n, t in load_file(file).items()}
    change(tensors)
    save_file(tensors, file)
    claim[f"{name}_sha256"] = sha(file)


def test_rejects_weights_that_are_not_those_of_the_packed_file(genuine):
    def smallest(tensors):
        bits = tensors["5.weight"].view(torch.int32)
        bits[0, 0] ^= 1

    resave(genuine, "weights", smallest)
    refuse(genuine, "5.weight differs between")


def test_rejects_hidden_and_missing_tensors(genuine):
    resave(genuine, "weights", lambda t: t.update(extra=torch.ones(1)))
    refuse(genuine, "which no layer has")
    resave(genuine, "weights", lambda t: [t.pop("extra"), t.pop("5.bias")])
    refuse(genuine, "absent")


def test_rejects_outputs_of_another_shape_or_not_finite(genuine):
    resave(genuine, "outputs", lambda t: t.update(model=t["model"][:, :4].contiguous()))
    refuse(genuine, "outputs model")


def test_rejects_outputs_that_are_not_finite(genuine):
    def change(tensors):
        tensors["model"][0, 0] = float("nan")

    resave(genuine, "outputs", change)
    refuse(genuine, "NaN")


def test_rejects_a_changed_packed_file_that_gives_other_tensors(genuine):
    """A changed bit may lie where no reader looks, as in padding; nothing else passes."""
    folder, claim, witness = genuine
    file = folder / witness["packed"]
    raw = file.read_bytes()
    rejected = 0
    for place in range(0, len(raw), 5):
        forged = bytearray(raw)
        forged[place] ^= 1
        file.write_bytes(forged)
        claim["packed_sha256"] = sha(file)
        try:
            compression_model.check(claim, witness, folder)
        except (Rejected, ValueError, LookupError, TypeError):  # all that `verify.file` turns down
            rejected += 1
            continue
        found = compression.unpack_tensors(bytes(forged))
        kept = load_file(folder / witness["weights"])
        assert all(torch.equal(found[n], kept[n]) for n in kept)
    assert rejected > 0.95 * len(range(0, len(raw), 5))


@pytest.mark.parametrize(
    ("op", "given", "wanted"),
    [
        ("reshape", {"shape": [1, -1]}, (1, 24)),
        ("transpose", {"dim0": 1, "dim1": 2}, (1, 3, 2, 4)),
        ("permute", {"dims": [0, 3, 1, 2]}, (1, 4, 2, 3)),
        ("mean", {"dim": [2, 3], "keepdim": False}, (1, 2)),
        ("mean", {"dim": -1, "keepdim": True}, (1, 2, 3, 1)),
        ("flatten", {"start_dim": 1, "end_dim": -1}, (1, 24)),
        ("unsqueeze", {"dim": 1}, (1, 1, 2, 3, 4)),
        ("pad", {"pad": [1, 2, 0, 1], "mode": "constant", "value": None}, (1, 2, 4, 7)),
        ("getitem", {"index": [{"slice": [None, None, None]}, {"all": True},
                               {"slice": [None, None, 2]}]}, (1, 2, 3, 2)),
        ("getitem", {"index": [{"all": True}, 0]}, (1, 2, 3)),
        ("adaptive_avg_pool2d", {"output_size": [1, None]}, (1, 2, 1, 4)),
        ("avg_pool2d", {"kernel_size": 2, "stride": None, "padding": 0, "ceil_mode": True,
                        "count_include_pad": True}, (1, 2, 2, 2)),
        ("add", {"y": 3.0}, (1, 2, 3, 4)),
    ],
)  # fmt: skip
def test_shapes_of_operations_are_those_of_torch(op, given, wanted):
    architecture = {
        "format": "extremal/architecture", "version": 1, "input": [2, 3, 4], "layers": {},
        "steps": [
            {"name": "x", "op": "input"},
            {"name": "y", "op": op, "x": {"step": "x"}, **given},
        ],
        "output": "y",
    }  # fmt: skip
    assert follow(architecture).output == wanted
    made = compression.build(architecture, {})
    assert tuple(made(torch.zeros(1, 2, 3, 4)).shape) == wanted
