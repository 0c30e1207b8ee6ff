"""Training pipelines beside the authors', which stand here in numpy and OpenCV, fed the same image and choices."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from paddleseg.transforms import Compose, RandomPaddingCrop
from scipy import ndimage

from paddle_hrfamily.data import AsUint8, RandomBrightness, RandomScaleLongSide, RandomSliceRotation, ResizeShortSide
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.integration import config_file, config_sources, registration

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
IGNORED = 255
LEFT_AND_RIGHT = {14: 15, 15: 14, 16: 17, 17: 16, 18: 19, 19: 18}


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    registration.register()


def sample(height: int, width: int, classes: int = 19) -> tuple[np.ndarray, np.ndarray]:
    """A BGR image and its label, both with structure as well as noise."""
    drawn = np.random.default_rng(height)
    y, x = np.mgrid[:height, :width]
    waves = 120 + 90 * np.sin(x[..., None] / np.array([17, 23, 31])) * np.cos(y[..., None] / np.array([29, 13, 19]))
    image = np.clip(waves + drawn.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)
    label = ((x // 13 + y // 11) % classes).astype(np.uint8)
    label[drawn.random(label.shape) < 0.02] = IGNORED
    return image, label


# The official pipelines. Choices: scale, where a crop begins as a part of what there is, flip, brightness.


def scaled(image: np.ndarray, label: np.ndarray, length: int, longer: bool) -> tuple[np.ndarray, np.ndarray]:
    """With the long (or short) side of a length, halves rounded up."""
    height, width = label.shape
    first = (height > width) if longer else not (height < width)  # whether the height is the side that is set
    if not longer:
        first = height < width
    size = (int(width * length / height + 0.5), length) if first else (length, int(height * length / width + 0.5))
    return (
        cv2.resize(image, size, interpolation=cv2.INTER_LINEAR),
        cv2.resize(label, size, interpolation=cv2.INTER_NEAREST),
    )


def cropped(
    image: np.ndarray, label: np.ndarray, crop: tuple[int, int], corner: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Padded at the bottom and the right with black and 255, then cut; crop is height, width."""
    height, width = label.shape
    canvas = np.zeros((max(height, crop[0]), max(width, crop[1]), 3), np.uint8)
    blank = np.full(canvas.shape[:2], IGNORED, np.uint8)
    canvas[:height, :width], blank[:height, :width] = image, label
    top, left = (round(part * (have - want)) for part, have, want in zip(corner, canvas.shape, crop))
    window = slice(top, top + crop[0]), slice(left, left + crop[1])
    return canvas[window], blank[window]


