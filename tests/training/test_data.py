"""Data sets: what is read, what is refused, and that a split is the same everywhere."""

import dataclasses
import gzip
import io
import os
import pickle  # noqa: TID251 - writes the pickles that the reader must refuse
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from extremal import training
from extremal.training import Data, Split, TrainingError, load_data
from extremal.training._cifar10 import CLASSES
from extremal.training._data import Normaliser, channel_statistics, stratified


def _picture(seed: int, kind: str, size: int = 32) -> tuple[np.ndarray, bytes]:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"quality": 100} if kind == "JPEG" else {}))
    return pixels, file.getvalue()


def _image_files(kind: str = "PNG", each: int = 2) -> dict[str, bytes]:
    suffix = {"PNG": "png", "JPEG": "jpg"}[kind]
    return {
        f"{part}/{label}/{i:04}.{suffix}": _picture(1000 * k + i + 500 * (part == "test"), kind)[1]
        for part in ("train", "test")
        for k, label in enumerate(CLASSES)
        for i in range(each)
    }


def _tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def _folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def _batches(rows: int = 3) -> dict[str, bytes]:
    files = {}
    for k, name in enumerate(["data_batch_1", "data_batch_2", "test_batch"]):
        data = np.random.default_rng(k).integers(0, 256, (rows, 3072), np.uint8)
        content = {b"data": data, b"labels": [k, 9, 0][:rows], b"batch_label": b"text"}
        files[f"cifar-10-batches-py/{name}"] = pickle.dumps(content, protocol=2)
    return files


# Digits


def test_digits_are_embedded_small_and_between_zero_and_one():
    data = load_data("digits")
    assert data.shape == (1, 8, 8)
    assert (len(data.train), len(data.test), data.classes) == (1437, 360, 10)
    assert data.train.images.dtype == torch.float32
    assert (data.train.images.min(), data.train.images.max()) == (0, 1)
    assert data.augment == "none"


def test_digits_are_split_the_same_way_for_ever():
    assert (
        load_data("digits").fingerprint
        == load_data("digits").fingerprint
        == ("9849744ab0e97f076725c718e2038a419a33672e20c3c89cbdcf1d28bcb1e0a8")
    )


def test_the_split_is_stratified_and_loses_nothing():
    data = load_data("digits", validation=0.1)
    parts = [len(split) for _, split in data.splits()]
    assert parts == [1293, 360, 144]
    counts = [torch.bincount(split.labels) for _, split in data.splits()]
    for split, part in zip(counts, parts, strict=True):
        share = split / sum(counts)
        assert ((share - part / 1797).abs() < 0.02).all()
    rows = torch.cat([split.images.flatten(1) for _, split in data.splits()])
    whole = torch.cat([s.images.flatten(1) for _, s in load_data("digits").splits()])
    assert torch.equal(rows.sum(0), whole.sum(0))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 3), st.data())
def test_stratified_counts_are_exact_and_proportional(labels, seed, draw):
    labels = torch.tensor(labels)
    count = draw.draw(st.integers(0, len(labels)))
    chosen, rest = stratified(labels, count, seed)
    assert len(chosen) == count
    assert torch.cat([chosen, rest]).sort().values.tolist() == list(range(len(labels)))
    sizes = torch.bincount(labels).double()
    taken = torch.bincount(labels[chosen], minlength=len(sizes))
    assert ((taken - sizes * count / len(labels)).abs() < 1).all()


def test_a_subset_is_loaded_again_by_its_origin():
    subset = load_data("digits").subset(100)
    assert len(subset.train) == 100
    assert subset.origin is not None
    again = load_data(subset.origin.name, train_size=subset.origin.train_size)
    assert again.fingerprint == subset.fingerprint
    assert load_data("digits").subset(100, seed=1).origin is None


def test_the_fingerprint_sees_every_change():
    data = load_data("digits").subset(20)
    images = data.train.images.clone()
    images[3, 0, 2, 2] += 1e-6
    labels = data.train.labels.clone()
    labels[0] = 9 - labels[0]
    changed = [
        dataclasses.replace(data, train=Split(images, data.train.labels)),
        dataclasses.replace(data, train=Split(data.train.images, labels)),
        dataclasses.replace(data, augment="crop"),
        dataclasses.replace(data, mean=(0.25,)),
        dataclasses.replace(data, validation=data.test),
    ]
    assert len({data.fingerprint, *(d.fingerprint for d in changed)}) == 6


