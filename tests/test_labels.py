"""The look at the labels: what it must find, what it must let pass, and that it says so in one message."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from paddleseg.datasets import ADE20K, Cityscapes, Dataset
from PIL import Image

from paddle_hrfamily.data.label_checks import check_labels
from paddle_hrfamily.errors import UserError


class Folder:
    """A data set that is written one sample at a time."""

    def __init__(self, root: Path) -> None:
        self.root, self.lines = root, []
        root.mkdir(exist_ok=True)

    def add(self, label: np.ndarray | None = None, *, image: tuple[int, int] = (16, 12), suffix=".png", **save) -> Path:
        """A label, 0 and 1 by default, and a grey image of `image` (width, height). Returns the label's path."""
        number = len(self.lines)
        label = np.tile(np.array([0, 1], np.uint8), (12, 8)) if label is None else label
        path = self.root / f"label{number}{suffix}"
        Image.fromarray(label).save(path, **save)
        Image.fromarray(np.full((image[1], image[0], 3), 99, np.uint8)).save(self.root / f"image{number}.jpg")
        self.lines.append(f"image{number}.jpg {path.name}")
        return path

    def dataset(self, num_classes: int = 3, **keys) -> Dataset:
        (self.root / "list.txt").write_text("".join(line + "\n" for line in self.lines))
        return Dataset("train", str(self.root), [], num_classes, train_path=str(self.root / "list.txt"), **keys)


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def complaint(dataset, **keys) -> str:
    with pytest.raises(UserError) as caught:
        check_labels(dataset, **keys)
    return str(caught.value)


# -- what passes -----------------------------------------------------------------------------------------------------


def test_good_labels_pass_and_are_counted(folder):
    folder.add()
    folder.add(np.full((12, 16), 2, np.uint8))
    folder.add(np.full((12, 16), 255, np.uint8))
    scan = check_labels(folder.dataset())
    assert (scan.checked, scan.total) == (3, 3)
    assert scan.pixels[[0, 1, 2, 255]].tolist() == [96, 96, 192, 192]
    assert scan.pixels.sum() == 3 * 192


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.uint8, (6, 8), elements=st.integers(0, 255)),
    st.integers(1, 256),
    st.sampled_from([0, 7, 254, 255]),
)
def test_the_scan_agrees_with_numpy(tmp_path_factory, label, classes, ignore):
    folder = Folder(tmp_path_factory.mktemp("scan"))
    folder.add(label, image=(8, 6))
    values = set(np.unique(label).tolist())
    outside = sorted(values - set(range(classes)) - {ignore})
    dataset = folder.dataset(classes, ignore_index=ignore)
    if outside:
        message = complaint(dataset)
        assert ", ".join(map(str, outside[:8])) in message
        assert f"({np.isin(label, outside).mean():.2%} of its pixels)" in message
    else:
        assert check_labels(dataset).pixels.tolist() == np.bincount(label.ravel(), minlength=256).tolist()


def test_palette_masks_pass_when_their_indices_fit(folder):
    label = Image.fromarray(np.tile(np.array([0, 1], np.uint8), (12, 8)))
    label.putpalette([255, 0, 0, 0, 0, 255])
    label.save(folder.add())
    assert check_labels(folder.dataset()).pixels[[0, 1]].tolist() == [96, 96]


