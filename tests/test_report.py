"""`hrfamily val --report` and `--calibration`: each measure against its definition, and the page with its files."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from paddleseg import core
from paddleseg.datasets import Dataset
from scipy import ndimage
from scipy.special import softmax

from hrfamily_deploy import bundle
from paddle_hrfamily.__main__ import main
from paddle_hrfamily.data.classes import ClassTable, palette
from paddle_hrfamily.evaluation import boundaries, calibration, components, worst_images
from paddle_hrfamily.evaluation.calibration import BINS, CalibrationMeasure, calibrated, reliability
from paddle_hrfamily.integration.registration import register
from paddle_hrfamily.visualization import charts, report
from tests import tiny
from tests.test_evaluation import Threshold, data

register()
NAMES, IGNORE = ("sky", "road", "car"), 255
TABLE = ClassTable(NAMES, palette(3))


def maps(seed: int, size: tuple[int, int] = (60, 80)) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and label of blobs, some ignored."""
    random = np.random.default_rng(seed)
    label = np.kron(random.integers(0, 3, (6, 8)), np.ones((10, 10), int))[: size[0], : size[1]]
    label[20:23, 40:43] = (label[20, 40] + 1) % 3  # a small component
    predicted = np.roll(label, 2, axis=1)
    label = label.copy()
    label[:4, :9] = IGNORE
    return predicted, label


# calibration


def logits_of(labels: np.ndarray, temperature: float, seed: int = 0) -> np.ndarray:
    """Logits (N, 4) that are right if they are divided by the temperature: labels are drawn by their probabilities."""
    random = np.random.default_rng(seed)
    logits = random.standard_normal((len(labels), 4)) * 2
    cumulated = softmax(logits, axis=1).cumsum(axis=1)
    labels[:] = (random.random((len(labels), 1)) > cumulated).sum(axis=1).clip(0, 3)
    return (logits * temperature).astype(np.float32)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_spoiled_logits_is_found(temperature: float) -> None:
    labels = np.zeros(20_000, int)
    found = calibrated(logits_of(labels, temperature), labels)
    assert found.temperature == pytest.approx(temperature, rel=0.04)
    assert found.after.ece < 0.02 and found.after.nll <= found.before.nll + 1e-9
    assert (found.before.ece > 0.05) is (temperature != 1.0)
    assert f"--temperature {found.temperature:.4f}" in found.table()


