"""Forgeries of `pruning/soup`: each field changed by the least amount is rejected."""

import copy
import hashlib
from fractions import Fraction

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from extremal import pruning
from extremal.verify._recomputed import pruning_soup
from extremal.verify._rejected import Rejected

SHARES = ("1/2", "1/3", "1/6", "0")
DTYPES = [torch.float32, torch.bfloat16, torch.float64, torch.float16]


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rehash(folder, claim):
    claim["soup_sha256"] = sha(folder / "soup.safetensors")
    claim["masks_sha256"] = sha(folder / "masks.safetensors")
    for number, member in enumerate(claim["members"]):
        member["sha256"] = sha(folder / f"member-{number}.safetensors")


def state(number, dtype):
    generator = torch.Generator().manual_seed(number)
    mask = torch.tensor([True, False, True, True]).repeat(3).reshape(3, 4)
    weight = torch.randn(3, 4, generator=generator).to(dtype)
    weight = torch.where(mask, weight, torch.zeros((), dtype=dtype))
    weight[0, 1] = -0.0
    return {
        "a.weight": weight,
        "a.bias": torch.randn(3, generator=generator).to(dtype),
        "n.running_mean": torch.randn(3, generator=generator),
        "n.num_batches_tracked": torch.tensor(number),
        "count": torch.tensor(7),
    }, {"a.weight": mask}


@pytest.fixture(params=DTYPES, ids=str)
def genuine(tmp_path, request):
    """Four members, the last with weight 0; the soup was written by the library's merge."""
    members = [state(number, request.param) for number in range(4)]
    for number, (tensors, masks) in enumerate(members):
        every = {f"model.{n}": t for n, t in tensors.items()}
        every |= {f"mask.{n}": t for n, t in masks.items()} | {"evaluation.x": torch.zeros(1)}
        save_file(every, tmp_path / f"member-{number}.safetensors")
    averaged = {}
    for name in ("a.weight", "a.bias", "count"):
        files = []
        for number in range(4):  # the order of the hashes of the whole files decides
            every = load_file(tmp_path / f"member-{number}.safetensors")
            files.append((sha(tmp_path / f"member-{number}.safetensors"), every[f"model.{name}"]))
        used = [
            (digest, tensor, Fraction(share))
            for (digest, tensor), share in zip(files, SHARES, strict=True)
            if share != "0"
        ]
        averaged[name] = average([(t, s) for _, t, s in sorted(used, key=lambda u: u[0])])
    averaged["a.weight"][~members[0][1]["a.weight"]] = 0.0
    averaged["n.running_mean"] = torch.full((3,), 5.0)
    averaged["n.num_batches_tracked"] = torch.tensor(99)
    save_file(averaged, tmp_path / "soup.safetensors")
    save_file(members[0][1], tmp_path / "masks.safetensors")
    claim = {
        "merge": "weights",
        "members": [{"name": f"m{n}", "weight": SHARES[n]} for n in range(4)],
        "averaged": 15,
        "pruned": 3,
        "recalibrated": ["n.running_mean", "n.num_batches_tracked"],
    }
    rehash(tmp_path, claim)
    witness = {
        "soup": "soup.safetensors",
        "masks": "masks.safetensors",
        "members": [f"member-{n}.safetensors" for n in range(4)],
    }
    return tmp_path, claim, witness


def average(pairs):
    """The definition, written out."""
    first = pairs[0][0]
    if not first.is_floating_point():
        return first.clone()
    wide = first.double()
    shift = torch.zeros_like(wide)
    for tensor, share in pairs[1:]:
        shift = shift + float(share) * (tensor.double() - wide)
    total = torch.where(shift == 0, wide, wide + shift)
    return total if first.dtype == torch.float64 else total.float().to(first.dtype)


def refuse(folder, claim, witness, text=None):
    with pytest.raises(Rejected, match=text):
        pruning_soup.check(claim, witness, folder)


def test_accepts_the_genuine_one(genuine):
    folder, claim, witness = genuine
    said = " | ".join(pruning_soup.check(claim, witness, folder))
    assert "15 values are the average of 3 of 4 members (weights), bit for bit" in said
    assert "3 weights are exactly zero in each" in said
    assert "2 tensors of norm statistics" in said


@pytest.mark.parametrize("field", ["averaged", "pruned"])
@pytest.mark.parametrize("by", [-1, 1])
def test_rejects_another_count(genuine, field, by):
    folder, claim, witness = genuine
    claim[field] += by
    refuse(folder, claim, witness, "counted")


@pytest.mark.parametrize("name", pruning_soup.CLAIM)
def test_rejects_a_missing_field(genuine, name):
    folder, claim, witness = genuine
    del claim[name]
    refuse(folder, claim, witness)


@pytest.mark.parametrize("file", ["soup", "masks", *range(4)])
def test_rejects_one_changed_byte_of_any_file(genuine, file):
    folder, claim, witness = genuine
    name = witness[file] if isinstance(file, str) else witness["members"][file]
    raw = bytearray((folder / name).read_bytes())
    raw[-1] ^= 1
    (folder / name).write_bytes(raw)
    refuse(folder, claim, witness, "changed")