def test_statistics_and_normalisation():
    images = torch.tensor([[[[0, 255]]], [[[255, 255]]]], dtype=torch.uint8)
    mean, std = channel_statistics(images)
    assert mean == pytest.approx((0.75,))
    assert std == pytest.approx((0.4330127,))
    split = Split(images, torch.tensor([0, 1]))
    data = Data("x", split, split, None, 2, ("a", "b"), (0.75,), (0.5,))
    assert Normaliser(data, torch.device("cpu"))(images).flatten().tolist() == [-1.5, 0.5, 0.5, 0.5]
    assert channel_statistics(torch.zeros(2, 1, 2, 2)) == ((0.0,), (1.0,))


# CIFAR-10


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_cifar_from_a_tar_of_images(tmp_path, mode):
    path = _tar(tmp_path / "images.tar", _image_files(), mode)
    data = load_data("cifar10", path=path)
    assert data.shape == (3, 32, 32)
    assert data.train.labels.tolist() == [k for k in range(10) for _ in range(2)]
    assert data.class_names == CLASSES
    expected = _picture(3001, "PNG")[0].transpose(2, 0, 1)
    assert np.array_equal(data.train.images[7].numpy(), expected)
    assert data.mean == (0.4914, 0.4822, 0.4465)
    assert data.std == (0.2023, 0.1994, 0.2010)
    assert data.augment == "crop-flip"


def test_cifar_from_a_folder_equals_the_tar_whatever_the_order(tmp_path):
    files = _image_files()
    backwards = dict(reversed(files.items()))
    tar = load_data("cifar10", path=_tar(tmp_path / "a.tar", backwards))
    folder = load_data("cifar10", path=_folder(tmp_path / "b", files))
    assert tar.fingerprint == folder.fingerprint


def test_jpeg_images_are_not_the_original_and_say_so(tmp_path):
    data = load_data("cifar10", path=_tar(tmp_path / "a.tar", _image_files("JPEG", 1)))
    assert data.note.startswith("JPEG-recompressed images (4:2:0 chroma), not the original")


@pytest.mark.parametrize("packed", [True, False])
def test_cifar_from_python_batches(tmp_path, packed):
    files = _batches()
    path = _tar(tmp_path / "a.tar.gz", files) if packed else _folder(tmp_path / "f", files)
    data = load_data("cifar10", path=path)
    assert (len(data.train), len(data.test)) == (6, 3)
    assert data.train.labels.tolist() == [0, 9, 0, 1, 9, 0]
    expected = np.random.default_rng(0).integers(0, 256, (3, 3072), np.uint8)
    assert np.array_equal(data.train.images[:3].numpy(), expected.reshape(3, 3, 32, 32))


def test_decoded_images_come_from_the_cache_the_second_time(tmp_path, monkeypatch):
    path = _tar(tmp_path / "a.tar", _image_files())
    first = load_data("cifar10", path=path)

    def no_decoding(*_):
        raise AssertionError

    monkeypatch.setattr("extremal.training._cifar10._decoded", no_decoding)
    assert load_data("cifar10", path=path).fingerprint == first.fingerprint


def test_a_damaged_cache_is_decoded_again(tmp_path):
    path = _tar(tmp_path / "a.tar", _image_files())
    first = load_data("cifar10", path=path)
    (cache,) = tmp_path.glob("cache-extremal/cifar10/*.safetensors")
    cache.write_bytes(cache.read_bytes()[:-1] + b"x")
    assert load_data("cifar10", path=path).fingerprint == first.fingerprint


def test_a_cache_that_cannot_be_written_costs_a_warning_only(tmp_path, caplog):
    (tmp_path / "cache-extremal").write_text("a file where the folder should be")
    load_data("cifar10", path=_tar(tmp_path / "a.tar", _image_files()))
    assert "could not be kept" in caplog.text


