"""Data sets whose labels are read otherwise than they lie there: 60 classes of PASCAL-Context, ADE20K in two parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from paddleseg.transforms import Normalize
from PIL import Image

from paddle_hrfamily.data import ADE20KSplit, PascalContext60, ade20k_split
from paddle_hrfamily.data.label_checks import check_labels
from paddle_hrfamily.errors import UserError


def save(file: Path, values: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype("uint8")).save(file)


def test_background_is_the_first_of_60_classes(tmp_path: Path) -> None:
    """The order of the official HRNet code: what it makes of the files by taking 1 away, and not."""
    labels = np.array([*range(59), 255]).reshape(6, 10)
    save(tmp_path / "label.png", labels)
    save(tmp_path / "image.png", np.zeros((6, 10, 3)))
    (tmp_path / "list.txt").write_text("image.png label.png\n")
    options = {"train_path": str(tmp_path / "list.txt"), "val_path": str(tmp_path / "list.txt"), "num_classes": 60}
    for mode in ("train", "val"):
        dataset = PascalContext60(mode, str(tmp_path), [Normalize()], **options)
        read = np.squeeze(dataset[0]["label"])
        np.testing.assert_array_equal(read, np.array([*range(1, 60), 0]).reshape(6, 10))
    scan = check_labels(dataset)
    np.testing.assert_array_equal(scan.pixels[:60], 1)
    with pytest.raises(UserError, match="num_classes is 59"):
        PascalContext60("train", str(tmp_path), [Normalize()], **{**options, "num_classes": 59})


@pytest.fixture
def ade20k(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ade20k_split, "VAL", 4)
    for index in range(10):
        save(tmp_path / "images" / "training" / f"ADE_train_{index:08}.jpg", np.zeros((3, 5, 3)))
        save(tmp_path / "annotations" / "training" / f"ADE_train_{index:08}.png", np.arange(15).reshape(3, 5) * 10)
    return tmp_path


def test_training_images_are_in_one_part_or_the_other(ade20k: Path) -> None:
    parts = [ADE20KSplit(mode, [Normalize()], str(ade20k)) for mode in ("train", "val")]
    files = [[Path(image).name for image, _ in part.file_list] for part in parts]
    assert [len(names) for names in files] == [6, 4]
    assert sorted(files[0] + files[1]) == sorted(file.name for file in (ade20k / "images" / "training").iterdir())
    # NumPy's legacy generator, which never changes: RandomState(0).permutation(10) begins with 2, 8, 4, 9.
    assert files[1] == [f"ADE_train_{index:08}.jpg" for index in (2, 4, 8, 9)]
    label = np.squeeze(parts[1][0]["label"])
    np.testing.assert_array_equal(label.ravel(), [255, *range(9, 140, 10)])
    assert check_labels(parts[0]).checked == 6


def test_a_folder_with_too_few_images_is_none(ade20k: Path) -> None:
    for file in list((ade20k / "images" / "training").iterdir())[4:]:
        file.unlink()
    with pytest.raises(UserError, match="4 images in .*there are to be 20210.*ADEChallengeData2016.zip"):
        ADE20KSplit("train", [Normalize()], str(ade20k))
