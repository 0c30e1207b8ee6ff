"""Augmentations that change the label's values along with the image, which PaddleSeg's do not."""

from __future__ import annotations

import random
from collections.abc import Sequence

import cv2
import numpy as np

from paddle_hrfamily import registry
from paddle_hrfamily.data.paired_dataset import Sample
from paddle_hrfamily.errors import UserError


@registry.transform
class RandomDepthZoom:
    """Zoom image and depth about the centre, at their size, and divide the depth by the ratio.

    A camera of 1.2 times the focal length sees the same room 1.2 times as large, which is how it looks from nearer by
    (U-HRNet section 5.2, after MTI-Net: ratios 1, 1.2, 1.5). Depth is resampled to the nearest pixel: between two
    surfaces there is nothing.

    Args:
        scales: the ratios to draw from, 1 or more each.

    Raises:
        UserError: no ratio, or one below 1, which would leave the border without an image.
    """

    def __init__(self, scales: Sequence[float] = (1.0, 1.2, 1.5)) -> None:
        if not scales or not all(isinstance(scale, (int, float)) and scale >= 1 for scale in scales):
            raise UserError(
                f"RandomDepthZoom: scales is {list(scales)}; give ratios of 1 or more, such as [1, 1.2, 1.5]"
            )
        self.scales = tuple(float(scale) for scale in scales)

    def __call__(self, data: Sample) -> Sample:
        scale = random.choice(self.scales)
        if scale == 1:
            return data
        height, width = data["img"].shape[:2]
        zoom = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0, scale)
        data["img"] = cv2.warpAffine(data["img"], zoom, (width, height), flags=cv2.INTER_LINEAR)
        for key in data.get("gt_fields", ()):
            depth = cv2.warpAffine(data[key], zoom, (width, height), flags=cv2.INTER_NEAREST)
            data[key] = depth / np.float32(scale)
        return data


@registry.transform
class RandomMirror:
    """Flip image and label left to right, and swap the classes that are a left and a right one.

    Args:
        swap: pairs of class numbers; LIP's are [[14, 15], [16, 17], [18, 19]].
        prob: how often, 0..1.

    Raises:
        UserError: `swap` is no list of pairs.
    """

    def __init__(self, swap: Sequence[Sequence[int]] = (), prob: float = 0.5) -> None:
        if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in swap):
            raise UserError(f"RandomMirror: swap is {swap}; give pairs of classes, such as [[14, 15], [16, 17]]")
        self.prob = prob
        self.table = np.arange(256, dtype=np.uint8)
        for left, right in swap:
            self.table[[left, right]] = right, left

    def __call__(self, data: Sample) -> Sample:
        if random.random() < self.prob:
            data["img"] = np.ascontiguousarray(data["img"][:, ::-1])
            for key in data.get("gt_fields", ()):
                data[key] = self.table[data[key][:, ::-1]]
        return data