class Evil:
    """What a hostile pickle looks like: it names a function to call."""

    def __reduce__(self):  # noqa: D105 - what it does is said above
        return os.system, ("exit 1",)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (pickle.dumps({"data": Evil()}), r"it asks for (posix|nt)\.system"),
        (pickle.dumps([1, 2]), "holds a list where a python batch"),
        (b"\x80\x02broken", "is not a python batch of CIFAR"),
        (pickle.dumps({b"data": np.zeros((2, 5), np.uint8), b"labels": [1, 2]}, 2), "n x 3072"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}, 2), "no list"),
    ],
    ids=["evil", "list", "broken", "shape", "labels"],
)
def test_python_batches_are_not_trusted(tmp_path, content, text):
    files = {**_batches(), "cifar-10-batches-py/data_batch_2": content}
    with pytest.raises(TrainingError, match=text):
        load_data("cifar10", path=_folder(tmp_path / "f", files))


def _cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-2000])
    return path


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda p: _cut(_tar(p / "a.tar", _image_files(), "w:xz")), "not a readable tar file"),
        (lambda p: _cut(_tar(p / "a.tar", _image_files(), "w:gz")), "not a readable tar file"),
        (lambda p: _folder(p / "f", {"readme.txt": b""}), "holds 0 images in the parts"),
        (
            lambda p: _folder(p / "f", {**_image_files(), "train/cow/1.png": b""}),
            r"\['airplane', .*'cow'.*\]; expected train and test with airplane",
        ),
        (
            lambda p: _folder(p / "f", {**_image_files(), "train/cat/0001.png": b"no"}),
            r"train/cat/0001\.png is not a readable image",
        ),
        (
            lambda p: _folder(
                p / "f", {**_image_files(), "test/cat/2.png": _picture(0, "PNG", 8)[1]}
            ),
            r"test/cat/2\.png is 8x8; every image of CIFAR-10 is 32x32",
        ),
        (
            lambda p: _folder(
                p / "f", {"data_batch_1": _batches()["cifar-10-batches-py/test_batch"]}
            ),
            r"expected data_batch_1\.\.5 and test_batch",
        ),
    ],
    ids=["cut-xz", "cut-gz", "none", "class", "unreadable", "size", "no-test"],
)
def test_unreadable_cifar_is_refused(tmp_path, make, text):
    with pytest.raises(TrainingError, match=text):
        load_data("cifar10", path=make(tmp_path))


@pytest.mark.slow
def test_all_real_cifar_images(shared_data):
    data = load_data("cifar10", path=shared_data / "cifar10-jpeg.tar.xz", train_size=10_000)
    assert (len(data.train), len(data.test)) == (10_000, 10_000)
    assert torch.bincount(data.train.labels).tolist() == [1000] * 10
    assert "JPEG" in data.note


# MNIST


def _idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.tobytes()


def _mnist_arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, (6, 5, 4), np.uint8),
        np.array([0, 1, 2, 0, 1, 9], np.uint8),
        rng.integers(0, 256, (2, 5, 4), np.uint8),
        np.array([3, 9], np.uint8),
    ]


