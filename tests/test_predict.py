"""`hrfamily predict`, run as a user does, and held against PaddleSeg's own prediction."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
import yaml
from paddleseg import core
from paddleseg.transforms import Compose, Normalize, Resize
from PIL import Image
from scipy.special import softmax
from scipy.stats import entropy

from hrfamily_deploy.imaging import image_files
from hrfamily_deploy.imaging.confidence import MEASURES
from hrfamily_deploy.imaging.video import Video, video_writer
from paddle_hrfamily.__main__ import main
from paddle_hrfamily.commands import predict as command
from paddle_hrfamily.data.classes import ClassTable, class_table, palette
from paddle_hrfamily.data.importing import layouts
from paddle_hrfamily.data.importing.source import Answers
from paddle_hrfamily.data.street_renderer import CLASSES, render_street
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.inference import label_maps
from paddle_hrfamily.inference.options import InferenceOptions
from paddle_hrfamily.integration import config_file, registration

pytestmark = pytest.mark.line

CONFIG = {
    "batch_size": 1,
    "iters": 1,
    "train_dataset": {"type": "StreetScenes", "mode": "train", "transforms": [{"type": "Normalize"}]},
    "val_dataset": {"type": "StreetScenes", "mode": "val", "transforms": [{"type": "Normalize"}]},
    "optimizer": {"type": "SGD"},
    "lr_scheduler": {"type": "PolynomialDecay", "learning_rate": 0.01},
    "loss": {"types": [{"type": "CrossEntropyLoss"}], "coef": [1]},
    "model": {"type": "HRNetSeg", "backbone": {"type": "UHRNet", "variant": "W18_Small"}, "num_classes": 8},
}


@dataclass(frozen=True)
class Trained:
    config: Path
    weights: Path
    model: paddle.nn.Layer


def write_config(path: Path, **changes) -> Path:
    path.write_text(yaml.safe_dump({**CONFIG, **changes}))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    """Not trained, but all classes are about as likely for it, so that images get many."""
    folder = tmp_path_factory.mktemp("model")
    registration.register()
    config = write_config(folder / "config.yml")
    paddle.seed(3)
    model = config_file.builder(config_file.load(config)).model
    _spread_predictions(model)
    paddle.save(model.state_dict(), str(folder / "model.pdparams"))
    return Trained(config, folder / "model.pdparams", model)


def _spread_predictions(model: paddle.nn.Layer) -> None:
    """Statistics of real scenes in the batch norms, and logits whose mean over these is 0 for every class."""
    scenes = np.stack([render_street(np.random.default_rng(seed), (96, 64))[0] for seed in range(4)])
    batch = paddle.to_tensor((scenes.transpose(0, 3, 1, 2) / 127.5 - 1).astype("float32"))
    classify = model.head.classify
    classify.weight.set_value(paddle.randn(classify.weight.shape))
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer._momentum = 0.0
    model.train()
    logits = model(batch)[0]
    classify.bias.set_value(classify.bias - logits.mean((0, 2, 3)))
    model.eval()


@pytest.fixture(scope="module")
def street(tmp_path_factory) -> Path:
    """A folder of images of several formats and sizes, two of one name."""
    folder = tmp_path_factory.mktemp("street")
    (folder / "deep").mkdir()
    for index, (name, size) in enumerate(
        {"a.jpg": (96, 64), "a.png": (64, 96), "deep/b.bmp": (77, 45), "deep/a.jpg": (64, 64)}.items()
    ):
        image_files.write(folder / name, render_street(np.random.default_rng(index), size)[0])
    return folder


def predict(trained: Trained, source: Path, out: Path, *flags: str, config: Path | None = None) -> int:
    paths = ["--config", str(config or trained.config), "--model_path", str(trained.weights)]
    return main(["predict", *paths, "--image_path", str(source), "--save_dir", str(out), "--device", "cpu", *flags])


def written(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def numbers(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_folder(trained, street, tmp_path, capsys):
    assert predict(trained, street, tmp_path) == 0
    stems = ("a", "a.png", "deep/a", "deep/b")
    assert written(tmp_path) == {
        *(f"added_prediction/{name}" for name in ("a.jpg", "a.png", "deep/a.jpg", "deep/b.bmp")),
        *(f"pseudo_color_prediction/{stem}.png" for stem in stems),
        *(f"label/{stem}.png" for stem in stems),
    }
    counts = np.zeros(8)
    for stem in stems:
        label, colored = (Image.open(tmp_path / kind / f"{stem}.png") for kind in ("label", "pseudo_color_prediction"))
        assert (label.mode, colored.mode) == ("L", "P")
        assert np.array_equal(label, colored)
        counts += np.bincount(np.asarray(label).ravel(), minlength=8)
    assert (counts > 0).sum() > 2, "the network tells classes apart"
    out = capsys.readouterr().out
    for name, share in zip(CLASSES, counts / counts.sum()):
        assert (f"{share:.2%}" in out) == (share > 0), name
    for folder in ("added_prediction", "pseudo_color_prediction", "label"):
        assert str(tmp_path / folder) in out


@pytest.mark.parametrize(
    ("flags", "arguments"),
    [
        ((), {}),
        (
            ("--aug_pred", "--scales", "0.75", "1.0", "--flip_horizontal", "--flip_vertical"),
            {"aug_pred": True, "scales": [0.75, 1.0], "flip_horizontal": True, "flip_vertical": True},
        ),
        (
            ("--is_slide", "--crop_size", "48", "32", "--stride", "32", "32"),
            {"is_slide": True, "crop_size": [48, 32], "stride": [32, 32]},
        ),
    ],
    ids=["plain", "augmented", "sliding"],
)
def test_paddleseg_predicts_the_same(trained, street, tmp_path, flags, arguments):
    image = street / "a.png"
    assert predict(trained, image, tmp_path / "ours", *flags) == 0
    theirs = tmp_path / "theirs"
    core.predict(
        trained.model,
        str(trained.weights),
        Compose([Normalize()]),
        [str(image)],
        save_dir=str(theirs),
        **arguments,
    )
    name = "pseudo_color_prediction/a.png"
    assert np.array_equal(numbers(tmp_path / "ours" / name), numbers(theirs / name))
    assert len(np.unique(numbers(theirs / name))) > 1


def test_the_overlay_is_paddlesegs_without_a_legend(trained, street, tmp_path):
    image = street / "a.png"
    colors = [value for color in class_table(CONFIG).colors for value in color]
    predict(trained, image, tmp_path / "ours", "--no_legend")
    core.predict(
        trained.model,
        str(trained.weights),
        Compose([Normalize()]),
        [str(image)],
        save_dir=str(tmp_path / "theirs"),
        custom_color=colors,
    )
    ours, theirs = (cv2.imread(str(tmp_path / who / "added_prediction/a.png")) for who in ("ours", "theirs"))
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert predict(trained, image, tmp_path / "legend") == 0
    assert cv2.imread(str(tmp_path / "legend/added_prediction/a.png")).shape[0] > ours.shape[0]


def test_the_configs_transforms_and_sliding_window_are_used(trained, street, tmp_path):
    config = write_config(
        tmp_path / "c.yml",
        val_dataset={
            "type": "StreetScenes",
            "mode": "val",
            "transforms": [{"type": "Resize", "target_size": [64, 48]}, {"type": "Normalize"}],
        },
        test_config={"aug_eval": True, "is_slide": True, "crop_size": [48, 48], "stride": [16, 16]},
    )
    image = street / "a.jpg"
    assert predict(trained, image, tmp_path / "ours", config=config) == 0
    core.predict(
        trained.model,
        str(trained.weights),
        Compose([Resize((64, 48)), Normalize()]),
        [str(image)],
        save_dir=str(tmp_path / "theirs"),
        is_slide=True,
        crop_size=[48, 48],
        stride=[16, 16],
    )
    name = "pseudo_color_prediction/a.png"
    assert numbers(tmp_path / "ours" / name).shape == (64, 96)
    assert np.array_equal(numbers(tmp_path / "ours" / name), numbers(tmp_path / "theirs" / name))


def test_a_real_street(trained, shared, tmp_path):
    (source, *_) = sorted((shared / "data/camvid/images/test").iterdir())
    assert predict(trained, source, tmp_path, "--opts", "model.num_classes=8") == 0
    assert numbers(tmp_path / f"label/{source.stem}.png").shape == image_files.decode(source).shape[:2]


def test_a_list(trained, street, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{street / 'a.jpg'}\n{street / 'deep/a.jpg'} some/label.png\n")
    assert predict(trained, listed, tmp_path / "out") == 0
    assert len(list((tmp_path / "out/label").rglob("*.png"))) == 2


def test_colours(trained, street, tmp_path):
    flat = [*range(24)]
    predict(trained, street / "a.jpg", tmp_path, "--custom_color", *map(str, flat))
    palette = Image.open(tmp_path / "pseudo_color_prediction/a.png").getpalette()
    assert palette[:24] == flat


def test_a_bad_image_does_not_stop_the_rest(trained, street, tmp_path, capsys):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes((street / "a.jpg").read_bytes())
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    assert predict(trained, tmp_path, tmp_path / "out") == 1
    assert len(written(tmp_path / "out")) == 6
    out = capsys.readouterr().out
    assert "1 of 3 images were left out" in out
    assert "bad.jpg: not an image" in out


def test_half_an_image_is_left_out(trained, street, tmp_path, capsys):
    """OpenCV would fill what is missing with grey."""
    data = (street / "a.jpg").read_bytes()
    (tmp_path / "whole.jpg").write_bytes(data)
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    assert predict(trained, tmp_path, tmp_path / "out") == 1
    assert {Path(name).stem for name in written(tmp_path / "out")} == {"whole"}
    assert "half.jpg: not an image, or a damaged one" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_one_line(trained, street, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert predict(trained, street / "a.jpg", tmp_path / "file") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: none of 1 images could be predicted: ")
    assert "cannot be written (" in error


@pytest.mark.parametrize("measure", MEASURES)
def test_confidence_unsure_pixels_and_polygons(trained, street, tmp_path, capsys, measure):
    with paddle.no_grad():
        image = Compose([Normalize()])({"img": cv2.imread(str(street / "a.jpg")).astype("float32")})["img"]
        logits = trained.model(paddle.to_tensor(image[None]))[0].numpy()[0]
    probabilities = softmax(logits / 2, axis=0)
    spread = entropy(probabilities, axis=0) / np.log(8)
    values = {"max_probability": probabilities.max(axis=0), "entropy": spread}[measure]
    threshold = float(np.median(values))
    unsure = values < threshold if measure == "max_probability" else values > threshold

    flags = ["--confidence", "--measure", measure, "--unsure", str(threshold), "--temperature", "2"]
    flags += ["--polygons", "labelme", "--opacity", "1", "--no_legend"]
    assert predict(trained, street / "a.jpg", tmp_path / "out", *flags) == 0
    assert predict(trained, street / "a.jpg", tmp_path / "plain") == 0
    grey = cv2.imread(str(tmp_path / "out/confidence/a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(grey / 65535, values, atol=2e-3)
    expected = np.where(unsure, 255, numbers(tmp_path / "plain/label/a.png"))
    label = numbers(tmp_path / "out/label/a.png")
    assert (label == expected).mean() > 0.99
    drawn = image_files.decode(tmp_path / "out/added_prediction/a.jpg")
    assert (drawn[label == 255] > 200).mean() > 0.8  # white, but for JPEG
    assert "unsure" in capsys.readouterr().out
    shutil.copy(street / "a.jpg", tmp_path / "out/polygons")
    names = class_table(CONFIG).names
    [item] = layouts.find(tmp_path / "out" / "polygons", Answers(classes=names)).items
    np.testing.assert_array_equal(item.label.draw(*label.shape), label)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--unsure", "2"], "--unsure 2.0 must be a number of 0 to 1"),
        (["--temperature", "0"], "--temperature 0.0 must be a number above 0"),
        (["--polygons", "coco", "--min_area", "-1"], "min-area -1 must be"),
        (["--server", "cityscapes", "--confidence"], "writes nothing but its own"),
    ],
)
def test_answers_that_cannot_be_given(trained, street, tmp_path, capsys, flags, message):
    assert predict(trained, street / "a.jpg", tmp_path / "out", *flags) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_none_but_bad_images(trained, tmp_path, capsys):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    assert predict(trained, tmp_path, tmp_path / "out") == 2
    assert "none of 1 images could be predicted" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_more_classes_than_a_byte_can_number(tmp_path):
    """Their labels and colours are then of 16 and 24 bits."""
    table = ClassTable(tuple(f"class {i}" for i in range(300)), palette(300))
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    style = label_maps.OverlayStyle(table, legend=False)

    def predict(image: np.ndarray) -> tuple[np.ndarray, None]:
        return np.full(image.shape[:2], 299), None

    assert label_maps.predict_images(image_files.find(tmp_path / "a.png"), predict, style, tmp_path / "out") == 0
    label = cv2.imread(str(tmp_path / "out/label/a.png"), cv2.IMREAD_UNCHANGED)
    assert label.dtype == np.uint16 and (label == 299).all()
    colors = image_files.decode(tmp_path / "out/pseudo_color_prediction/a.png")
    assert (colors == table.colors[299]).all()


def test_a_video(trained, tmp_path, capsys):
    frames = [render_street(np.random.default_rng(0), (65, 49))[0]] * 3
    with video_writer(tmp_path / "drive.mp4", 12) as writer:
        for frame in frames:
            writer.add(frame)
    assert predict(trained, tmp_path / "drive.mp4", tmp_path / "out") == 0
    assert written(tmp_path / "out") == {"added_prediction/drive.mp4"}
    video = Video(tmp_path / "out/added_prediction/drive.mp4")
    shapes = {frame.shape for frame in video}
    assert (video.fps, video.length, len(shapes)) == (12, 3, 1)
    assert "has 3 frames at 12 a second" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--opacity", "1.5"), "--opacity 1.5"),
        (("--custom_color", "1", "2"), "custom_color"),
        (("--is_slide",), "--crop_size WIDTH HEIGHT"),
        (("--is_slide", "--crop_size", "32", "32", "--stride", "64", "32"), "is greater than crop_size"),
        (("--aug_pred", "--scales", "0"), "scales"),
        (("--opts", "model.num_classes=9"), "9"),
        (("--model_path", "nowhere.pdparams"), "nowhere.pdparams"),
        (("--image_path", "nowhere.jpg"), "nowhere.jpg does not exist"),
        (("--image_path", "nowhere.mp4"), "nowhere.mp4 does not exist"),
        (("--config", "nowhere.yml"), "nowhere.yml"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(trained, street, tmp_path, capsys, flags, message):
    assert predict(trained, street / "a.jpg", tmp_path / "out", *flags) == 2
    error = capsys.readouterr().err
    assert "error: " in error
    assert message in error
    assert not (tmp_path / "out").exists()


def test_without_weights(trained, street, tmp_path, capsys):
    arguments = ["predict", "--config", str(trained.config), "--image_path", str(street), "--save_dir", str(tmp_path)]
    assert main(arguments) == 2
    assert "--model_path is missing" in capsys.readouterr().err


def test_every_flag_of_paddleseg_is_known():
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    line = (
        "--config c --model_path m --image_path i --save_dir s --device cpu --aug_pred --scales 0.5 1 "
        "--flip_horizontal --flip_vertical --is_slide --crop_size 2 3 --stride 1 2 --custom_color 1 2 3"
    )
    given = parser.parse_args(line.split())
    assert (given.scales, given.crop_size, given.stride, given.custom_color) == ([0.5, 1.0], [2, 3], [1, 2], [1, 2, 3])
    assert parser.parse_args([]).save_dir == "./output/result"
    assert parser.parse_args([]).device == "gpu"


def test_options_without_sense():
    assert InferenceOptions.read({"scales": 1, "unknown": 5}) == InferenceOptions()
    for scales in ([], ["1"], [-1.0]):
        with pytest.raises(UserError, match="scales"):
            InferenceOptions.read({"scales": scales})
