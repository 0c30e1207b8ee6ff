"""Street scenes: the same for a seed everywhere, varied within it, and in the folder whole or not at all."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from paddleseg.datasets import Dataset
from paddleseg.transforms import Normalize

from paddle_hrfamily.data import street_scenes
from paddle_hrfamily.data.street_renderer import CLASSES, IGNORE, render_street
from paddle_hrfamily.data.street_scenes import StreetScenes, ensure_scenes
from paddle_hrfamily.errors import UserError

SMALL = {"size": (64, 48), "train": 3, "val": 2, "seed": 5}


def paint(*seed: int, size: tuple[int, int] = (192, 128)) -> tuple[np.ndarray, np.ndarray]:
    return render_street(np.random.default_rng(seed), size)


def test_a_seed_draws_the_same_labels_everywhere():
    digest = hashlib.sha256()
    for index in range(4):
        digest.update(paint(0, 0, index)[1].tobytes())
    assert digest.hexdigest()[:16] == "775ee2da3910a91b"


def test_a_seed_draws_the_same_images_everywhere():
    image, _ = paint(0, 0, 0)
    again, _ = paint(0, 0, 0)
    assert np.array_equal(image, again)
    means = cv2.resize(image, (3, 2), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    expected = np.array([[90, 98, 72], [130, 134, 122], [87, 95, 65], [67, 68, 62], [69, 70, 64], [64, 67, 56]])
    assert np.abs(means.astype(int) - expected).max() <= 2


def test_another_seed_draws_others():
    labels = [paint(seed, 0, index)[1] for seed in (0, 1) for index in (0, 1)]
    for a in range(4):
        for b in range(a):
            assert (labels[a] != labels[b]).mean() > 0.1


def test_every_class_occurs_often_and_no_scene_is_a_single_class():
    labels = np.stack([paint(7, index)[1] for index in range(24)])
    share = np.bincount(labels.ravel(), minlength=256) / labels.size
    assert set(np.flatnonzero(share)) == {*range(len(CLASSES)), IGNORE}
    assert share[: len(CLASSES)].min() > 0.01
    assert 0 < share[IGNORE] < 0.1
    assert max(np.bincount(label.ravel()).max() for label in labels) < 0.8 * labels[0].size
    assert len(CLASSES) == len(set(CLASSES.values())) == StreetScenes.NUM_CLASSES


def test_colour_alone_does_not_tell_the_class():
    """The nearest mean colour, the best that a look at single pixels can do without position, gets it wrong often."""
    pairs = [paint(9, index) for index in range(16)]
    pixels = np.concatenate([image.reshape(-1, 3) for image, _ in pairs]).astype(float)
    labels = np.concatenate([label.ravel() for _, label in pairs])
    means = np.stack([pixels[labels == c].mean(0) for c in range(len(CLASSES))])
    nearest = ((pixels[:, None] - means) ** 2).sum(-1).argmin(1)
    ious = [
        ((nearest == c) & (labels == c)).sum() / ((nearest == c) | (labels == c)).sum() for c in range(len(CLASSES))
    ]
    assert np.mean(ious) < 0.3


def test_images_have_texture_and_noise():
    image, label = paint(3, 3)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    residue = grey - cv2.blur(grey, (5, 5))
    assert residue[label == list(CLASSES).index("road")].std() > 1


@pytest.mark.parametrize("size", [(32, 32), (33, 57), (320, 200)])
def test_any_size_can_be_drawn(size):
    image, label = paint(1, size=size)
    assert image.shape == (size[1], size[0], 3)
    assert label.shape == (size[1], size[0])
    assert image.dtype == label.dtype == np.uint8


def test_the_dataset_is_one_of_paddleseg(tmp_path):
    train = StreetScenes("train", [Normalize()], str(tmp_path), **SMALL)
    val = StreetScenes("val", [Normalize()], str(tmp_path), **SMALL)
    assert isinstance(train, Dataset)
    assert (len(train), len(val)) == (3, 2)
    assert (train.num_classes, train.ignore_index, train.img_channels) == (8, 255, 3)
    sample = train[0]
    assert sample["img"].shape == (3, 48, 64)
    assert sample["label"].shape == (48, 64)
    assert val[1]["label"].shape == (1, 48, 64)
    folder = Path(train.dataset_root)
    assert {path.name for path in folder.iterdir()} == {"images", "labels", "train.txt", "val.txt"}
    plain = Dataset("train", str(folder), [Normalize()], 8, train_path=str(folder / "train.txt"))
    assert plain.file_list == train.file_list


def test_train_and_val_share_no_scene(tmp_path):
    folder = ensure_scenes(tmp_path, **SMALL)
    contents = [path.read_bytes() for path in (folder / "labels").iterdir()]
    assert len(contents) == len(set(contents)) == 5


def test_more_scenes_begin_with_the_same_ones(tmp_path):
    few = ensure_scenes(tmp_path, **SMALL)
    more = ensure_scenes(tmp_path, **{**SMALL, "train": 5})
    assert few != more
    for name in ("labels/train_00002.png", "labels/val_00001.png"):
        assert (few / name).read_bytes() == (more / name).read_bytes()


def test_the_second_use_draws_nothing(tmp_path, monkeypatch):
    folder = ensure_scenes(tmp_path, **SMALL)
    monkeypatch.setattr(street_scenes, "render_street", None)
    assert ensure_scenes(tmp_path, **SMALL) == folder


def test_home_decides_the_place(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDLE_HRFAMILY_HOME", str(tmp_path))
    dataset = StreetScenes("val", [Normalize()], **SMALL)
    assert Path(dataset.dataset_root).parent == tmp_path / "scenes"


def test_an_error_leaves_nothing_behind(tmp_path, monkeypatch):
    def out_of_paint(rng, size):
        raise OSError("No space left on device")

    monkeypatch.setattr(street_scenes, "render_street", out_of_paint)
    with pytest.raises(UserError, match="No space left on device.*PADDLE_HRFAMILY_HOME"):
        ensure_scenes(tmp_path, **SMALL)
    assert not list(tmp_path.iterdir())


def test_a_kill_leaves_no_folder_that_looks_whole(tmp_path):
    code = (
        "from pathlib import Path; from paddle_hrfamily.data.street_scenes import ensure_scenes;"
        f"ensure_scenes(Path({str(tmp_path)!r}), size=(192, 128), train=2000, val=1, seed=0)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".draft-*/labels/*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert list(tmp_path.glob(".draft-*/labels/*"))
    assert not list(tmp_path.glob("street-*"))


def test_two_processes_may_draw_the_same(tmp_path):
    code = (
        "from pathlib import Path; from paddle_hrfamily.data.street_scenes import ensure_scenes;"
        f"ensure_scenes(Path({str(tmp_path)!r}), size=(64, 48), train=20, val=5, seed=0)"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    (folder,) = tmp_path.iterdir()
    assert len(list((folder / "images").iterdir())) == 25


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": (31, 64)}, r"size is \(31, 64\).*32 pixels"),
        ({"size": (64,)}, "width, height"),
        ({"size": "64x48"}, "width, height"),
        ({"train": 0}, "train is 0"),
        ({"val": 2.5}, "val is 2.5"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": True}, "seed is True"),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path, wrong, message):
    with pytest.raises(UserError, match=message):
        StreetScenes("train", [Normalize()], str(tmp_path), **{**SMALL, **wrong})
    assert not list(tmp_path.iterdir())