@pytest.mark.parametrize("kind", ["idx", "idx.gz", "npz", "keras npz"])
def test_mnist_from_its_formats(tmp_path, kind):
    arrays = _mnist_arrays()
    path = tmp_path / "mnist"
    if "npz" in kind:
        keys = ["train_images", "train_labels", "test_images", "test_labels"]
        if kind == "keras npz":
            keys = ["x_train", "y_train", "x_test", "y_test"]
        path = tmp_path / "mnist.npz"
        np.savez(path, **dict(zip(keys, arrays, strict=True)))
    else:
        names = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                 "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]  # fmt: skip
        path.mkdir()
        for name, array in zip(names, arrays, strict=True):
            raw = _idx(array)
            file = path / (name + kind.removeprefix("idx"))
            file.write_bytes(gzip.compress(raw) if kind == "idx.gz" else raw)
    data = load_data("mnist", path=path)
    assert data.shape == (1, 5, 4)
    assert np.array_equal(data.train.images[:, 0].numpy(), arrays[0])
    assert data.test.labels.tolist() == [3, 9]
    assert data.mean == pytest.approx((arrays[0].mean() / 255,))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda raw: raw[:-3], r"announces 120 values of shape \(6, 5, 4\) and holds 117"),
        (lambda raw: b"PK" + raw[2:], "does not begin as an IDX file"),
        (lambda raw: gzip.compress(raw)[:-9], "does not unpack"),
    ],
)
def test_damaged_idx_is_refused(tmp_path, damage, text):
    arrays = _mnist_arrays()
    names = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte",
             "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]  # fmt: skip
    for name, array in zip(names, arrays, strict=True):
        (tmp_path / name).write_bytes(_idx(array))
    file = tmp_path / names[0]
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(TrainingError, match=f"train-images-idx3-ubyte {text}"):
        load_data("mnist", path=tmp_path)
    file.unlink()
    with pytest.raises(TrainingError, match=r"has no file train-images\*idx3-ubyte\*"):
        load_data("mnist", path=tmp_path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"train_labels": np.zeros(5, np.uint8)}, r"labels are uint8 of shape \(5,\) for 6 images"),
        ({"train_images": np.zeros((6, 4), np.uint8)}, r"images are uint8 of shape \(6, 4\)"),
        ({"train_images": np.zeros((6, 5, 4))}, "images are float64"),
    ],
)
def test_misshaped_npz_is_refused(tmp_path, change, text):
    keys = ["train_images", "train_labels", "test_images", "test_labels"]
    np.savez(tmp_path / "m.npz", **{**dict(zip(keys, _mnist_arrays(), strict=True)), **change})
    with pytest.raises(TrainingError, match=text):
        load_data("mnist", path=tmp_path / "m.npz")


def test_other_npz_files_are_refused(tmp_path):
    np.savez(tmp_path / "m.npz", weights=np.zeros(3))
    with pytest.raises(TrainingError, match="holds the arrays weights; expected train_images"):
        load_data("mnist", path=tmp_path / "m.npz")
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(TrainingError, match=r"is not a readable \.npz file"):
        load_data("mnist", path=tmp_path / "text.npz")


def test_labels_outside_the_classes_are_refused(tmp_path):
    arrays = _mnist_arrays()
    arrays[3] = np.array([3, 10], np.uint8)
    keys = ["train_images", "train_labels", "test_images", "test_labels"]
    np.savez(tmp_path / "m.npz", **dict(zip(keys, arrays, strict=True)))
    with pytest.raises(ValueError, match=r"test labels reach from 3 to 10, outside 0\.\.9"):
        load_data("mnist", path=tmp_path / "m.npz")


def test_real_mnist(shared_data):
    data = load_data("mnist", path=shared_data / "mnist.npz", validation=0.1)
    assert [len(split) for _, split in data.splits()] == [54_000, 10_000, 6_000]
    assert data.mean == pytest.approx((0.1307,), abs=2e-4)  # the well-known value


# The user's own


