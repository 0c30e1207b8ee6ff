"""How sure a network is: against SciPy's definitions, in files, in label maps, from the server, with a temperature."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax
from scipy.stats import entropy

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging import confidence
from hrfamily_deploy.imaging.confidence import MEASURES, Classes, marked, measured, unsure_number
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.scripts import command_line
from tests.deploy.conftest import CHAINS_THAT_RESIZE, CLASSES, COLORS, Describe, describe_in
from tests.deploy.served import served

K = len(CLASSES)
Photo = Callable[..., np.ndarray]


def by_definition(logits: np.ndarray, temperature: float = 1.0) -> dict[str, np.ndarray]:
    """Both measures of (K, H, W)."""
    probabilities = softmax(logits.astype(np.float64) / temperature, axis=0)
    return {
        "max_probability": probabilities.max(axis=0),
        "entropy": entropy(probabilities, axis=0) / np.log(len(logits)),
    }


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
def test_measures_are_those_of_scipy(measure: str, scale: float) -> None:
    logits = (np.random.default_rng(1).standard_normal((7, 9, 11)) * scale + scale).astype(np.float32)
    found = measured(iter(logits), measure)
    assert found.shape == (9, 11) and found.dtype == np.float32
    np.testing.assert_allclose(found, by_definition(logits)[measure], atol=2e-6)


def test_even_and_certain_pixels() -> None:
    logits = np.zeros((4, 1, 2), np.float32)
    logits[2, 0, 1] = 200
    np.testing.assert_allclose(measured(iter(logits), "entropy"), [[1, 0]], atol=1e-6)
    np.testing.assert_allclose(measured(iter(logits), "max_probability"), [[0.25, 1]])


def test_unsure_is_below_a_probability_and_above_an_entropy() -> None:
    label, values = np.array([[0, 1, 2]], np.uint8), np.array([[0.2, 0.5, 0.9]], np.float32)
    assert marked(label, values, "max_probability", 0.5, 3).tolist() == [[255, 1, 2]]
    assert marked(label, values, "entropy", 0.5, 3).tolist() == [[0, 1, 255]]
    assert marked(label, values, "entropy", 0.5, 256).dtype == np.uint16 and unsure_number(256) == 65535
    assert unsure_number(255) == 255


def test_unsure_pixels_are_one_class_more_in_white() -> None:
    classes = Classes.of(["a", "b"], [(1, 2, 3), (4, 5, 6)], 0.5)
    assert classes.shown.names == ("a", "b", "unsure") and classes.shown.colors[2] == (255, 255, 255)
    assert classes.numbered(np.array([[0, 255, 1]], np.uint8)).tolist() == [[0, 2, 1]]
    assert classes.palette()[255] == (255, 255, 255) and len(classes.palette()) == 256
    assert Classes.of(["a"], [(0, 0, 0)], None).shown == Classes(("a",), ((0, 0, 0),))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("graph", ["none", "softmax"])
def test_the_predictor_gives_both(describe: Describe, photo: Photo, graph: str, temperature: float) -> None:
    image = photo(50, 70)
    logits = Predictor(describe("none", "reference"), device="cpu").predict(image, output="logits")[0]
    predictor = Predictor(describe(graph, temperature=temperature), device="cpu")
    expected = by_definition(logits, temperature)
    for measure in MEASURES:
        np.testing.assert_allclose(predictor.predict(image, output=measure)[0], expected[measure], atol=1e-4)
    probabilities = predictor.predict(image, output="probabilities")[0]
    np.testing.assert_allclose(probabilities, softmax(logits / temperature, axis=0), atol=1e-4)
    np.testing.assert_array_equal(predictor.predict(image)[0], logits.argmax(axis=0))  # labels do not depend on it


@pytest.mark.parametrize("graph", ["none", "softmax"])
def test_where_images_are_resized_the_logits_are_interpolated_as_for_labels(
    describe: Describe, photo: Photo, graph: str
) -> None:
    image, chain = photo(50, 70), CHAINS_THAT_RESIZE["ResizeByLong"]
    logits = Predictor(describe("none", "reference", transforms=chain), device="cpu").predict(image, output="logits")[0]
    if graph == "none":
        found = Predictor(describe("none", transforms=chain), device="cpu").predict(image, output="max_probability")[0]
        np.testing.assert_allclose(found, by_definition(logits)["max_probability"], atol=1e-4)
        return
    predictor = Predictor(describe("softmax", transforms=chain), device="cpu")
    label, sure = (predictor.predict(image, output=output)[0] for output in ("labels", "max_probability"))
    assert (label == logits.argmax(axis=0)).mean() > 0.99 and sure.min() >= 1 / K - 1e-3 and sure.max() <= 1 + 1e-6


def test_a_graph_that_ends_in_labels_says_what_to_export(describe: Describe, photo: Photo) -> None:
    with pytest.raises(UserError, match=r"max_probability of a graph that ends in labels: export with --output_op"):
        Predictor(describe(), device="cpu").predict(photo(32, 32), output="max_probability")


@pytest.mark.parametrize("value", [0, -1, "warm", float("inf"), True])
def test_a_temperature_that_is_none(describe: Describe, value: object) -> None:
    with pytest.raises(UserError, match=r"deploy\.yaml: temperature is .*number above 0"):
        Predictor(describe("none", temperature=value), device="cpu")


# hrfamily infer


def infer(*arguments: object) -> int:
    return command_line.main("infer", [*map(str, arguments), "--device", "cpu"])


@pytest.fixture
def picture(photo: Photo, tmp_path: Path) -> Path:
    path = tmp_path / "street.png"
    Image.fromarray(photo(64, 300)).save(path)
    return path


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("tile", [[], ["--tile", 128, "--overlap", 32]])
def test_infer_writes_confidence_and_unsure_pixels(
    describe: Describe, picture: Path, tmp_path: Path, capsys, measure: str, tile: list
) -> None:
    bundle = describe("none")
    flags = ["--confidence", "--measure", measure, "--unsure", 0.6, "--save-dir", tmp_path / "out", *tile]
    assert infer(bundle, picture, *flags, "--opacity", 1) == 0
    predictor = Predictor(bundle, device="cpu")
    label, values = (predictor.predict(picture, output=output)[0] for output in ("labels", measure))
    grey = cv2.imread(str(tmp_path / "out/confidence/street.png"), cv2.IMREAD_UNCHANGED)
    assert grey.dtype == np.uint16
    np.testing.assert_allclose(grey / 65535, values, atol=1e-3)

    unsure = values < 0.6 if measure == "max_probability" else values > 0.6
    assert 0.05 < unsure.mean() < 0.9
    expected = np.where(unsure, 255, label)
    with Image.open(tmp_path / "out/labels/street.png") as image:
        assert (np.array(image) == expected).mean() > 0.999 and image.getpalette()[-3:] == [255, 255, 255]
    drawn = cv2.imread(str(tmp_path / "out/overlay/street.png"))[..., ::-1]
    palette = np.array([*COLORS, *[(255, 255, 255)] * 251])
    assert (drawn[:64] == palette[expected]).all(axis=-1).mean() > 0.999 and drawn.shape[0] > 64
    shares = json.loads((tmp_path / "out/shares.json").read_text())["shares"]
    assert shares["unsure"] == pytest.approx(unsure.mean(), abs=1e-3) and sum(shares.values()) == pytest.approx(1)
    assert "unsure" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("graph", "flags", "words"),
    [
        ("argmax", ["--confidence"], "max_probability of a graph that ends in labels: export with"),
        ("argmax", ["--unsure", 0.5, "--measure", "entropy"], "entropy of a graph that ends in labels"),
        ("none", ["--unsure", 1.5], "--unsure 1.5 must be a number of 0 to 1"),
        ("none", ["--measure", "margin"], "--measure"),
    ],
)
def test_what_infer_refuses(describe: Describe, picture: Path, tmp_path: Path, capsys, graph, flags, words) -> None:
    assert infer(describe(graph), picture, "--save-dir", tmp_path / "out", *flags) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_video_has_unsure_pixels_and_no_confidence_files(describe: Describe, photo: Photo, tmp_path: Path, capsys):
    writer = cv2.VideoWriter(str(tmp_path / "drive.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (96, 64))
    for number in range(3):
        writer.write(photo(64, 96, number))
    writer.release()
    bundle = describe("none")
    assert infer(bundle, tmp_path / "drive.mp4", "--unsure", 0.6, "--save-dir", tmp_path / "out") == 0
    assert 0 < json.loads((tmp_path / "out/shares.json").read_text())["shares"]["unsure"] < 1
    assert infer(bundle, tmp_path / "drive.mp4", "--confidence", "--save-dir", tmp_path / "out") == 2
    assert "--confidence is for images" in capsys.readouterr().err


# the server and its client


@pytest.fixture(scope="module")
def server(graphs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    describe = describe_in(tmp_path_factory.mktemp("served"), graphs)
    ends_in_logits, labels = describe("none"), describe("argmax")
    with served(f"sure={ends_in_logits}", f"labels={labels}") as url:
        yield url, ends_in_logits


def test_the_server_and_its_client(server: tuple[str, Path], picture: Path, tmp_path: Path) -> None:
    from hrfamily_deploy.client import Client, ServerError

    url, bundle = server
    predictor = Predictor(bundle, device="cpu")
    label, sure, uneven = (predictor.predict(picture, output)[0] for output in ("labels", *MEASURES))
    expected = np.where(sure < 0.6, 255, label)
    with Client(url) as client:
        assert {entry["name"]: entry["confidence"] for entry in client.models()} == {"sure": True, "labels": False}
        np.testing.assert_allclose(client.segment(picture, "sure", "confidence"), sure, atol=1e-4)
        np.testing.assert_allclose(client.segment(picture, "sure", "confidence", measure="entropy"), uneven, atol=1e-4)
        assert (client.segment(picture, "sure", unsure=0.6) == expected).mean() > 0.999
        drawn = client.segment(picture, "sure", "overlay", opacity=1, unsure=0.6)
        assert (drawn[expected == 255] == 255).all() and (drawn[expected == 0] == COLORS[0]).all()
        answer = client.segment(picture, "sure", "json", unsure=0.6)
        assert answer["classes"][-1] == {
            "id": 255,
            "name": "unsure",
            "color": [255, 255, 255],
            "share": pytest.approx((expected == 255).mean(), abs=1e-3),
        }
        assert sum(entry["share"] for entry in answer["classes"]) == pytest.approx(1, abs=1e-4)
        values, lengths = np.array(answer["runs"]).T
        assert (np.repeat(values, lengths) == expected.ravel()).mean() > 0.999
        for options in ({"output": "confidence"}, {"unsure": 0.5}):
            with pytest.raises(ServerError, match=r"ends in labels: export with --output_op softmax") as refused:
                client.segment(picture, "labels", **options)
            assert refused.value.status == 422 and "/" not in str(refused.value).partition("refuses")[2]
        with pytest.raises(ServerError, match="unsure"):
            client.segment(picture, "sure", unsure=1.5)
    flags = ["--model", "sure", "--unsure", "0.6", "--save-dir", str(tmp_path / "out")]
    assert command_line.main("client", [url, str(picture), *flags]) == 0
    with Image.open(tmp_path / "out/labels/street.png") as image:
        assert (np.array(image) == expected).mean() > 0.999


def test_files_and_back() -> None:
    values = np.random.default_rng(0).random((5, 6)).astype(np.float32)
    np.testing.assert_allclose(confidence.from_file(confidence.to_file(values)), values, atol=1e-5)
