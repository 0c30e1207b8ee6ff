"""Classes of unequal size: counted, weighed, and their images drawn more often."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from paddle_hrfamily.__main__ import main
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.training import class_balance
from tests import tiny

pytestmark = pytest.mark.line
PIXELS = np.array([[60, 40, 0], [90, 0, 10], [100, 0, 0], [0, 0, 0]])  # of three classes in four images


class Dataset(SimpleNamespace):
    """A list of files, read as PaddleSeg's Dataset reads them."""

    def __getitem__(self, index: int) -> None:
        raise NotImplementedError


def files(folder: Path, *labels: list[list[int]], **more: object) -> Dataset:
    for number, label in enumerate(labels):
        Image.fromarray(np.array(label, np.uint8)).save(folder / f"{number}.png")
    pairs = [["image", str(folder / f"{number}.png")] for number in range(len(labels))]
    return Dataset(file_list=pairs, num_classes=3, ignore_index=255, **more)


def test_pixels_are_counted_as_they_are_trained_on(tmp_path):
    dataset = files(tmp_path, [[0, 1], [255, 2]], [[2, 2], [9, 9]], relabel={9: 1})
    dataset.file_list *= 2
    expected = [[1, 1, 1], [0, 2, 2]] * 2
    np.testing.assert_array_equal(class_balance.pixels_by_image(dataset), expected)


def test_counts_are_kept_until_a_label_changes(tmp_path, monkeypatch):
    dataset = files(tmp_path, [[0, 1]], [[2, 2]])
    cache = tmp_path / "cache"
    first = class_balance.pixels_by_image(dataset, cache)
    counting = class_balance.pixels_of_labels
    monkeypatch.setattr(class_balance, "pixels_of_labels", lambda *_: pytest.fail("counted again"))
    np.testing.assert_array_equal(class_balance.pixels_by_image(dataset, cache), first)
    monkeypatch.setattr(class_balance, "pixels_of_labels", counting)
    Image.fromarray(np.array([[1, 1, 1]], np.uint8)).save(dataset.file_list[1][1])
    np.testing.assert_array_equal(class_balance.pixels_by_image(dataset, cache), [[1, 1, 0], [0, 3, 0]])


def test_median_frequency_by_hand():
    """Frequencies among the images that show a class: 250/300, 40/100, 10/100; their median is 0.4."""
    np.testing.assert_allclose(class_balance.median_frequency(PIXELS), [0.4 / (250 / 300), 1.0, 4.0])


def test_a_class_that_no_image_shows_has_weight_one():
    pixels = np.array([[30, 0, 10]])
    assert class_balance.median_frequency(pixels)[1] == 1
    assert class_balance.effective_number(pixels)[0][1] == 1


def test_effective_number_by_hand():
    weights, beta = class_balance.effective_number(PIXELS, 0.99)
    single = (1 - 0.99) / (1 - 0.99 ** np.array([250, 40, 10]))
    np.testing.assert_allclose(weights, single * 3 / single.sum())
    assert beta == 0.99
    np.testing.assert_allclose(class_balance.effective_number(PIXELS, 0.0)[0], [1, 1, 1])
    nearly = class_balance.effective_number(PIXELS, 1 - 1e-12)[0]  # the limit: inverse frequency
    np.testing.assert_allclose(nearly / nearly[0], [1, 250 / 40, 25], rtol=1e-3)
    assert class_balance.effective_number(PIXELS)[1] == pytest.approx(99 / 100)  # 300 pixels, three classes


def test_rare_classes_are_drawn_as_often_as_others():
    """Class 0 is in three images, 1 in the first, 2 in the second; the last shows none."""
    np.testing.assert_allclose(class_balance.draw_shares(PIXELS), np.array([4, 4, 1, 0]) / 9)


def test_rules_become_numbers_wherever_a_loss_has_them():
    losses = [
        {"type": "CrossEntropyLoss", "weight": "auto"},
        {"type": "MixedLoss", "losses": [{"type": "DiceLoss", "weight": "median_frequency"}], "coef": [1]},
        {"type": "WeightedPixelCrossEntropyLoss", "weight": {"method": "effective", "beta": 0.99}},
        {"type": "CrossEntropyLoss", "weight": [1, 2, 3]},
    ]
    config = {"loss": {"types": losses}}
    said = class_balance.resolve_weights(config, lambda: PIXELS)
    assert losses[0]["weight"] == losses[1]["losses"][0]["weight"] == [0.48, 1.0, 4.0]
    assert sum(losses[2]["weight"]) == pytest.approx(3, abs=1e-3)
    assert losses[3]["weight"] == [1, 2, 3]
    assert said[0] == "Class weights by median frequency: 0.48, 1, 4"
    assert "beta 0.99" in said[1]


@pytest.mark.parametrize("weight", ["atuo", {"method": "auto", "beta": 0.5}, {"method": "effective", "beta": 1.0}])
def test_rules_that_do_not_exist(weight):
    with pytest.raises(UserError, match="did you mean auto|beta goes with effective"):
        class_balance.resolve_weights({"loss": {"types": [{"weight": weight}]}}, lambda: PIXELS)


def test_of_many_classes_the_table_has_the_ends():
    pixels = np.arange(256)
    text = class_balance.table([f"class {index}" for index in range(150)], {"train": pixels})
    assert "130 classes in between" in text
    assert len(text.splitlines()) < 30
    assert "class 149" in text and "class 0 " in text and "class 75" not in text


def test_a_run_weighs_and_draws_by_its_labels_and_resumes_exactly(tmp_path, capsys):
    """The labels of all training images; a resumed run draws the same images."""
    loss = {"types": [{"type": "CrossEntropyLoss", "weight": "auto"}], "coef": [1, 0.4]}
    config = tiny.config(tmp_path, loss=loss, sampler="class_balanced")
    command = ["train", "--config", str(config), "--device", "cpu", "--seed", "1", "--log_iters", "1"]
    found = {}
    for name, ends in (("one", ["6"]), ("two", ["3", "6"])):
        for iters in ends:
            more = ["--iters", "6", "--save_interval", "3", "--save_dir", str(tmp_path / name)]
            if iters == "3":
                more[1] = "3"
            assert main([*command, *more, "--resume_model", "latest", "--opts", "lr_scheduler.decay_steps=6"]) == 0
        found[name] = tiny.losses(printed := capsys.readouterr().out)
    assert found["one"] == found["two"]
    weights = re.search(r"Class weights by median frequency: (.*)", printed).group(1)
    counted = sum(np.array(Image.open(path).histogram()[:3]) for path in (tmp_path / "data").glob("*.png"))
    np.testing.assert_allclose([*map(float, weights.split(","))], np.median(counted) / counted, rtol=1e-3)
    assert "sampler class_balanced: images are drawn" in printed


def test_samplers_that_do_not_exist(tmp_path, capsys):
    config = tiny.config(tmp_path, sampler="class_balnced")
    assert main(["train", "--config", str(config), "--device", "cpu"]) == 2
    assert "did you mean class_balanced" in capsys.readouterr().err
