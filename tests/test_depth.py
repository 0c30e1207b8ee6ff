"""Depth: the network, its loss, the paired zoom, the six measures, and the way through PaddleSeg's trainer."""

from __future__ import annotations

import json
import random
from pathlib import Path

import cv2
import numpy as np
import paddle
import paddleseg.core
import pytest
import yaml
from paddleseg.transforms import Normalize, RandomHorizontalFlip

from paddle_hrfamily.__main__ import main
from paddle_hrfamily.backbones import HRNet, UHRNet
from paddle_hrfamily.complexity import trainable_parameters
from paddle_hrfamily.data import NYUv2Depth
from paddle_hrfamily.data.label_checks import check_labels
from paddle_hrfamily.data.transforms import RandomDepthZoom
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.evaluation import depth as depth_evaluation
from paddle_hrfamily.inference.depth_maps import colored
from paddle_hrfamily.integration import config_file, registration
from paddle_hrfamily.losses.depth import DepthLoss
from paddle_hrfamily.models import HRDepth, HRNetSeg
from tests import tiny

BACKBONES = {"HRNet": lambda: HRNet("W18_Small_V1"), "UHRNet": lambda: UHRNet("W18_Small")}


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    registration.register()


# The network and its loss


@pytest.mark.parametrize("backbone", BACKBONES)
def test_it_is_the_segmentation_network_with_one_plane(backbone: str) -> None:
    model = HRDepth(BACKBONES[backbone]())
    assert trainable_parameters(model) == trainable_parameters(HRNetSeg(BACKBONES[backbone](), num_classes=1))
    model.eval()
    with paddle.no_grad():
        (depth,) = model(paddle.randn([2, 3, 65, 97]))
    assert depth.shape == [2, 1, 65, 97]


