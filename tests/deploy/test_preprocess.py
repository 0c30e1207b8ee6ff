"""Preparing and mapping back, held to PaddleSeg's transforms and to what its inference does, value by value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddleseg import transforms as host
from paddleseg.core import infer

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging.postprocess import best_of, labels_back, planes_back
from hrfamily_deploy.imaging.preprocess import Pipeline, Step
from tests.deploy.conftest import NORMALIZE

CHAINS = {
    "bytes alone": [],
    "normalise": [NORMALIZE],
    "one mean for all": [{"type": "Normalize"}],
    "resize": [{"type": "Resize", "target_size": [80, 48]}, NORMALIZE],
    "resize, other kernel": [{"type": "Resize", "target_size": [30, 44], "interp": "CUBIC"}, NORMALIZE],
    "keep ratio": [{"type": "Resize", "target_size": [90, 70], "keep_ratio": True, "size_divisor": 32}, NORMALIZE],
    "long": [{"type": "ResizeByLong", "long_size": 77}, NORMALIZE],
    "short": [{"type": "ResizeByShort", "short_size": 51}, NORMALIZE],
    "short, limited": [{"type": "ResizeByShort", "short_size": 90, "max_size": 100}, NORMALIZE],
    "limit above": [{"type": "LimitLong", "max_long": 64}, NORMALIZE],
    "limit below": [{"type": "LimitLong", "min_long": 128, "max_long": 256}, NORMALIZE],
    "limit, inside": [{"type": "LimitLong", "max_long": 300, "min_long": 32}, NORMALIZE],
    "pad, then normalise": [{"type": "Padding", "target_size": [96, 99]}, NORMALIZE],
    "normalise, then pad": [NORMALIZE, {"type": "Padding", "target_size": [73, 101], "im_padding_value": 0.5}],
    "aspect": [{"type": "PaddingByAspectRatio", "aspect_ratio": 1.5}, NORMALIZE],
    "long and pad": [
        {"type": "ResizeByLong", "long_size": 60},
        {"type": "Padding", "target_size": [64, 64]},
        {"type": "LimitLong", "max_long": 50},
        NORMALIZE,
    ],
}


def theirs(chain: list[dict], image: np.ndarray, channels: int = 3) -> dict:
    """PaddleSeg's own answer to the same image, which it takes as OpenCV reads it."""
    built = [getattr(host, entry["type"])(**{k: v for k, v in entry.items() if k != "type"}) for entry in chain]
    read = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if channels == 3 else image
    return host.Compose(built, img_channels=channels)({"img": read.astype(np.float32)})


@pytest.mark.parametrize("size", [(60, 70), (70, 49)])
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_planes_are_paddlesegs_to_the_bit(photo: Callable, chain: list[dict], size: tuple[int, int]) -> None:
    image = photo(*size)
    before = image.copy()
    planes, _ = Pipeline(chain, 3, Path("deploy.yaml"))(image)
    np.testing.assert_array_equal(planes, theirs(chain, image)["img"])
    assert planes.dtype == np.float32 and planes.flags.c_contiguous and (image == before).all()


@pytest.mark.parametrize("chain", [CHAINS["one mean for all"], [{"type": "Resize", "target_size": [31, 40]}]])
def test_grey_planes_too(photo: Callable, chain: list[dict]) -> None:
    image = photo(33, 40)[..., 0]
    planes, _ = Pipeline(chain, 1, Path("deploy.yaml"))(image)
    np.testing.assert_array_equal(planes, theirs(chain, image, channels=1)["img"])


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_the_way_back_is_paddlesegs(photo: Callable, chain: list[dict]) -> None:
    image = photo(60, 70)
    planes, steps = Pipeline(chain, 3, Path("deploy.yaml"))(image)
    info = theirs(chain, image)["trans_info"]
    random = np.random.default_rng(1)
    logits = random.standard_normal((5, *planes.shape[1:]), dtype=np.float32)
    label = random.integers(0, 5, planes.shape[1:]).astype(np.int32)

    expected = infer.reverse_transform(paddle.to_tensor(logits[None]), info, mode="bilinear").numpy()[0]
    ours = np.stack(list(planes_back(logits, steps)))
    np.testing.assert_allclose(ours, expected, atol=1e-4)  # both find positions in float32
    best = best_of(planes_back(logits, steps))
    np.testing.assert_array_equal(best, ours.argmax(axis=0))
    assert best.shape == image.shape[:2]

    nearest = infer.reverse_transform(paddle.to_tensor(label[None, None]), info, mode="nearest").numpy()[0, 0]
    np.testing.assert_array_equal(labels_back(label, steps), nearest)


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(1, 130)] * 4))
def test_any_size_goes_back_to_the_nearest_label(sizes: tuple[int, int, int, int]) -> None:
    height, width, target_height, target_width = sizes
    label = np.arange(height * width, dtype=np.int32).reshape(height, width)
    info = [("resize", (target_height, target_width))]
    expected = infer.reverse_transform(paddle.to_tensor(label[None, None]), info).numpy()[0, 0]
    np.testing.assert_array_equal(labels_back(label, [Step("resize", target_height, target_width)]), expected)


def test_of_equal_planes_the_first_is_best() -> None:
    planes = np.array([[[1, 2, 3]], [[1, 5, 3]], [[0, 5, 4]]], np.float32)
    assert best_of(iter(planes)).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"type": "RandomHorizontalFlip"}, ["RandomHorizontalFlip", "val_dataset"]),
        ({"type": "Resize", "target_size": 512}, ["Resize", "[width, height]", "512"]),
        ({"type": "Resize", "target_size": [5, 5], "interp": "RANDOM"}, ["interp", "RANDOM"]),
        ({"type": "Resize", "size": [5, 5]}, ["Resize", "unexpected keyword argument 'size'"]),
        ({"type": "ResizeByLong"}, ["ResizeByLong", "long_size"]),
        ({"type": "ResizeByShort", "short_size": [1, 2]}, ["short_size", "[1, 2]"]),
        ({"type": "LimitLong", "max_long": 5, "min_long": 9}, ["min_long 9", "max_long 5"]),
        ({"type": "Normalize", "mean": [0.5, 0.5]}, ["mean", "1 or 3"]),
        ({"type": "Normalize", "std": [0.5, 0, 1]}, ["std", "zero"]),
        ({"type": "PaddingByAspectRatio", "aspect_ratio": 0}, ["aspect_ratio", "0"]),
    ],
)
def test_a_transform_that_cannot_be_is_named_with_its_file(entry: dict, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        Pipeline([entry], 3, Path("folder/deploy.yaml"))
    assert all(word in str(error.value) for word in ["folder/deploy.yaml", *words])


def test_an_image_too_large_to_be_padded(photo: Callable) -> None:
    pipeline = Pipeline([{"type": "Padding", "target_size": [40, 40]}], 3, Path("deploy.yaml"))
    with pytest.raises(UserError, match="Padding.*50x30 is greater than 40x40"):
        pipeline(photo(30, 50))