def official(
    image: np.ndarray,
    label: np.ndarray,
    *,
    base: int,
    crop: tuple[int, int],
    scale: float,
    corner: tuple[float, float],
    flip: bool,
    short: int | None = None,
    squash: int | None = None,
    shift: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """(3, H, W) float32 and (H, W) as the official code of HRNet hands them to the network."""
    if squash:
        if flip:
            image, label = (
                image[:, ::-1],
                np.vectorize(lambda c: LEFT_AND_RIGHT.get(c, c))(label[:, ::-1]).astype("uint8"),
            )
            flip = False
        image = cv2.resize(image, (squash, squash), interpolation=cv2.INTER_LINEAR)
        label = cv2.resize(label, (squash, squash), interpolation=cv2.INTER_NEAREST)
    if short:
        image, label = scaled(image, label, short, longer=False)
    image, label = scaled(image, label, int(base * scale + 0.5), longer=True)
    image, label = cropped(image, label, crop, corner)
    image = np.clip(image.astype("float32") + shift, 0, 255)
    tensor = ((image[:, :, ::-1] / 255 - MEAN) / STD).transpose(2, 0, 1)
    return (tensor[:, :, ::-1], label[:, ::-1]) if flip else (tensor, label)


def draw(monkeypatch: pytest.MonkeyPatch, scale: float, corner: Sequence[float], flip: bool, shift: int | None) -> None:
    """Make PaddleSeg's and our transforms choose so."""
    corners = iter(corner)
    monkeypatch.setattr(RandomScaleLongSide, "scale", lambda self: scale)
    monkeypatch.setattr(np.random, "randint", lambda low, high: low + round(next(corners) * (high - 1 - low)))
    monkeypatch.setattr(random, "randint", lambda low, high: shift)
    monkeypatch.setattr(
        random, "random", iter(([0.0 if shift else 1.0] if shift is not None else []) + [0.0 if flip else 1.0]).__next__
    )


# Config, the official settings, sizes of an image: beside a common one, such that halves have to be rounded.
PIPELINES: dict[str, tuple[str, dict[str, Any], tuple[int, int]]] = {
    "HRNet, Cityscapes": ("hrnet_w48_cityscapes", {"base": 2048, "crop": (512, 1024)}, (1024, 2048)),
    "DDRNet, Cityscapes": ("ddrnet_23_slim_cityscapes", {"base": 2048, "crop": (1024, 1024)}, (1024, 2048)),
    "HRNet, ADE20K": ("hrnet_w48_ade20k", {"base": 520, "crop": (520, 520), "short": 520}, (400, 505)),
    "OCR, ADE20K": ("hrnet_w48_ocr_ade20k", {"base": 520, "crop": (520, 520), "short": 520}, (683, 512)),
    "OCR, COCO-Stuff": ("hrnet_w48_ocr_coco_stuff", {"base": 520, "crop": (520, 520), "short": 520}, (480, 640)),
    "HRNet, PASCAL-Context": ("hrnet_w48_pascal_context", {"base": 520, "crop": (480, 480), "short": 520}, (375, 500)),
    "OCR, PASCAL-Context": (
        "hrnet_w48_ocr_pascal_context",
        {"base": 520, "crop": (520, 520), "short": 520},
        (500, 333),
    ),
    "OCR, LIP": ("hrnet_w48_ocr_lip", {"base": 473, "crop": (473, 473), "squash": 473}, (331, 147)),
    "S&F, ADE20K": ("hrnet_w48_specialize_fuse_ade20k", {"base": 520, "crop": (512, 512), "short": 520}, (400, 505)),
}
CHOICES = [
    (0.5, (0.0, 0.0), False, 0),
    (0.8, (0.6, 0.3), True, -10),
    (1.5, (1.0, 0.2), False, 7),
    (1.0, (0.5, 1.0), True, 3),
]


@pytest.mark.parametrize("choice", CHOICES, ids=[f"scale {choice[0]}" for choice in CHOICES])
@pytest.mark.parametrize("name", PIPELINES)
def test_the_tensor_is_the_official_one(name: str, choice: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    config, settings, size = PIPELINES[name]
    scale, corner, flip, shift = choice
    bright = name.startswith("S&F")
    image, label = sample(*size)
    section = config_file.load(f"{config}.yml")
    builder = config_file.builder(section)
    steps = [builder.build_component(item) for item in section.dic["train_dataset"]["transforms"]]
    draw(monkeypatch, scale, corner, flip, shift if bright else None)
    data = Compose(steps)({"img": image.astype("float32"), "label": label, "gt_fields": ["label"]})
    options = {"scale": scale, "corner": corner, "flip": flip, "shift": shift if bright else 0}
    tensor, expected = official(image, label, **settings, **options)
    assert np.abs(data["img"] - tensor).max() < 1e-5
    assert np.array_equal(data["label"], expected)


@pytest.mark.parametrize(
    ("config", "greatest"),
    [
        ("hrnet_w48_cityscapes", 2.1),
        ("hrnet_w48_ocr_ade20k", 2.1),
        ("uhrnet_w48_ocr_ade20k", 2.1),
        ("hrnet_w48_ade20k", 1.6),
        ("hrnet_w48_ocr_coco_stuff", 2.1),
        ("hrnet_w48_ocr_pascal_context", 2.1),
        ("hrnet_w48_lip", 1.6),
        ("ddrnet_39_cityscapes", 2.0),
    ],
)
def test_scales_are_those_of_the_official_code(config: str, greatest: float) -> None:
    items = config_file.load(f"{config}.yml").dic["train_dataset"]["transforms"]
    transform = RandomScaleLongSide(
        **{k: v for i in items if i["type"] == "RandomScaleLongSide" for k, v in i.items() if k != "type"}
    )
    drawn = {round(transform.scale(), 6) for _ in range(2000)}
    assert drawn == {round(0.5 + step / 10, 6) for step in range(round((greatest - 0.5) * 10) + 1)}


def test_a_step_of_nothing_draws_evenly() -> None:
    scales = [RandomScaleLongSide(520, 0.5, 2.0, 0).scale() for _ in range(2000)]
    assert 0.5 <= min(scales) < 0.51 < 1.99 < max(scales) <= 2.0 and np.mean(scales) == pytest.approx(1.25, abs=0.05)


def test_brightness_is_added_to_half_of_the_images() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    found = [RandomBrightness(10)({"img": image})["img"] for _ in range(2000)]
    shifts = np.array([int(result[0, 0, 0]) - 100 for result in found])
    assert all((result == result[0, 0, 0]).all() and result.dtype == np.uint8 for result in found)
    assert set(shifts) == set(range(-10, 11)) and np.mean(shifts == 0) == pytest.approx(0.5 + 0.5 / 21, abs=0.04)
    assert RandomBrightness(10, prob=1)({"img": np.full((2, 2, 3), 255, np.uint8)})["img"].max() <= 255


class Drawn:
    """What `random` hands TransUNet's augmentation, in turn."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = iter(numbers)

    def random(self) -> float:
        return next(self.numbers)

    def randrange(self, *bounds: int) -> int:
        return int(next(self.numbers))


SLICE_CHOICES: dict[str, tuple[tuple[float, ...], Callable[[np.ndarray], np.ndarray]]] = {
    "kept": ((0.3, 0.3), lambda array: array),
    **{
        f"{turns} turns, axis {axis}": (
            (0.7, turns, axis),
            lambda array, t=turns, a=axis: np.flip(np.rot90(array, t), a),
        )
        for turns in range(4)
        for axis in range(2)
    },
    **{
        f"{angle} degrees": (
            (0.3, 0.7, angle),
            lambda array, g=angle: ndimage.rotate(array, g, order=0, reshape=False, axes=(1, 0)),
        )
        for angle in (-20, 5, 19)
    },
}


@pytest.mark.parametrize("name", SLICE_CHOICES)
def test_slices_are_turned_as_in_transunet(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, expected = SLICE_CHOICES[name]
    image, label = sample(40, 40, 9)
    monkeypatch.setattr("paddle_hrfamily.data.slice_transforms.random", Drawn(*numbers))
    data = RandomSliceRotation()({"img": image.astype("float32"), "label": label, "gt_fields": ["label"]})
    assert np.array_equal(data["label"], expected(label))
    assert all(np.array_equal(data["img"][..., c], expected(image[..., c].astype("float32"))) for c in range(3))


def test_shares_of_turned_rotated_and_kept_slices() -> None:
    """A half, a quarter, a quarter; and the canvas never grows."""
    label = np.arange(31 * 31, dtype=np.int64).reshape(31, 31)
    square = {tuple(np.flip(np.rot90(label, t), a).ravel()) for t in range(4) for a in range(2)}
    kinds = {"turned": 0, "kept": 0, "rotated": 0}
    transform = RandomSliceRotation()
    for _ in range(1000):
        data = transform({"img": label.astype("float32"), "label": label, "gt_fields": ["label"]})
        assert data["img"].shape == data["label"].shape == (31, 31)
        values = tuple(data["label"].ravel())
        kinds["kept" if values == tuple(label.ravel()) else "turned" if values in square else "rotated"] += 1
    assert kinds["turned"] == pytest.approx(500, abs=70) and kinds["rotated"] == pytest.approx(244, abs=60)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResizeShortSide(0), "ResizeShortSide: size is 0; give a whole number of 1 or more"),
        (lambda: RandomScaleLongSide(520, 2.0, 0.5), r"RandomScaleLongSide: min_scale 2\.0, max_scale 0\.5"),
        (lambda: RandomBrightness(0.04), "RandomBrightness: shift is 0.04; give a whole number"),
        (lambda: RandomSliceRotation(0), "RandomSliceRotation: max_angle is 0; give whole degrees"),
        (lambda: AsUint8()({"img": np.full((2, 2, 3), 300.0)}), "AsUint8: the image has values of 300 to 300"),
    ],
)
def test_what_cannot_be_is_said(make: Callable, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_crops_of_the_official_code_are_padded_with_black() -> None:
    """On every config that follows it; PaddleSeg's default of 127.5 stays with U-HRNet and SPGNet."""
    for path in sorted(config_sources.CONFIG_FOLDERS[-1].glob("*.yml")):
        section = config_file.load(path).dic
        for item in section["train_dataset"]["transforms"]:
            if item["type"] == RandomPaddingCrop.__name__:
                theirs = any(other["type"] == "RandomScaleLongSide" for other in section["train_dataset"]["transforms"])
                assert item.get("im_padding_value", 127.5) == (0 if theirs else 127.5), path.name
