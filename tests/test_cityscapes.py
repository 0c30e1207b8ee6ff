"""Cityscapes: lists, the four scores of its benchmark against hand-made cases, and what its server takes."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
import yaml
from paddleseg import core
from paddleseg.datasets import Cityscapes
from PIL import Image

from paddle_hrfamily.__main__ import main
from paddle_hrfamily.commands.trainids import to_train_ids
from paddle_hrfamily.data.cityscapes import LABELS, SIZE, CityscapesFine, image_name
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.evaluation.cityscapes import CATEGORIES, CityscapesMeasure
from paddle_hrfamily.inference import cityscapes_server
from paddle_hrfamily.integration import config_file, registration
from tests.test_predict import CONFIG

pytestmark = pytest.mark.line

IDS = [label.id for label in LABELS]
PERSON, RIDER, CAR, ROAD = 24, 25, 26, 7
# Label id, instance's value, predicted id, and how many pixels.
PIXELS = (
    (PERSON, 24001, PERSON, 3),
    (PERSON, 24001, RIDER, 1),
    (RIDER, RIDER, PERSON, 2),  # a group: no instance
    (CAR, 26000, CAR, 2),
    (CAR, 26000, ROAD, 2),
    (29, 29001, CAR, 2),  # a caravan, which is not evaluated
    (ROAD, ROAD, ROAD, 3),
    (ROAD, ROAD, PERSON, 1),
)


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    registration.register()


class Seen(paddle.nn.Layer):
    """The class that the image's red channel tells, ten to a class."""

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        centers = paddle.arange(len(IDS), dtype="float32").reshape([1, -1, 1, 1]) * 10
        return [-((image[:, :1] - centers) ** 2)]


