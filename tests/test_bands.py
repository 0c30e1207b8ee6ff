"""Images of many bands and 16 bits, from a folder to the answers; what is not carried is refused, never cut."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import yaml
from PIL import Image

from hrfamily_deploy.imaging import geotiff, image_files
from paddle_hrfamily import create_model, load_weights
from paddle_hrfamily.__main__ import main
from paddle_hrfamily.backbones import DDRNet
from paddle_hrfamily.data.label_checks import check_labels
from paddle_hrfamily.data.own_data import OwnData, write_list
from paddle_hrfamily.data.reading import NormalizeBands, band_statistics, beyond_rgb
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import config_file, registration
from paddle_hrfamily.weights import inflation
from tests.deploy.bands_files import PLACE, tiff

RNG = np.random.default_rng(0)
# A value for each of three classes in each of five bands, such as satellites measure.
VALUES = np.array([[1000, 3000, 500], [200, 4000, 9000], [700, 700, 12000], [5000, 100, 100], [60000, 20000, 30000]])


@pytest.fixture(autouse=True)
def _registered() -> None:
    registration.register()


def field(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 5) uint16 of one of two sizes, and its label map."""
    height, width = (64, 96) if index % 2 else (80, 64)
    label = np.zeros((height, width), np.uint8)
    label[height // 3 :, width // 4 : width // 2 + index] = 1
    label[: height // 4, -width // 3 :] = 2
    noise = np.random.default_rng(index).normal(0, 80, (height, width, 5))
    return (VALUES.T[label] + noise).clip(0, 65535).astype(np.uint16), label


def fields(folder: Path, count: int = 12) -> list[Path]:
    """A folder of GeoTIFFs and masks; their names have spaces and letters beyond ASCII."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    paths = []
    for index in range(count):
        image, label = field(index)
        paths.append(tiff(folder / f"images/Feld {index:02d} é.tif", image, compress="lzw", **PLACE))
        Image.fromarray(label).save(folder / f"masks/Feld {index:02d} é.png")
    return paths


def test_mean_and_deviation_are_those_of_all_pixels(tmp_path: Path) -> None:
    paths = fields(tmp_path, 5)
    pixels = np.concatenate([field(index)[0].reshape(-1, 5) for index in range(5)]).astype(np.float64)
    found = band_statistics(paths)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, pixels.std(axis=0), rtol=1e-12)
    assert found.dtype == "uint16" and found.transform()["mean"][0] == float(f"{pixels.mean(axis=0)[0]:.6g}")
    assert beyond_rgb(paths) == (paths[0], "16-bit values")
    still = tiff(tmp_path / "still.tif", np.full((4, 4, 2), 7, np.uint16))
    assert band_statistics([still]).transform()["std"] == [1.0, 1.0]  # and no division by 0
    with pytest.raises(UserError, match="still.tif: has 2 bands of uint16, and .* has 5 of uint16"):
        band_statistics([*paths, still])


# From a folder to the answers


@pytest.fixture
def _in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b é").mkdir()
    monkeypatch.chdir(tmp_path / "a b é")


def hrfamily(*arguments: object) -> None:
    assert main([*map(str, arguments)]) in (0, None), arguments


def change(path: Path, **backbone: object) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["model"]["backbone"] = {"type": "HRNet", "variant": "W18_Small_V1", **backbone}
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")


@pytest.mark.line
@pytest.mark.usefixtures("_in")
def test_five_bands_of_16_bits_from_a_folder_to_the_answers(capsys: pytest.CaptureFixture) -> None:
    paths = fields(Path("Felder"))
    size = ["--crop", 64, 64, "--batch_size", 2, "--iters", 2]
    hrfamily("new", "Felder", "--model", "hrnet_w18_small_v1", "--pretrained", "none", *size)
    assert "5 bands of uint16, read as they are stored" in capsys.readouterr().out
    content = yaml.safe_load(Path("Felder.yml").read_text(encoding="utf-8"))
    steps = [step["type"] for step in content["train_dataset"]["transforms"]]
    assert steps == ["ResizeStepScaling", "NormalizeBands", "RandomPaddingCrop", "RandomHorizontalFlip"]
    # RGB weights, as somebody else trained them, are inflated on the way in.
    paddle.save(create_model("hrnet_w18_small_v1", num_classes=3).backbone.state_dict(), "rgb.pdparams")
    change(Path("Felder.yml"), pretrained="rgb.pdparams")

    hrfamily("train", "--config", "Felder.yml", "--save_dir", "out", "--save_interval", 2, "--do_eval")
    weights = ["--config", "Felder.yml", "--model_path", "out/best_model"]
    hrfamily("val", *weights)
    hrfamily("predict", *weights, "--image_path", "Felder/images", "--save_dir", "predicted")
    hrfamily("export", *weights, "--save_dir", "exported", "--fast")
    hrfamily("infer", "exported", "Felder/images", "--save-dir", "inferred", "--device", "cpu")
    for path in paths:
        places = [geotiff.coordinates(file) for file in (path, *maps(path))]
        assert places[0] == places[1] == places[2] and places[0] is not None
        predicted, inferred = (labels(file) for file in maps(path))
        assert predicted.shape == labels(path).shape[:2] and (predicted == inferred).mean() > 0.999
    for made in ("predicted/added_prediction", "inferred/overlay"):
        assert image_files.decode(Path(made) / paths[0].name).std() > 20  # there is something to see

    grey = Path("grey.png")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(grey)
    assert main(["infer", "exported", str(grey), "--save-dir", "no", "--device", "cpu"]) == 2
    assert "this network takes 5 channels of uint16" in capsys.readouterr().err


def maps(path: Path) -> list[Path]:
    return [Path(folder) / f"{path.stem}.tif" for folder in ("predicted/label", "inferred/labels")]


def labels(path: Path) -> np.ndarray:
    with geotiff.opened(path, str(path)) as dataset:
        return np.moveaxis(dataset.read(), 0, 2) if dataset.count > 1 else dataset.read(1)


# The first convolution


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 6])
def test_the_first_convolution_answers_bands_alike_as_rgb(channels: int) -> None:
    kernels = RNG.normal(size=(8, 3, 3, 3)).astype(np.float32)
    inflated = inflation.inflated(kernels, channels)
    assert inflated.shape == (8, channels, 3, 3) and inflated.dtype == np.float32
    if channels == 1 or channels % 3 == 0:  # else one colour weighs more than another
        np.testing.assert_allclose(inflated.sum(axis=1), kernels.sum(axis=1), rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_array_equal(inflated[:, 0], kernels[:, 0] * np.float32(3 / channels))
    assert not inflation.fits((8, 3, 3, 3), (8, 3, 3, 3)) and not inflation.fits((8, 3, 3, 3), (9, 5, 3, 3))
    assert not inflation.fits((8, 4, 3, 3), (8, 5, 3, 3))


def test_pretrained_weights_of_rgb_fill_a_backbone_of_bands_and_no_trained_network(tmp_path: Path) -> None:
    rgb = create_model("ddrnet_23_slim", num_classes=2)
    path = str(tmp_path / "rgb.pdparams")
    paddle.save(rgb.state_dict(), path)
    backbone = DDRNet("23_slim", in_channels=5)
    report = load_weights(backbone, path, part="backbone")
    assert report.inflated == ["stem.conv1.conv.weight"] and "inflated from RGB 1: stem" in str(report)
    found, first = (net.stem.conv1.conv.weight.numpy() for net in (backbone, rgb.backbone))
    np.testing.assert_array_equal(found, first[:, [0, 1, 2, 0, 1]] * np.float32(3 / 5))
    with pytest.raises(UserError, match="takes 3 channels and this network's in_channels is 5; .*`pretrained`"):
        load_weights(create_model("ddrnet_23_slim", num_classes=2, in_channels=5), path)


# Data sets


def own(folder: Path, images: list[Path], transforms: list[Any], size: tuple[int, int] = (12, 10)) -> OwnData:
    label = folder / "label.png"
    Image.fromarray(np.zeros(size, np.uint8)).save(label)
    (folder / "list.txt").write_text(write_list(folder / "list.txt", [(image, label) for image in images]), "utf-8")
    return OwnData("val", transforms, str(folder / "list.txt"), num_classes=2)


@pytest.mark.parametrize(
    ("dtype", "channels", "suffix"),
    [("uint8", 4, ".png"), ("uint16", 1, ".png"), ("uint16", 3, ".png"), ("float32", 6, ".tif")],
)
def test_images_come_as_they_are_stored(tmp_path: Path, dtype: str, channels: int, suffix: str) -> None:
    import cv2

    image = (RNG.random((12, 10, channels)) * 255).astype(dtype)
    path = tmp_path / f"a b é{suffix}"
    if suffix == ".tif":
        tiff(path, image)
    else:
        cv2.imwrite(str(path), image[..., [2, 1, 0, 3][:channels] if channels >= 3 else [0]])
    mean, std = list(range(1, channels + 1)), [2.0] * channels
    data = own(tmp_path, [path], [NormalizeBands(mean, std, dtype)])
    found = data[0]["img"]
    assert found.shape == (channels, 12, 10) and found.dtype == np.float32
    np.testing.assert_allclose(found, ((image - np.array(mean)) / 2).transpose(2, 0, 1), rtol=1e-5, atol=1e-6)
    assert check_labels(data).warnings[0].startswith("every labelled pixel")
    with pytest.raises(UserError, match="(?s)images are not what NormalizeBands says.*a b é.*2 channels of uint8"):
        check_labels(own(tmp_path, [path], [NormalizeBands([0, 0], [1, 1])]))


def test_more_than_rgb_is_refused_before_training(tmp_path: Path) -> None:
    """Of PaddleSeg's own data sets as well, which cut it without a word."""
    from paddleseg.datasets import Dataset

    Image.fromarray(RNG.integers(0, 65536, (12, 10)).astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(RNG.integers(0, 255, (12, 10, 4)).astype(np.uint8)).save(tmp_path / "clear.png")
    Image.fromarray(RNG.integers(0, 255, (12, 10, 3)).astype(np.uint8)).save(tmp_path / "plain.png")
    data = own(tmp_path, [tmp_path / f"{name}.png" for name in ("deep", "clear", "plain")], [])
    (tmp_path / "val.txt").write_text("deep.png label.png\nclear.png label.png\nplain.png label.png\n")
    other = Dataset("val", str(tmp_path), [], 2, val_path=str(tmp_path / "val.txt"))
    for dataset in (data, other):
        with pytest.raises(UserError) as caught:
            check_labels(dataset)
        said = str(caught.value)
        assert "2 images hold more than 8-bit RGB" in said and "plain.png" not in said
        assert "deep.png: 16-bit values" in said and "clear.png: an alpha channel" in said


def test_an_image_that_exif_turns_is_told_of(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (10, 12)).save(tmp_path / "turned.jpg", exif=exif)
    upright = own(tmp_path, [tmp_path / "turned.jpg"], [], size=(10, 12))
    assert upright[0]["img"].shape == (3, 10, 12)
    assert any("1 images are turned as their EXIF orientation says" in said for said in check_labels(upright).warnings)
    with pytest.raises(UserError, match="turned as its EXIF orientation says: turn the label as well"):
        check_labels(own(tmp_path, [tmp_path / "turned.jpg"], [], size=(12, 10)))


@pytest.mark.parametrize("name", ["RandomPaddingCrop", "Padding", "RandomRotation", "RandomAffine", "ScalePadding"])
def test_paddleseg_fills_the_border_of_any_number_of_bands(name: str) -> None:
    from paddleseg import transforms

    sizes = {"RandomPaddingCrop": {"crop_size": (40, 40)}, "RandomAffine": {"size": (160, 160)}}
    options = sizes.get(name, {} if name == "RandomRotation" else {"target_size": (40, 40)})
    np.random.seed(1)  # angles and scales are drawn by numpy
    random.seed(1)  # or by Python
    image = RNG.random((24, 20, 6)).astype(np.float32) + 5
    data = {"img": image.copy(), "label": np.zeros((24, 20), np.uint8), "gt_fields": ["label"], "trans_info": []}
    padded = getattr(transforms, name)(im_padding_value=0, **options)(data)["img"]
    assert padded.shape[2] == 6 and (padded == 0).any()
    if name in ("RandomPaddingCrop", "Padding"):
        np.testing.assert_array_equal(padded[:24, :20], image)


def test_in_channels_follow_from_the_data(tmp_path: Path) -> None:
    paths = fields(tmp_path / "data", 2)
    labels_ = sorted((tmp_path / "data/masks").iterdir())
    (tmp_path / "list.txt").write_text(write_list(tmp_path / "list.txt", list(zip(paths, labels_))), "utf-8")
    section = {
        "type": "OwnData",
        "list_path": str(tmp_path / "list.txt"),
        "transforms": [band_statistics(paths).transform()],
    }
    content = {
        "classes": ["a", "b", "c"],
        "batch_size": 1,
        "iters": 1,
        "model": {"type": "DDRSeg", "backbone": {"type": "DDRNet", "variant": "23_slim"}},
        "train_dataset": {**section, "mode": "train"},
        "val_dataset": {**section, "mode": "val"},
        "optimizer": {"type": "SGD"},
        "lr_scheduler": {"type": "PolynomialDecay", "learning_rate": 0.01},
        "loss": {"types": [{"type": "CrossEntropyLoss"}], "coef": [1, 0.4]},
    }
    file = tmp_path / "c.yml"
    file.write_text(yaml.safe_dump(content))
    config = config_file.load(file)
    assert config_file.in_channels(config) == 5
    assert config_file.builder(config).model.backbone.stem.conv1.conv.weight.shape[1] == 5


def test_lists_of_pairs_name_images_with_spaces(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a b é.png")
    (tmp_path / "list.txt").write_text("a b é.png\tno label.png\n", encoding="utf-8")
    assert [source.path.name for source in image_files.find(tmp_path / "list.txt")] == ["a b é.png"]
