"""labelIds to labelTrainIds, held against the official converter's files."""

from __future__ import annotations

import argparse
import shutil

import numpy as np
import pytest
from PIL import Image

from paddle_hrfamily.__main__ import main
from paddle_hrfamily.commands import trainids
from paddle_hrfamily.errors import UserError


def convert(root, *flags: str) -> int:
    return main(["trainids", str(root), *flags])


@pytest.fixture
def tree(tmp_path):
    """Two labels, without trainIds."""
    folder = tmp_path / "gtFine/train/city"
    folder.mkdir(parents=True)
    for index, values in enumerate(([7, 8, 0], [33, 255, 26])):
        Image.fromarray(np.array([values], np.uint8)).save(folder / f"city_{index}_gtFine_labelIds.png")
    return tmp_path


def pixels(root) -> list:
    return [np.asarray(Image.open(path)).tolist() for path in sorted(root.rglob("*_labelTrainIds.png"))]


def test_real_labels_come_out_as_the_official_ones(shared, tmp_path):
    official = shared / "data/cityscapes/gtFine"
    shutil.copytree(official, tmp_path / "gtFine", ignore=shutil.ignore_patterns("*_labelTrainIds.png"))
    assert convert(tmp_path) == 0
    made = sorted((tmp_path / "gtFine").rglob("*_labelTrainIds.png"))
    assert len(made) == 6
    for path in made:
        theirs = np.asarray(Image.open(official / path.relative_to(tmp_path / "gtFine")))
        assert np.array_equal(np.asarray(Image.open(path)), theirs), path.name


def test_every_id():
    label = np.arange(34, dtype=np.uint8).reshape(2, 17)
    expected = np.full(34, 255)
    for train_id, ids in enumerate((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)):
        expected[ids] = train_id
    assert trainids.to_train_ids(label).ravel().tolist() == expected.tolist()
    assert trainids.to_train_ids(np.full((1, 1), 255, np.uint8)).tolist() == [[255]]
    with pytest.raises(UserError, match=r"\[34, 200\] are no labelIds"):
        trainids.to_train_ids(np.array([[34, 7, 200]], np.uint8))


def test_beside_each_other(tree, capsys):
    assert convert(tree) == 0
    assert pixels(tree) == [[[0, 1, 255]], [[18, 255, 13]]]
    assert "2 labels written, 0 were there already" in capsys.readouterr().out


def test_what_is_there_stays_unless_forced(tree, capsys):
    convert(tree)
    done = sorted(tree.rglob("*_labelTrainIds.png"))
    Image.fromarray(np.array([[5]], np.uint8)).save(done[0])
    done[1].unlink()
    assert convert(tree) == 0
    assert "1 labels written, 1 were there already" in capsys.readouterr().out
    assert pixels(tree) == [[[5]], [[18, 255, 13]]]
    assert convert(tree, "--force") == 0
    assert pixels(tree) == [[[0, 1, 255]], [[18, 255, 13]]]


def test_bad_files_are_named_and_the_good_ones_done(tree, capsys):
    folder = tree / "gtFine/train/city"
    (folder / "bad_gtFine_labelIds.png").write_bytes(b"no image")
    Image.new("RGB", (2, 2)).save(folder / "color_gtFine_labelIds.png")
    Image.fromarray(np.array([[99]], np.uint8)).save(folder / "other_gtFine_labelIds.png")
    assert convert(tree) == 2
    errors = capsys.readouterr().err
    assert "3 labels could not be converted" in errors
    for name in ("bad", "color", "other"):
        assert f"{name}_gtFine_labelIds.png" in errors
    assert pixels(tree) == [[[0, 1, 255]], [[18, 255, 13]]]
    assert len(list(folder.iterdir())) == 7


def test_a_folder_without_labels(tmp_path, capsys):
    assert convert(tmp_path) == 2
    assert "error: no *_labelIds.png below" in capsys.readouterr().err


def test_the_flags():
    parser = argparse.ArgumentParser()
    trainids.add_arguments(parser)
    assert vars(parser.parse_args(["x"])) == {"root": "x", "force": False}