@pytest.mark.parametrize("kind", ["l1", "l2", "berhu"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_parameter_has_a_finite_gradient(backbone: str, kind: str) -> None:
    model = HRDepth(BACKBONES[backbone]())
    model.train()
    data = {"label": paddle.rand([2, 64, 96]) * 5}
    losses = {"types": [DepthLoss(kind)], "coef": [0.5]}
    (loss,) = model.loss_computation(model(paddle.randn([2, 3, 64, 96])), losses, data)
    loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.trainable:
            assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
            if not name.endswith("conv.bias"):  # which a batch norm takes out again
                assert bool((parameter.grad != 0).any()), name


def test_depth_is_one_plane_and_has_one_loss() -> None:
    with pytest.raises(UserError, match="num_classes is 19"):
        HRDepth(HRNet("W18_Small_V1"), 19)
    with pytest.raises(UserError, match="loss has 2 types"):
        HRDepth(HRNet("W18_Small_V1")).loss_computation([], {"types": [1, 2], "coef": [1, 1]}, {})


DEPTH = paddle.to_tensor([[[1.0, 2.0, 0.0], [4.0, 255.0, 10.0]]])  # 0 and 255 were not measured
PREDICTED = paddle.to_tensor([[[[1.5, 1.0, 9.0], [4.0, 9.0, 15.0]]]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("l1", (0.5 + 1 + 0 + 5) / 4),
        ("l2", (0.25 + 1 + 0 + 25) / 4),
        ("berhu", (0.5 + 1 + 0 + (25 + 1) / 2) / 4),  # a fifth of the largest error is 1
    ],
)
def test_the_loss_is_the_mean_over_what_was_measured(kind: str, expected: float) -> None:
    assert float(DepthLoss(kind)(PREDICTED, DEPTH)) == pytest.approx(expected, rel=1e-6)
    assert float(DepthLoss(kind)(PREDICTED, DEPTH.unsqueeze(1))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["l1", "l2", "berhu"])
def test_a_batch_without_a_measured_pixel_teaches_nothing(kind: str) -> None:
    predicted = paddle.to_tensor(PREDICTED.numpy(), stop_gradient=False)
    loss = DepthLoss(kind)(predicted, paddle.zeros([1, 2, 3]))
    loss.backward()
    assert float(loss) == 0 and not predicted.grad.numpy().any()


def test_the_loss_refuses_what_it_cannot_do() -> None:
    with pytest.raises(UserError, match="no kind of DepthLoss 'huber'"):
        DepthLoss("huber")
    with pytest.raises(UserError, match="must be HRDepth"):  # PaddleSeg's own way casts labels to int64
        DepthLoss()(PREDICTED, DEPTH.astype("int64"))


# The zoom


def zoomed(scale: float, size: tuple[int, int] = (41, 61)) -> tuple[np.ndarray, np.ndarray]:
    """Image and depth after the zoom; both hold a bright point 8 right and 4 below the centre."""
    height, width = size
    image, depth = np.zeros((height, width, 3), np.float32), np.full(size, 3, np.float32)
    image[height // 2 + 4, width // 2 + 8] = 255
    depth[height // 2 + 4, width // 2 + 8] = 6
    data = RandomDepthZoom([scale])({"img": image, "label": depth, "gt_fields": ["label"]})
    return data["img"], data["label"]


@pytest.mark.parametrize("scale", [1, 1.25, 1.5, 2])
def test_zoom_moves_both_and_divides_depth(scale: float) -> None:
    image, depth = zoomed(scale)
    assert image.shape == (41, 61, 3) and depth.shape == (41, 61) and depth.dtype == np.float32
    brightest = np.unravel_index(image[..., 0].argmax(), depth.shape)
    assert np.abs(np.subtract(brightest, (20 + 4 * scale, 30 + 8 * scale))).max() <= 0.5
    assert depth[brightest] == pytest.approx(6 / scale)
    assert set(np.unique(depth.round(4))) == {np.float32(3 / scale).round(4), np.float32(6 / scale).round(4)}


def test_zoom_draws_each_ratio() -> None:
    random.seed(0)
    zoom, seen = RandomDepthZoom(), set()
    for _ in range(60):
        data = zoom(
            {"img": np.zeros((8, 8, 3), np.float32), "label": np.ones((8, 8), np.float32), "gt_fields": ["label"]}
        )
        seen.add(round(float(1 / data["label"][4, 4]), 3))
    assert seen == {1.0, 1.2, 1.5}


@pytest.mark.parametrize("scales", [[], [0.5], ["1.2"]])
def test_zoom_refuses_ratios_that_leave_a_border(scales: list) -> None:
    with pytest.raises(UserError, match="ratios of 1 or more"):
        RandomDepthZoom(scales)


# The measures


def test_measures_are_the_hand_computed_ones() -> None:
    depth = np.array([1.0, 2.0, 4.0, 8.0])
    predicted = np.array([1.0, 2.4, 2.0, 14.0])  # ratios 1, 1.2, 2, 1.75
    expected = {
        "abs_rel": (0 + 0.2 + 0.5 + 0.75) / 4,
        "log10": (0 + 0.0791812460 + 0.3010299957 + 0.2430380487) / 4,
        "rms": ((0 + 0.16 + 4 + 36) / 4) ** 0.5,
        "delta1": 0.5,  # below 1.25
        "delta2": 0.5,  # below 1.5625
        "delta3": 0.75,  # below 1.953125
    }
    assert tuple(expected) == depth_evaluation.MEASURES
    assert depth_evaluation.measures(predicted, depth) == pytest.approx(list(expected.values()), rel=1e-8)


def test_a_ratio_of_exactly_the_threshold_is_outside() -> None:
    assert depth_evaluation.measures(np.array([1.25]), np.array([1.0]))[3:].tolist() == [0, 1, 1]


def test_eigens_crop() -> None:
    mask = depth_evaluation.eigen_mask(480, 640)
    assert mask[45:471, 41:601].all() and mask.sum() == 426 * 560
    half = depth_evaluation.eigen_mask(240, 320)
    assert abs(half.mean() - mask.mean()) < 0.01 and half.shape == (240, 320)


class Constant(paddle.nn.Layer):
    """Answers the same depth everywhere."""

    def __init__(self, metres: float, planes: int = 1) -> None:
        super().__init__()
        self.metres, self.planes = metres, planes

    def forward(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        return [paddle.full([image.shape[0], self.planes, *image.shape[2:]], self.metres)]


def folder(root: Path, count: int = 4, size: tuple[int, int] = (48, 64)) -> Path:
    """`count` images whose brightness tells the depth, 1 to 5 metres; a corner of each is not measured."""
    rng = np.random.default_rng(0)
    for name in ("rgb", "depth_mm"):
        (root / name).mkdir(parents=True)
    for index in range(count):
        depth = cv2.resize(rng.uniform(1000, 5000, (3, 4)), size[::-1]).astype(np.uint16)
        depth[:4, :4] = 0
        image = np.repeat((depth[..., None] // 20).clip(0, 255), 3, axis=2).astype(np.uint8)
        cv2.imwrite(str(root / "rgb" / f"{index}.png"), image)
        cv2.imwrite(str(root / "depth_mm" / f"{index}.png"), depth)
    return root


def test_evaluation_is_over_pixels_and_over_images_within_the_crop(tmp_path: Path) -> None:
    data = NYUv2Depth("val", [Normalize()], str(folder(tmp_path)))
    expected, every = [], []
    for index in range(4):
        depth = cv2.imread(str(tmp_path / "depth_mm" / f"{index}.png"), cv2.IMREAD_UNCHANGED) / 1000
        depth = depth[round(4.5) : round(47.1), round(4.1) : round(60.1)]
        every.append(depth[depth > 0])
        expected.append(depth_evaluation.measures(np.full_like(every[-1], 2.0), every[-1]))
    scores = paddleseg.core.evaluate(Constant(2.0), data, print_detail=False)
    assert scores.report.rows == pytest.approx(np.array(expected), rel=1e-5)
    report, pixels = scores.report, np.concatenate(every)
    assert list(report.per_image().values()) == pytest.approx(np.mean(expected, axis=0), rel=1e-5)
    pooled = depth_evaluation.measures(np.full_like(pixels, 2.0), pixels)
    assert list(report.pooled().values()) == pytest.approx(pooled, rel=1e-5)
    assert report.pooled()["rms"] > report.per_image()["rms"]
    assert len(scores) == 5 and scores[0] == pytest.approx(1 - pooled[2] / 10) and scores.measure == "1 - rms / 10 m"
    content = json.loads(json.dumps(report.to_json()))
    assert content["images"] == 4 and content["rms"] == report.pooled()["rms"]
    assert content["rms_per_image"] == report.per_image()["rms"]
    for name in ("Eigen's crop", "over all pixels", "mean over images"):
        assert name in report.table()


def test_an_image_counts_by_its_measured_pixels() -> None:
    rows = np.array([[0.1, 0.1, 1.0, 0.9, 1, 1], [0.4, 0.2, 3.0, 0.3, 1, 1], [np.nan] * 6])
    report = depth_evaluation.DepthReport(rows, np.array([300, 100, 0]), 10, True)
    assert report.pooled()["abs_rel"] == pytest.approx((0.1 * 3 + 0.4) / 4)
    assert report.pooled()["rms"] == pytest.approx(((1 * 3 + 9) / 4) ** 0.5)
    assert report.per_image()["rms"] == pytest.approx(2)


def test_predictions_are_cut_to_what_is_measurable(tmp_path: Path) -> None:
    folder(tmp_path)
    data = NYUv2Depth("val", [Normalize()], str(tmp_path), eigen_crop=False)
    near = paddleseg.core.evaluate(Constant(-3.0), data, print_detail=False).report.rows
    assert np.isfinite(near).all() and (near[:, 0] > 0.99).all()
    far = paddleseg.core.evaluate(Constant(1e6), data, print_detail=False).report
    assert far.rows == pytest.approx(paddleseg.core.evaluate(Constant(10.0), data, print_detail=False).report.rows)


def test_images_without_a_measured_pixel_are_left_out_and_said(tmp_path: Path) -> None:
    folder(tmp_path)
    cv2.imwrite(str(tmp_path / "depth_mm" / "0.png"), np.zeros((48, 64), np.uint16))
    data = NYUv2Depth("val", [Normalize()], str(tmp_path))
    report = paddleseg.core.evaluate(Constant(2.0), data, print_detail=False).report
    assert np.isnan(report.rows[0]).all() and np.isfinite(report.pooled()["rms"])
    assert "3 images, 1 without a measured pixel left out" in report.table()
    assert report.to_json()["per_image"][0] is None
    data.max_depth = 0.5
    with pytest.raises(UserError, match=r"none of 4 images has a measured pixel within 0\.5 m"):
        paddleseg.core.evaluate(Constant(2.0), data, print_detail=False)


def test_a_network_of_classes_is_refused(tmp_path: Path) -> None:
    data = NYUv2Depth("val", [Normalize()], str(folder(tmp_path)))
    with pytest.raises(UserError, match="19 outputs a pixel"):
        paddleseg.core.evaluate(Constant(2.0, planes=19), data, print_detail=False)


# The data set


def test_labels_are_metres_and_flip_with_the_image(tmp_path: Path) -> None:
    folder(tmp_path)
    millimetres = cv2.imread(str(tmp_path / "depth_mm" / "2.png"), cv2.IMREAD_UNCHANGED)
    plain = NYUv2Depth("train", [Normalize()], str(tmp_path))[2]
    assert plain["label"].dtype == np.float32 and np.array_equal(
        plain["label"], (millimetres / 1000).astype(np.float32)
    )
    flipped = NYUv2Depth("train", [RandomHorizontalFlip(prob=1), Normalize()], str(tmp_path))[2]
    assert np.array_equal(flipped["label"], plain["label"][:, ::-1])
    assert np.array_equal(flipped["img"], plain["img"][:, :, ::-1])
    assert NYUv2Depth("val", [Normalize()], str(tmp_path))[2]["label"].shape == (1, 48, 64)


def test_lists_of_three_columns_and_from_the_root_are_read(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "train.txt").write_text("/rgb/1.png /depth_mm/1.png 518.8579\n\nrgb/3.png depth_mm/3.png\n")
    (tmp_path / "elsewhere.txt").write_text("rgb/0.png depth_mm/0.png\n")
    train = NYUv2Depth("train", [Normalize()], str(tmp_path))
    assert [Path(image).name for image, _ in train.file_list] == ["1.png", "3.png"]
    val = NYUv2Depth("val", [Normalize()], str(tmp_path), val_path=str(tmp_path / "elsewhere.txt"))
    assert len(val) == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "depth_mm" / "1.png").unlink(), r"no .*depth_mm/1\.png.*cs\.nyu\.edu"),
        (lambda root: [file.unlink() for file in (root / "rgb").iterdir()], r"neither .*train\.txt nor images in"),
        (lambda root: (root / "train.txt").write_text("rgb/1.png\n"), r"train\.txt:1: 'rgb/1\.png' is too short"),
        (lambda root: (root / "train.txt").write_text(""), "has no samples"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, spoil, message: str) -> None:
    spoil(folder(tmp_path))
    with pytest.raises(UserError, match=message):
        check_labels(NYUv2Depth("train", [Normalize()], str(tmp_path)))


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (np.full((48, 64), 7, np.uint8), "no 16-bit grey image of millimetres"),
        (np.full((40, 64), 2000, np.uint16), "is 64x40, its image 64x48"),
        (np.zeros((48, 64), np.uint16), "no pixel of 1 to 10000 millimetres"),
    ],
)
def test_depth_maps_are_looked_at_before_training(tmp_path: Path, depth: np.ndarray, message: str) -> None:
    data = NYUv2Depth("train", [Normalize()], str(folder(tmp_path)))
    assert "4 checked, no errors" in str(check_labels(data))
    cv2.imwrite(str(tmp_path / "depth_mm" / "1.png"), depth)
    with pytest.raises(UserError, match=rf"depth_mm/1\.png: .*{message}"):
        check_labels(data)


def test_real_pairs(shared: Path) -> None:
    data = NYUv2Depth("val", [Normalize()], str(shared / "data" / "nyuv2"))
    assert len(data) == 12 and check_labels(data).checked == 12
    for sample in (data[0], data[11]):
        assert sample["img"].shape == (3, 480, 640) and sample["label"].shape == (1, 480, 640)
        assert 0.5 < sample["label"].min() < sample["label"].max() < 10


# Through PaddleSeg's trainer, as a user would


def config(root: Path) -> Path:
    """A config of the packaged recipe on a folder of small images, five iterations long."""
    data = folder(root / "data")
    content = config_file.load("hrnet_w18_small_v2_nyuv2.yml").dic
    content["model"]["backbone"] = {"type": "HRNet", "variant": "W18_Small_V1"}
    for key in ("train_dataset", "val_dataset"):
        content[key]["dataset_root"] = str(data)
    content |= {"batch_size": 2, "iters": 6}
    content["lr_scheduler"]["learning_rate"] = 0.003
    path = root / "depth.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_train_val_predict_and_export(tmp_path: Path, capsys) -> None:
    def run(command: str, *arguments: object) -> str:
        assert main([command, "--config", str(file), *map(str, arguments)]) == 0
        return capsys.readouterr().out

    file, output = config(tmp_path), tmp_path / "out"
    arguments = ("--do_eval", "--save_interval", 3, "--log_iters", 2, "--seed", 1, "--device", "cpu")
    log = run("train", "--save_dir", output, *arguments)
    losses = [float(loss) for loss in tiny.losses(log).values()]
    assert len(losses) == 3 and losses[-1] < losses[0]
    assert "best validation 1 - rms / 10 m" in log and "| abs_rel |" in log and "mIoU" not in log

    trained = ("--model_path", output / "best_model")
    run("val", *trained, "--device", "cpu", "--json", tmp_path / "scores.json")
    assert set(depth_evaluation.MEASURES) <= set(json.loads((tmp_path / "scores.json").read_text()))

    pictures = ("--image_path", tmp_path / "data" / "rgb", "--save_dir", tmp_path / "seen")
    assert " m, median " in run("predict", *trained, *pictures, "--device", "cpu")
    depth = cv2.imread(str(tmp_path / "seen" / "depth_mm" / "2.png"), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16 and depth.shape == (48, 64)
    assert cv2.imread(str(tmp_path / "seen" / "depth_color" / "2.png")).shape == (48, 64, 3)

    shape = ("--save_dir", tmp_path / "graph", "--input_shape", 1, 3, 64, 64)
    assert "float32 metres" in run("export", *trained, *shape)
    assert yaml.safe_load((tmp_path / "graph" / "deploy.yaml").read_text())["Deploy"]["output_op"] == "none"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("export", "--output_op", "softmax"), "output is metres, without classes"),
        (("predict", "--model_path", "x.pdparams", "--image_path", "x.png"), "x.png does not exist"),
    ],
)
def test_what_depth_cannot_be_asked_for(tmp_path: Path, capsys, arguments: tuple[str, ...], reason: str) -> None:
    command, *rest = arguments
    assert main([command, "--config", str(config(tmp_path)), *rest]) == 2
    assert reason in capsys.readouterr().err


def test_a_video_is_refused_and_bad_images_are_counted(tmp_path: Path, capsys) -> None:
    file = config(tmp_path)
    weights = tmp_path / "model.pdparams"
    paddle.save(HRDepth(HRNet("W18_Small_V1")).state_dict(), str(weights))
    given = ["predict", "--config", str(file), "--model_path", str(weights), "--device", "cpu", "--image_path"]
    video = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    assert main([*given, str(video)]) == 2 and "depth is predicted of images" in capsys.readouterr().err
    (tmp_path / "data" / "rgb" / "0.png").write_bytes(b"no image")
    assert main([*given, str(tmp_path / "data" / "rgb"), "--save_dir", str(tmp_path / "seen")]) == 1
    assert "1 of 4 images were left out" in capsys.readouterr().out


def test_near_is_red_and_far_is_blue() -> None:
    picture = colored(np.array([[1.0, 3.0, 5.0]])).astype(int)
    near, far = picture[0, 0], picture[0, 2]
    assert near[0] > near[2] + 50 and far[2] > far[0]
    assert colored(np.ones((2, 2))).shape == (2, 2, 3)