def save(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def columns() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PIXELS as rows of an image: label ids, instances, predicted ids."""
    rows = [np.repeat([entry[which] for entry in PIXELS], [entry[3] for entry in PIXELS]) for which in range(3)]
    return rows[0][None].astype(np.uint8), rows[1][None].astype(np.uint16), rows[2][None]


def tree(root: Path, splits: tuple[str, ...] = ("train", "val"), *, instances: bool = True) -> Path:
    """The folder of the data set: one image each of PIXELS, and one twice as high."""
    label, instance, predicted = columns()
    for split in splits:
        for frame, height in ((19, 1), (20, 2)):
            name, times = f"zurich_000000_0000{frame}", (height, 1)
            red = np.array([IDS.index(value) * 10 for value in predicted[0]], np.uint8)
            save(
                root / f"leftImg8bit/{split}/zurich/{name}_leftImg8bit.png", np.tile(red[None, :, None], (height, 1, 3))
            )
            label_folder = root / f"gtFine/{split}/zurich"
            save(label_folder / f"{name}_gtFine_labelTrainIds.png", to_train_ids(np.tile(label, times)))
            if instances:
                save(label_folder / f"{name}_gtFine_instanceIds.png", np.tile(instance, times))
    return root


# Lists


def test_lists_pair_by_name(tmp_path: Path) -> None:
    tree(tmp_path, ("train", "val", "test"))
    lengths = {mode: len(CityscapesFine(mode, [], str(tmp_path))) for mode in CityscapesFine.MODES}
    assert lengths == {"train": 2, "val": 2, "trainval": 4, "test": 2}
    data = CityscapesFine("trainval", [], str(tmp_path))
    for image, label in data.file_list:
        assert Path(label).name == Path(image).name.replace("_leftImg8bit", "_gtFine_labelTrainIds")
        assert Path(label).parts[-3] == Path(image).parts[-3]
    Path(data.file_list[0][1]).unlink()
    with pytest.raises(UserError, match=r"no .*labelTrainIds\.png.*hrfamily trainids"):
        CityscapesFine("trainval", [], str(tmp_path))


def test_the_ids_are_those_that_trainids_reads() -> None:
    np.testing.assert_array_equal(to_train_ids(np.array([IDS], np.uint8))[0], np.arange(19))


# The four scores


def test_scores_of_a_case_by_hand(tmp_path: Path) -> None:
    data = CityscapesFine("val", [], str(tree(tmp_path)))
    scores = core.evaluate(Seen(), data, print_detail=False, measures=[CityscapesMeasure(data)])
    (report,) = scores.report.further
    # One image of PIXELS and one with each of them twice, whose instances count as much: they are twice as large.
    person, false_persons = 3462.4756337644, 3 * 3  # 2 riders and a bit of road, thrice
    car = 12794.0202738185
    classes, categories = report.instances
    expected = {11: 2 * person * 3 / 4 / (2 * person + false_persons), 12: 0, 13: 2 * car * 2 / 4 / (2 * car)}
    for number in range(19):
        if number in expected:
            assert classes[number] == pytest.approx(expected[number], rel=1e-9)
        else:
            assert np.isnan(classes[number])
    by_name = dict(zip(CATEGORIES, categories))
    assert by_name["human"] == pytest.approx(2 * person / (2 * person + 3), rel=1e-9)  # a rider is human, road is not
    assert by_name["vehicle"] == pytest.approx(0.5)
    assert np.isnan([by_name[name] for name in ("flat", "construction", "object", "nature", "sky")]).all()
    found = dict(zip(CATEGORIES, report.category_iou))
    assert (found["human"], found["vehicle"], found["flat"]) == pytest.approx((6 / 7, 2 / 4, 3 / 6))
    assert np.isnan(found["sky"])
    overall = report.overall()
    assert overall["iou_category"] == pytest.approx((6 / 7 + 1 / 2 + 1 / 2) / 3)
    assert overall["iiou_class"] == pytest.approx(sum(expected.values()) / 3)
    assert "Classes: iIoU" in scores.report.table()
    assert scores.report.to_json()["cityscapes"]["class_iiou"]["rider"] == 0


def by_the_official_rules(label: np.ndarray, instance: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """evalPixelLevelSemanticLabeling.py's means, pixel by pixel over label ids."""
    category = {entry.id: entry.category for entry in LABELS}
    size = {entry.id: entry.instance_size for entry in LABELS if entry.instance_size}
    pairs = [(a, b) for a, b in zip(label.ravel().tolist(), predicted.ravel().tolist()) if a in category]
    hits = {key: [0.0, 0.0] for key in (*size, "human", "vehicle")}
    for number in {value for value in instance.ravel().tolist() if value > 1000}:
        kind = number // 1000
        if kind in size:
            guesses = predicted[instance == number].tolist()
            weight = size[kind] / len(guesses)
            for key, right in (
                (kind, [g == kind for g in guesses]),
                (category[kind], [category[g] == category[kind] for g in guesses]),
            ):
                hits[key][0] += weight * sum(right)
                hits[key][1] += weight * (len(right) - sum(right))

    def mean(values: list[float]) -> float:
        return float(np.mean([value for value in values if not np.isnan(value)]))

    def ratio(hit: float, missed: float, false: float) -> float:
        return hit / (hit + missed + false) if hit + missed + false else float("nan")

    iiou_class = [ratio(*hits[k], sum(b == k != a for a, b in pairs)) for k in size]
    iiou_category, iou = [], []
    for name in CATEGORIES:
        both = [(category[a] == name, category[b] == name) for a, b in pairs]
        false = both.count((False, True))
        iou.append(ratio(both.count((True, True)), both.count((True, False)), false))
        if name in hits:
            iiou_category.append(ratio(*hits[name], false))
    return {"iou_category": mean(iou), "iiou_class": mean(iiou_class), "iiou_category": mean(iiou_category)}


def test_scores_of_random_maps_are_the_official_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    label = np.kron(rng.choice([*IDS, 0, 29], (6, 8)), np.ones((4, 4), int))
    instance = np.where(np.isin(label, range(24, 34)), label * 1000 + rng.integers(0, 3, label.shape), label)
    predicted = np.where(rng.random(label.shape) < 0.6, label, rng.choice(IDS, label.shape))
    predicted[~np.isin(predicted, IDS)] = 7
    name = "zurich_000000_000019"
    red = np.vectorize(IDS.index)(predicted)[..., None].repeat(3, 2) * 10
    save(tmp_path / f"leftImg8bit/val/zurich/{name}_leftImg8bit.png", red.astype(np.uint8))
    folder = tmp_path / "gtFine/val/zurich"
    save(folder / f"{name}_gtFine_labelTrainIds.png", to_train_ids(label.astype(np.uint8)))
    save(folder / f"{name}_gtFine_instanceIds.png", instance.astype(np.uint16))
    data = Cityscapes([], str(tmp_path), "val")  # PaddleSeg's own
    report = core.evaluate(Seen(), data, print_detail=False, measures=[CityscapesMeasure(data)]).report.further[0]
    assert report.overall() == pytest.approx(by_the_official_rules(label, instance, predicted), rel=1e-9)


def test_without_instances_it_says_so(tmp_path: Path) -> None:
    data = CityscapesFine("val", [], str(tree(tmp_path, instances=False)))
    report = core.evaluate(Seen(), data, print_detail=False, measures=[CityscapesMeasure(data)]).report
    assert report.further[0].overall() == {"iou_category": pytest.approx((6 / 7 + 1) / 3)}
    assert "iIoU is left out: 2 images lack their *_gtFine_instanceIds.png" in report.table()


# What the server takes


@pytest.fixture(scope="module")
def street(tmp_path_factory) -> Path:
    """Two images of the right size and name, one of another size."""
    root = tmp_path_factory.mktemp("test")
    for name, size in (
        ("berlin_000000_000019", SIZE),
        ("bad-honnef_000000_000000", SIZE),
        ("bonn_000001_000019", (64, 32)),
    ):
        (root / name.split("_")[0]).mkdir()
        image = np.full((*size[::-1], 3), len(name) * 5, np.uint8)
        cv2.imwrite(str(root / name.split("_")[0] / f"{name}_leftImg8bit.png"), image)
    return root


def test_the_archive_is_what_the_server_looks_for(street: Path, tmp_path: Path, capsys) -> None:
    sources = cityscapes_server.image_files.find(street)
    cityscapes_server.check(sources, 19)
    (tmp_path / "cityscapes").mkdir()
    stale = tmp_path / "cityscapes" / "bonn_000001_000019_pred_labelIds.png"
    stale.write_bytes(b"of an earlier run")
    label = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE[::-1]) % 19
    assert cityscapes_server.predict_images(sources, lambda image: label, tmp_path) == 1
    assert "bonn_000001_000019_leftImg8bit.png is 64x32, and the server takes 2048x1024" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "cityscapes.zip") as archive:
        for name in archive.namelist():
            assert re.fullmatch(r"[a-z-]+_\d{6}_\d{6}.*\.png", name)
            with archive.open(name) as file, Image.open(file) as image:
                assert (image.mode, image.size) == ("L", SIZE)
                np.testing.assert_array_equal(np.asarray(image), np.array(IDS)[label])
        cores = {name[: name.index("_pred")] for name in archive.namelist()}
    assert cores == {"berlin_000000_000019", "bad-honnef_000000_000000"}


