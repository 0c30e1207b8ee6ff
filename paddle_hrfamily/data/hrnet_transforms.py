"""The steps of the official HRNet training code that PaddleSeg's transforms do differently.

The reference is lib/datasets/base_dataset.py of the official repository (branch HRNet-OCR). Three things differ: it
works on 8-bit images until they are normalised, so that every resize rounds to whole values; it scales so that the long
side becomes a multiple of a base size, and rounds halves up; and it changes brightness by adding a whole number.
"""

from __future__ import annotations

import random

import cv2
import numpy as np

from paddle_hrfamily import registry
from paddle_hrfamily.data.paired_dataset import Sample
from paddle_hrfamily.errors import UserError


@registry.transform
class AsUint8:
    """Make the image 8-bit, as it lies in its file: PaddleSeg reads float32, whose resizing keeps fractions.

    Raises:
        UserError: in use, values that 8 bits do not hold.
    """

    def __call__(self, data: Sample) -> Sample:
        image = data["img"].astype(np.uint8)
        if not np.array_equal(image, data["img"]):
            raise UserError(
                f"AsUint8: the image has values of {data['img'].min():g} to {data['img'].max():g}, not whole ones of 0 "
                "to 255; put this transform first, and leave it out for images of more than 8 bits"
            )
        data["img"] = image
        return data


@registry.transform
class ResizeShortSide:
    """Resize image and label, keeping their shape, so that the short side has a given length.

    Args:
        size: pixels.

    Raises:
        UserError: a size below 1.
    """

    def __init__(self, size: int) -> None:
        self.size = _positive("ResizeShortSide: size", size)

    def __call__(self, data: Sample) -> Sample:
        return _resized(data, self.size, min(data["img"].shape[:2]))


@registry.transform
class RandomScaleLongSide:
    """Resize image and label, keeping their shape, so that the long side has a given length times a random scale.

    Args:
        size: pixels at scale 1; the official code's BASE_SIZE.
        min_scale, max_scale: the least and the greatest scale. Its SCALE_FACTOR of 16 is 0.5 to 2.1, 11 is 0.5 to 1.6.
        step: between two scales that may be drawn; 0 draws any between the least and the greatest.

    Raises:
        UserError: sizes, scales or a step that leave nothing to draw.
    """

    def __init__(self, size: int, min_scale: float = 0.5, max_scale: float = 2.1, step: float = 0.1) -> None:
        self.size = _positive("RandomScaleLongSide: size", size)
        if not 0 < min_scale <= max_scale or step < 0:
            raise UserError(
                f"RandomScaleLongSide: min_scale {min_scale}, max_scale {max_scale}, step {step}; give 0 < min_scale "
                "<= max_scale and a step of 0 or more, such as 0.5, 2.1 and 0.1"
            )
        self.min_scale, self.max_scale, self.step = min_scale, max_scale, step

    def scale(self) -> float:
        """A scale as it is drawn for one image."""
        if not self.step:
            return random.uniform(self.min_scale, self.max_scale)
        steps = round((self.max_scale - self.min_scale) / self.step)
        return self.min_scale + random.randint(0, steps) * self.step

    def __call__(self, data: Sample) -> Sample:
        length = _rounded(self.size * self.scale())
        return _resized(data, length, max(data["img"].shape[:2]))


@registry.transform
class RandomBrightness:
    """Add the same random whole number to every value of the image, and cut to 0..255.

    Args:
        shift: the number is drawn from -shift..shift.
        prob: how often, 0..1.

    Raises:
        UserError: a shift that is no whole number of 1 or more.
    """

    def __init__(self, shift: int = 10, prob: float = 0.5) -> None:
        self.shift = _positive("RandomBrightness: shift", shift)
        self.prob = prob

    def __call__(self, data: Sample) -> Sample:
        if random.random() < self.prob:
            image = data["img"].astype(np.float32) + random.randint(-self.shift, self.shift)
            data["img"] = np.clip(np.around(image), 0, 255).astype(data["img"].dtype)
        return data


def _positive(name: str, value: int) -> int:
    if type(value) is not int or value < 1:
        raise UserError(f"{name} is {value!r}; give a whole number of 1 or more")
    return value


def _rounded(length: float) -> int:
    """To the nearest whole number, halves up."""
    return int(length + 0.5)


def _resized(data: Sample, length: int, side: int) -> Sample:
    """The sample at another size: a side of `side` pixels becomes `length`, the other follows."""
    height, width = data["img"].shape[:2]
    size = tuple(length if extent == side else _rounded(extent * length / side) for extent in (width, height))
    data.setdefault("trans_info", []).append(("resize", (height, width)))
    data["img"] = cv2.resize(data["img"], size, interpolation=cv2.INTER_LINEAR)
    for key in data.get("gt_fields", ()):
        data[key] = cv2.resize(data[key], size, interpolation=cv2.INTER_NEAREST)
    return data