@pytest.mark.parametrize("entry", range(15))
def test_rejects_the_last_bit_of_any_averaged_value(genuine, entry):
    folder, claim, witness = genuine
    soup = load_file(folder / "soup.safetensors")
    name, place = ("a.weight", entry) if entry < 12 else ("a.bias", entry - 12)
    size = {2: np.uint16, 4: np.uint32, 8: np.uint64}[soup[name].element_size()]
    flat = soup[name].flatten().view(torch.uint8).numpy().view(size)
    flat[place] ^= size(1)
    soup[name] = (
        torch.from_numpy(flat.view(np.uint8)).view(soup[name].dtype).reshape(soup[name].shape)
    )
    save_file(soup, folder / "soup.safetensors")
    rehash(folder, claim)
    refuse(folder, claim, witness, f"{name} is not the average")


@pytest.mark.parametrize("member", range(3))
def test_rejects_a_member_with_another_last_bit(genuine, member):
    folder, claim, witness = genuine
    file = folder / witness["members"][member]
    tensors = load_file(file)
    tensors["model.a.bias"][0] += 2.0**-3  # enough for any type to move the average
    save_file(tensors, file)
    rehash(folder, claim)
    refuse(folder, claim, witness, r"a\.(bias|weight) is not the average")


def test_rejects_a_pruned_weight_that_lives_in_one_member(genuine):
    folder, claim, witness = genuine
    file = folder / witness["members"][3]  # even of the member that is not used
    tensors = load_file(file)
    tensors["model.a.weight"][1, 1] = 1e-6
    save_file(tensors, file)
    rehash(folder, claim)
    refuse(folder, claim, witness, "not zero everywhere")


def test_rejects_another_mask_of_one_member(genuine):
    folder, claim, witness = genuine
    file = folder / witness["members"][1]
    tensors = load_file(file)
    tensors["mask.a.weight"][0, 1] = True
    save_file(tensors, file)
    rehash(folder, claim)
    refuse(folder, claim, witness, "another mask")


@pytest.mark.parametrize("how", ["counter", "key", "shape", "dtype", "no mask"])
def test_rejects_members_that_do_not_fit(genuine, how):
    folder, claim, witness = genuine
    file = folder / witness["members"][2]
    tensors = load_file(file)
    if how == "counter":
        tensors["model.count"] += 1
    elif how == "key":
        tensors["model.more"] = torch.zeros(1)
    elif how == "shape":
        tensors["model.a.bias"] = tensors["model.a.bias"].reshape(1, 3)
    elif how == "dtype":
        tensors["model.count"] = tensors["model.count"].int()
    else:
        del tensors["mask.a.weight"]
    save_file(tensors, file)
    rehash(folder, claim)
    refuse(folder, claim, witness)


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (("1/2", "1/3", "1/6", "1/1000000"), "add up"),
        (("1/3", "1/2", "1/6", "0"), "not the average"),
        (("2/4", "1/3", "1/6", "0"), "lowest terms"),
        (("0.5", "1/3", "1/6", "0"), "no fraction"),
        (("-1/2", "3/2", "0", "0"), "no fraction"),
    ],
)
def test_rejects_other_weights(genuine, weights, text):
    folder, claim, witness = genuine
    for member, weight in zip(claim["members"], weights, strict=True):
        member["weight"] = weight
    refuse(folder, claim, witness, text)


@pytest.mark.parametrize(
    ("how", "text"), [("uniform", "has the weights"), ("greedy", "has the weights"), ("x", "none")]
)
def test_rejects_another_merge(genuine, how, text):
    folder, claim, witness = genuine
    claim["merge"] = how
    refuse(folder, claim, witness, text)


@pytest.mark.parametrize(
    "names",
    [[], ["n.running_mean"], ["n.running_mean"] * 2, ["a.bias"], ["nothing.running_mean"]],
)
def test_rejects_other_exemptions(genuine, names):
    folder, claim, witness = genuine
    claim["recalibrated"] = names
    refuse(folder, claim, witness)


def test_rejects_members_named_twice_or_left_out(genuine):
    folder, claim, witness = genuine
    forged = copy.deepcopy(claim)
    forged["members"][1]["name"] = "m0"
    refuse(folder, forged, witness, "twice")
    forged = copy.deepcopy(claim)
    del forged["members"][3]
    refuse(folder, forged, witness, "files named")
    forged = copy.deepcopy(claim)
    forged["members"][0]["more"] = 1
    refuse(folder, forged, witness, "fields")


def test_the_library_and_the_checker_agree_on_the_average(tmp_path):
    """`merge` writes, the checker repeats: over many values, ties of rounding included."""
    for dtype in DTYPES:
        files = []
        for number in range(3):
            generator = torch.Generator().manual_seed(number)
            value = torch.randn(5000, generator=generator).to(dtype)
            files.append(tmp_path / f"m{number}.safetensors")
            mask = torch.ones(5000, dtype=torch.bool)
            save_file({"model.w": value, "mask.w": mask}, files[-1])
        pruning.merge(files, out=tmp_path / "soup.safetensors", prefix="model.")
        save_file({"w": mask}, tmp_path / "masks.safetensors")
        claim = {
            "soup_sha256": sha(tmp_path / "soup.safetensors"),
            "masks_sha256": sha(tmp_path / "masks.safetensors"),
            "merge": "uniform",
            "members": [{"name": f.name, "sha256": sha(f), "weight": "1/3"} for f in files],
            "averaged": 5000,
            "pruned": 0,
            "recalibrated": [],
        }
        witness = {
            "soup": "soup.safetensors",
            "masks": "masks.safetensors",
            "members": [f.name for f in files],
        }
        assert pruning_soup.check(claim, witness, tmp_path)