@pytest.mark.parametrize("name", ["berlin_000000_000019.png", "street_leftImg8bit.png", "berlin_0_19_leftImg8bit.png"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{re.escape(name)} is not called as an image of Cityscapes"):
        image_name(Path(name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "this network has 8"),
        ({"num_classes": 19}, "is not called as an image of Cityscapes"),
    ],
)
def test_predict_looks_before_it_loads(tmp_path: Path, capsys, change: dict[str, int], message: str) -> None:
    path, image = tmp_path / "config.yml", tmp_path / "street.png"
    model = {**CONFIG["model"], **change}
    path.write_text(yaml.safe_dump({**CONFIG, "model": model}))
    cv2.imwrite(str(image), np.zeros((8, 8, 3), np.uint8))
    line = ["predict", "--config", str(path), "--image_path", str(image), "--server", "cityscapes"]
    assert main([*line, "--save_dir", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert config_file.load(path).dic["model"] == model and not (tmp_path / "out").exists()


def test_one_image_twice_is_refused(street: Path, tmp_path: Path) -> None:
    name = "berlin_000000_000019_leftImg8bit.png"
    listed = tmp_path / "list.txt"
    (tmp_path / name).write_bytes((street / "berlin" / name).read_bytes())
    listed.write_text(f"{street / 'berlin' / name}\n{tmp_path / name}\n")
    with pytest.raises(UserError, match="are one image to the server"):
        cityscapes_server.check(cityscapes_server.image_files.find(listed), 19)