def test_ece_is_its_definition() -> None:
    labels = np.zeros(3000, int)
    logits = logits_of(labels, 2.0)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence >= low) & (confidence < low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    found = reliability(logits, labels)
    assert BINS == 15 and found.ece == pytest.approx(expected, rel=1e-6) and found.pixels.sum() == 3000
    assert found.nll == pytest.approx(-np.log(probabilities[np.arange(3000), labels]).mean(), rel=1e-6)


def test_pixels_are_drawn_from_every_image_and_none_is_ignored() -> None:
    measure = CalibrationMeasure(images=3, classes=3, ignore_index=IGNORE, pixels=300)
    for index in range(3):
        _, label = maps(index)
        output = np.stack([np.where(label == number, 5.0 + index, 0) for number in range(3)])
        measure.hear(paddle.to_tensor(output[None].astype("float32")))
        measure.add(index, label, label)
    assert (measure.labels > 0).sum(axis=1).tolist() == [100] * 3
    chosen = np.take_along_axis(measure.logits, measure.labels[..., None] - 1, axis=2)[..., 0]
    assert [set(row) for row in chosen.tolist()] == [{5.0}, {6.0}, {7.0}]
    found = measure.report(np.zeros(0))
    assert found.before.accuracy[-1] == 1 and found.temperature < 1


def test_data_without_labels_has_no_temperature() -> None:
    found = calibrated(np.zeros((0, 3), np.float32), np.zeros(0, int))
    assert (found.temperature, found.before.ece) == (1.0, 0.0) and json.dumps(found.to_json(), allow_nan=False)


# components, outlines, images


def test_components_are_counted_by_their_area() -> None:
    measure = components.ComponentMeasure(NAMES, IGNORE)
    expected = np.zeros((4, 3, len(components.BINS)), int)
    for seed in range(4):
        predicted, label = maps(seed)
        measure.add(seed, predicted, label)
        for number in range(3):
            ids, count = ndimage.label(label == number, np.ones((3, 3)))
            for index in range(1, count + 1):
                inside = ids == index
                area, hits = int(inside.sum()), int((predicted[inside] == number).sum())
                size = sum(area >= side**2 for side in (8, 32, 96, 256))
                expected[:, number, size] += 1, hits > area / 2, area, hits
    found = measure.report(np.zeros(0))
    np.testing.assert_array_equal([found.components, found.found, found.pixels, found.hits], expected)
    assert (
        found.components[:, 0].sum() and found.components[:, 1].sum() and 0 < found.found.sum() < found.components.sum()
    )
    assert f"{found.found[0, 1]} of {found.components[0, 1]}" in found.table()
    assert found.to_json()["components"]["classes"][2]["hits"] == expected[3, 2].tolist()


def test_boundary_f1_is_of_the_outlines_of_all_images() -> None:
    measure, totals = boundaries.BoundaryMeasure((*NAMES, "never"), IGNORE), np.zeros((3, 4))
    for seed in range(3):
        predicted, label = maps(seed, (52, 71))
        measure.add(seed, predicted, label)
        distance = max(1, round(0.0075 * np.hypot(52, 71)))
        clear = ndimage.binary_erosion(label != IGNORE, np.ones((3, 3)), border_value=1)
        for number in range(3):
            lines = []
            for classes in (predicted, label):
                inner = ndimage.binary_erosion(classes == number, np.ones((3, 3)), border_value=1)
                lines.append((classes == number) & ~inner & clear)
            for at, (line, other) in enumerate((lines, lines[::-1])):
                far = ndimage.distance_transform_cdt(~other, "chessboard") if other.any() else np.full(line.shape, 99)
                totals[number, 2 * at : 2 * at + 2] += line.sum(), (line & (far <= distance)).sum()
    precision, recall = totals[:, 1] / totals[:, 0], totals[:, 3] / totals[:, 2]
    found = measure.report(np.zeros(0))
    np.testing.assert_allclose(found.f1[:3], 2 * precision * recall / (precision + recall))
    assert np.isnan(found.f1[3]) and 0.1 < found.mean_f1 < 1 and f"Boundary F1 {found.mean_f1:.4f}" in found.table()


def test_outlines_that_nobody_finds_are_0() -> None:
    measure, label = boundaries.BoundaryMeasure(NAMES, IGNORE), np.zeros((30, 40), int)
    label[10:20, 10:20] = 1
    measure.add(0, np.zeros_like(label), label)
    f1 = measure.report(np.zeros(0)).f1
    assert f1[1] == 0 and np.isnan(f1[2])


def test_the_worst_images_are_kept() -> None:
    class Images:
        ignore_index = IGNORE

        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> dict:
            return {"img": np.random.default_rng(index).standard_normal((3, 60, 80)).astype("float32")}

    measure = worst_images.ImageScores(Images(), TABLE, most=2)
    scores = []
    for index in range(6):
        _, label = maps(index)
        predicted = np.where(
            np.random.default_rng(index).random(label.shape) < (0, 0.5, 0.1, 0.4, 0.2, 0)[index], 2, label
        )
        label = np.full_like(label, IGNORE) if index == 5 else label
        measure.add(index, predicted, label)
        known = label != IGNORE
        ious = [
            ((predicted == n) & (label == n)).sum() / (((predicted == n) | (label == n)) & known).sum()
            for n in np.unique(label[known])
        ]
        scores.append(np.mean(ious) if ious else -1)
    found = measure.report(np.zeros(0))
    np.testing.assert_allclose(found.scores[:, 0], scores)
    assert list(found.pictures) == [1, 3] and found.to_json()["each_image"][5]["miou"] is None
    for jpeg in found.pictures.values():
        assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape[1] > 4 * 80


# the network's output, through PaddleSeg's loop


class Heard:
    """An OutputMeasure that keeps what it is told."""

    def __init__(self) -> None:
        self.agrees: list[bool] = []

    def hear(self, output: paddle.Tensor) -> None:
        self.output = output

    def add(self, index: int, predicted: np.ndarray, label: np.ndarray) -> None:
        assert self.output.shape[2:] == list(label.shape)
        self.agrees.append(bool((self.output.argmax(axis=1)[0].numpy() == predicted).all()))

    def report(self, counts: np.ndarray) -> calibration.CalibrationReport:
        return calibrated(np.zeros((0, 3), np.float32), np.zeros(0, int))


@pytest.mark.parametrize("options", [{}, {"aug_eval": True, "scales": [0.5, 1.0], "flip_horizontal": True}])
def test_measures_hear_the_final_output_of_each_image(tmp_path: Path, options: dict) -> None:
    dataset: Dataset = data(tmp_path)
    heard = Heard()
    core.evaluate(Threshold(), dataset, print_detail=False, measures=[heard], **options)
    assert heard.agrees == [True] * len(dataset)


# the page


class Page(HTMLParser):
    """What a page shows and what it asks others for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.sources, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        if tag not in ("meta", "img", "rect", "circle", "polyline"):
            self.open.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href", "data")]

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        self.text += text


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report, by the command."""
    folder = tmp_path_factory.mktemp("report")
    config = tiny.config(folder / "<b>own</b>", class_names=["sky", "a <wide> road", "car & van"])
    paths = ["--report", str(folder / "report"), "--json", str(folder / "scores.json")]
    assert main(["val", "--config", str(config), *paths, "--worst", "3", "--calibration", "--device", "cpu"]) == 0
    return folder


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_report_is_one_page_that_asks_nobody(evaluated: Path) -> None:
    text = (evaluated / "report" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not page.open and len(page.sources) == 3
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert not re.findall(r"(?:src|href|url)\W{1,2}https?:|@import", text)
    content = json.loads((evaluated / "scores.json").read_text())
    assert "a <wide> road" in page.text and "car & van" in page.text and "<b>own" not in text
    for value in (content["miou"], content["boundary_f1"]["mean"], content["calibration"]["before"]["ece"]):
        assert f"{value:.4f}" in page.text
    worst = sorted(content["each_image"], key=lambda entry: entry["miou"])[:3]
    assert [f"mean IoU {entry['miou']:.4f}" for entry in worst] == re.findall(r"mean IoU [\d.]{6}", page.text)


def test_its_tables_are_what_the_json_says(evaluated: Path) -> None:
    content = json.loads((evaluated / "report" / "report.json").read_text())
    assert content == json.loads((evaluated / "scores.json").read_text())
    header, *classes = rows(evaluated / "report" / "classes.csv")
    assert header[-2:] == ["boundary_iou", "boundary_f1"]
    assert [float(row[1]) for row in classes] == [entry["iou"] for entry in content["classes"]]
    confusion = rows(evaluated / "report" / "confusion.csv")
    assert [[int(cell) for cell in row[1:]] for row in confusion[1:]] == content["confusion_rows_are_labels"]
    assert confusion[0][1:] == [row[0] for row in confusion[1:]] == ["sky", "a <wide> road", "car & van"]
    assert len(rows(evaluated / "report" / "images.csv")) == 1 + content["images"] == 8
    sizes = rows(evaluated / "report" / "components.csv")[1:]
    assert sum(int(row[4]) for row in sizes) == sum(map(sum, content["confusion_rows_are_labels"]))


def test_the_matrix_is_a_picture_of_shares() -> None:
    counts = np.array([[8, 2], [0, 0]])
    drawn = charts.confusion(counts, ["a", "<b>"])
    assert "a as a: 8 pixels, 80.00%" in drawn and "a as &lt;b&gt;: 2 pixels, 20.00%" in drawn
    assert drawn.count("<title>") == 2 and ">80</text>" in drawn  # an empty cell is none
    many = charts.confusion(np.eye(40, dtype=int), [f"class {number}" for number in range(40)])
    assert many.count("<title>") == 40 and ">100</text>" not in many


def test_undefined_measures_are_dashes_and_empty_cells(tmp_path: Path) -> None:
    measured = {"iou": 0.5, "accuracy": 0.5, "precision": 0.5, "dice": 0.5, "share": 1.0}
    undefined = {"mean": None, "classes": {"a": None}}
    content = {
        "images": 1,
        "miou": 0.5,
        "miou_present": 0.5,
        "pixel_accuracy": 0.5,
        "mean_accuracy": 0.5,
        "kappa": None,
        "classes": [{"name": "a", **measured}],
        "confusion_rows_are_labels": [[1]],
        "boundary_iou": undefined,
        "boundary_f1": undefined,
        "components": {
            "area_in_pixels": ["all"],
            "classes": [{"name": "a", "components": [0], "found": [0], "pixels": [0], "hits": [0]}],
        },
        "each_image": [{"name": "x", "miou": None, "accuracy": None}],
    }
    path = report.write(tmp_path, content, "Title", "scale 1", {})
    assert "–" in Page(path.read_text(encoding="utf-8")).text
    assert rows(tmp_path / "images.csv")[1] == ["x", "", ""]


@pytest.mark.parametrize(
    ("flags", "words"), [(["--worst", "-1"], "--worst -1"), (["--report", "config.yml"], "--report config.yml: name a")]
)
def test_mistakes_are_one_line(tmp_path: Path, capsys, monkeypatch, flags: list[str], words: str) -> None:
    config = tiny.config(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["val", "--config", str(config), "--device", "cpu", *flags]) == 2
    assert words in capsys.readouterr().err


def test_export_keeps_the_temperature(tmp_path: Path, capsys) -> None:
    config, folder = tiny.config(tmp_path), tmp_path / "exported"
    command = ["export", "--config", str(config), "--save_dir", str(folder), "--input_shape", "1", "3", "40", "48"]
    assert main([*command, "--temperature", "nan"]) == 2
    assert "--temperature nan must be a number above 0" in capsys.readouterr().err and not folder.exists()
    assert main([*command, "--output_op", "softmax", "--temperature", "1.5"]) == 0
    assert bundle.read(folder).temperature == 1.5