def test_data_sets_of_the_users(tmp_path, monkeypatch):
    (tmp_path / "users_data.py").write_text(
        "import numpy as np, torch\n"
        "class Set(torch.utils.data.Dataset):\n"
        "    def __init__(self, n): self.n = n\n"
        "    def __len__(self): return self.n\n"
        "    def __getitem__(self, i): return np.full((4, 5, 3), i, np.uint8), i % 3\n"
        "def pair(): return Set(7), Set(4)\n"
        "def wrong(): return 5\n"
        "def sized(path): return Set(int(path)), Set(4)\n"
        "class Ragged(Set):\n"
        "    def __getitem__(self, i): return torch.zeros(1, i + 1, 2), 0\n"
        "def ragged(): return Ragged(3), Ragged(3)\n"
    )
    monkeypatch.chdir(tmp_path)
    data = load_data("users_data:pair")
    assert data.shape == (3, 4, 5)
    assert data.train.images.dtype == torch.uint8
    assert (data.classes, data.test.labels.tolist()) == (3, [0, 1, 2, 0])
    assert len(load_data("users_data:sized", path="9").train) == 9
    with pytest.raises(ValueError, match="takes no argument path, so path='9' would be ignored"):
        load_data("users_data:pair", path="9")
    with pytest.raises(
        ValueError, match="users_data:wrong returned int; expected a Data or a pair"
    ):
        load_data("users_data:wrong")
    with pytest.raises(TrainingError, match="every image must have one and the same shape"):
        load_data("users_data:ragged")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("imagenet",), "there is no data set 'imagenet'; there are digits, cifar10, mnist"),
        (("cifar10",), r"cifar10 is not embedded; give path= \(in the shell --path\) with the"),
        (("nothing_here:f",), "there is no module 'nothing_here'"),
    ],
)
def test_unknown_data_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        load_data(*arguments)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"validation": 1.0}, "validation=1.0 is no share"),
        ({"validation": 1e-5}, "sets aside 0 and leaves 1437"),
        ({"train_size": 0}, r"a subset of 0 cannot be taken; choose 1\.\.1437"),
        ({"train_size": 1438}, "a subset of 1438 cannot be taken"),
        ({"augment": "mixup"}, "augment='mixup' is unknown; there are none, crop, crop-flip"),
        ({"path": "x"}, "digits are embedded, so path='x' would be ignored"),
    ],
)
def test_senseless_options_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        load_data("digits", **options)


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"there is nothing at .*nowhere; give the path of the image"
    ):
        load_data("cifar10", path=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"classes": 9}, "9 classes have 10 names"),
        ({"mean": (0.0, 0.0)}, "1 channels have 2 means"),
        ({"std": (0.0,)}, "would divide by zero"),
        (
            {"test": Split(torch.zeros(1, 3, 8, 8), torch.tensor([0]))},
            "test images are 3x8x8 and training images 1x8x8",
        ),
        (
            {"test": Split(torch.full((1, 1, 8, 8), torch.nan), torch.tensor([0]))},
            "test images hold NaN",
        ),
    ],
)
def test_inconsistent_data_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        dataclasses.replace(load_data("digits"), **change)


def test_inconsistent_splits_are_refused():
    with pytest.raises(ValueError, match="2 images has 3 labels"):
        Split(torch.zeros(2, 1, 1, 1), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="holds no pixel"):
        Split(torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64))


# Tensors in files


def test_tensors_come_back_and_equal_content_gives_equal_bytes(tmp_path):
    tied = torch.randn(3)
    tensors = {"a": torch.arange(6).view(2, 3).t(), "b": tied, "c": tied, "d": torch.tensor(2.0)}
    first = training.save_tensors(tmp_path / "1", tensors)
    second = training.save_tensors(tmp_path / "2", dict(reversed(tensors.items())))
    assert first == second
    loaded = training.load_tensors(tmp_path / "1", sha256=first)
    assert {name: t.tolist() for name, t in loaded.items()} == {
        name: t.tolist() for name, t in tensors.items()
    }


def test_every_changed_byte_is_noticed(tmp_path):
    file = tmp_path / "t"
    training.save_tensors(file, {"x": torch.arange(4)})
    raw = file.read_bytes()
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1
        file.write_bytes(changed)
        with pytest.raises(TrainingError, match="t is cut short or changed"):
            training.load_tensors(file)


def test_files_of_others_are_read_on_request(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.ones(2)}, tmp_path / "theirs")
    with pytest.raises(TrainingError, match="carries no SHA-256"):
        training.load_tensors(tmp_path / "theirs")
    assert training.load_tensors(tmp_path / "theirs", foreign=True)["x"].tolist() == [1, 1]


def test_weights_of_another_network_are_refused(tmp_path):
    model = torch.nn.Linear(2, 3)
    training.save_tensors(tmp_path / "w", {"weight": torch.zeros(3, 4), "extra": torch.zeros(1)})
    with pytest.raises(TrainingError, match=r"bias is missing; extra is not in the network; weight "
                       r"is \(3, 4\) and the network's \(3, 2\)\. Name the network"):  # fmt: skip
        training.load_weights(model, tmp_path / "w")
    with pytest.raises(ValueError, match="There is no file of weights"):
        training.load_weights(model, tmp_path / "nowhere")