def test_an_image_that_a_camera_turned_has_the_size_that_opencv_gives_it(folder):
    folder.add(np.zeros((16, 12), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (16, 12)).save(folder.root / "image0.jpg", exif=exif)
    check_labels(folder.dataset())


def test_camvid_passes(shared):
    root = shared / "data/camvid"
    dataset = Dataset("val", str(root), [], 11, val_path=str(root / "val.txt"))
    scan = check_labels(dataset, limit=20)
    assert (scan.checked, scan.total, scan.warnings) == (20, 101, ())
    assert str(scan) == "labels: 20 of 101, evenly spread, checked, no errors"


def test_cityscapes_passes(shared):
    dataset = Cityscapes([], str(shared / "data/cityscapes"), "train")
    assert check_labels(dataset).checked == 4


def test_samples_without_a_label_have_their_image_checked(folder):
    folder.add()
    dataset = folder.dataset()
    dataset.file_list = [[dataset.file_list[0][0], None]]
    assert check_labels(dataset).pixels.sum() == 0
    Path(dataset.file_list[0][0]).write_bytes(b"nothing")
    assert "1 images cannot be read" in complaint(dataset)


def test_data_sets_with_rules_of_their_own_are_not_judged_by_the_file(folder):
    class Binarised(Dataset):
        def __getitem__(self, idx):
            raise NotImplementedError

    folder.add(np.full((12, 16), 200, np.uint8))
    dataset = folder.dataset()
    dataset.__class__ = Binarised
    assert check_labels(dataset).checked == 1


# -- what is found ---------------------------------------------------------------------------------------------------


def test_values_outside_are_named_with_file_share_and_fix(folder):
    folder.add()
    label = np.zeros((12, 16), np.uint8)
    label[:3] = 7
    path = folder.add(label)
    message = complaint(folder.dataset())
    assert "all 2 samples were checked" in message
    assert "1 labels hold values outside 0..2 that are not ignore_index 255" in message
    assert f"{path}: 7 (25.00% of its pixels)" in message
    assert "raise num_classes" in message


def test_only_the_first_files_are_listed_and_all_are_counted(folder):
    for _ in range(7):
        folder.add(np.full((12, 16), 9, np.uint8))
    message = complaint(folder.dataset())
    assert "7 labels hold values" in message
    assert message.count("label") - message.count("labels") == 3
    assert "and 4 more" in message


def test_cityscapes_label_ids_are_recognised(shared, tmp_path):
    tree = tmp_path / "cityscapes"
    shutil.copytree(shared / "data/cityscapes", tree)
    for path in tree.glob("gtFine/train/*/*_labelTrainIds.png"):
        shutil.copy(str(path).replace("labelTrainIds", "labelIds"), path)
    message = complaint(Cityscapes([], str(tree), "train"))
    assert f"hrfamily trainids {tree}" in message
    assert "4 labels hold values outside 0..18" in message


def test_cityscapes_without_train_ids(shared, tmp_path):
    tree = tmp_path / "cityscapes"
    shutil.copytree(shared / "data/cityscapes", tree, ignore=shutil.ignore_patterns("*_labelTrainIds.png"))
    assert f"hrfamily trainids {tree}" in complaint(Cityscapes([], str(tree), "train"))


def test_cityscapes_with_one_label_absent_is_paired_wrongly(shared, tmp_path):
    tree = tmp_path / "cityscapes"
    shutil.copytree(shared / "data/cityscapes", tree)
    min(tree.glob("gtFine/train/*/*_labelTrainIds.png")).unlink()
    message = complaint(Cityscapes([], str(tree), "train"))
    assert "3 labels belong to another frame" in message


def test_ade20k_counts_from_one(shared, tmp_path):
    source = shared / "data/ade20k"
    for name, labels in (("good", "annotations_raw"), ("bad", "labels")):
        shutil.copytree(source / "images", tmp_path / name / "images/training")
        shutil.copytree(source / labels, tmp_path / name / "annotations/training")
    scan = check_labels(ADE20K([], str(tmp_path / "good")))
    truth = [np.asarray(Image.open(path)).ravel() for path in (source / "labels").iterdir()]
    assert scan.pixels.tolist() == np.bincount(np.concatenate(truth), minlength=256).tolist()
    message = complaint(ADE20K([], str(tmp_path / "bad")))
    assert "254" in message
    assert "adds -1" in message


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_masks(folder, mode):
    Image.new(mode, (16, 12)).save(folder.add())
    message = complaint(folder.dataset())
    assert "1 labels are colour images; map every colour to its class" in message
    assert f"label0.png: mode {mode}" in message


@pytest.mark.parametrize("mode", ["1", "I;16", "I", "F"])
def test_other_depths(folder, mode):
    suffix = ".tif" if mode in ("I", "F") else ".png"
    path = folder.add(suffix=suffix)
    Image.new(mode, (16, 12)).save(path)
    message = complaint(folder.dataset())
    assert "1 labels are not 8-bit" in message
    assert f"mode {mode}" in message


def test_palette_indices_out_of_range(folder):
    label = Image.fromarray(np.full((12, 16), 5, np.uint8))
    label.putpalette(list(range(30)))
    label.save(folder.add())
    assert "the indices, not the colours, are the classes" in complaint(folder.dataset())


def test_jpeg_labels(folder):
    noise = np.random.default_rng(0).integers(0, 3, (12, 16)).astype(np.uint8)
    folder.add(noise * 100, suffix=".jpg", quality=50)
    assert "labels must be PNG" in complaint(folder.dataset())


def test_sizes(folder):
    path = folder.add(image=(12, 16))
    assert f"{path}: label 16x12, image 12x16" in complaint(folder.dataset())


def test_missing_files(folder):
    folder.add()
    folder.add()
    (folder.root / "label0.png").unlink()
    (folder.root / "image1.jpg").unlink()
    message = complaint(folder.dataset())
    assert "1 labels are missing" in message
    assert "1 images are missing" in message
    assert "label0.png" in message
    assert "image1.jpg" in message


@pytest.mark.parametrize("keep", [0, 20, 0.5, 0.8])
@pytest.mark.parametrize("which", ["image.jpg", "image.png", "label.png"])
def test_truncated_files(folder, which, keep):
    rng = np.random.default_rng(0)
    name, suffix = which.split(".")
    folder.add(rng.integers(0, 3, (12, 16)).astype(np.uint8))
    image = folder.root / f"image0.{suffix}"
    Image.fromarray(rng.integers(0, 255, (12, 16, 3)).astype(np.uint8)).save(image)
    folder.lines[0] = f"{image.name} label0.png"
    check_labels(folder.dataset())
    broken = image if name == "image" else folder.root / "label0.png"
    data = broken.read_bytes()
    broken.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    message = complaint(folder.dataset())
    assert f"1 {name}s cannot be read" in message
    assert broken.name in message


def test_an_image_as_its_own_label(folder):
    folder.add()
    folder.lines[0] = "image0.jpg image0.jpg"
    assert "1 labels are the image itself" in complaint(folder.dataset())


def test_an_empty_list(folder):
    assert "its list is empty" in complaint(folder.dataset())


def test_all_problems_come_in_one_message(folder):
    folder.add(np.full((12, 16), 9, np.uint8))
    folder.add(image=(5, 5))
    Image.new("RGB", (16, 12)).save(folder.add())
    message = complaint(folder.dataset())
    assert [line[:3] for line in message.splitlines()].count("- 1") == 3


# -- how many are opened ---------------------------------------------------------------------------------------------


def test_big_sets_are_sampled_evenly_and_repeatably(folder):
    for value in range(40):
        folder.add(np.full((12, 16), value, np.uint8))
    dataset = folder.dataset(40)
    scan = check_labels(dataset, limit=10)
    assert (scan.checked, scan.total) == (10, 40)
    chosen = np.flatnonzero(scan.pixels)
    assert (chosen // 4).tolist() == list(range(10))
    assert np.array_equal(check_labels(dataset, limit=10).pixels, scan.pixels)
    assert not np.array_equal(check_labels(dataset, limit=10, seed=1).pixels, scan.pixels)


def test_missing_files_are_found_beyond_the_sample(folder):
    for _ in range(9):
        folder.add()
    (folder.root / "label7.png").unlink()
    assert "label7.png" in complaint(folder.dataset(), limit=1)


# -- warnings --------------------------------------------------------------------------------------------------------


def test_labels_without_any_class_are_a_warning(folder):
    folder.add()
    path = folder.add(np.full((12, 16), 255, np.uint8))
    (warning,) = check_labels(folder.dataset()).warnings
    assert warning == f"1 labels are ignore_index 255 alone, such as {path}"


def test_masks_of_0_and_255_are_a_warning(folder):
    folder.add(np.tile(np.array([0, 255], np.uint8), (12, 8)))
    (warning,) = check_labels(folder.dataset(2)).warnings
    assert "every labelled pixel is class 0" in warning


def test_repeated_lines_are_a_warning(folder):
    folder.add()
    folder.add()
    folder.lines += [folder.lines[0], "image0.jpg label1.png"]
    assert check_labels(folder.dataset()).warnings == (
        "1 of 4 lines repeat an earlier one",
        "1 images are listed with more than one label",
    )
