"""TransUNet's augmentation of CT slices (`RandomGenerator` in datasets/dataset_synapse.py of its repository)."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from paddle_hrfamily import registry
from paddle_hrfamily.data.paired_dataset import Sample
from paddle_hrfamily.errors import UserError


@registry.transform
class RandomSliceRotation:
    """Turn and mirror half of the slices by right angles, rotate a quarter of them by a few degrees, keep the rest.

    A slice of the first half is turned by 0, 90, 180 or 270 degrees and then mirrored along its rows or its columns.
    One of the quarter is rotated about its centre to the nearest pixel, at its size: corners that come from outside are
    0, the background, in image and label.

    Args:
        max_angle: degrees; the angle is a whole number from -max_angle to max_angle - 1.

    Raises:
        UserError: an angle that is no whole number of 1 to 180.
    """

    def __init__(self, max_angle: int = 20) -> None:
        if type(max_angle) is not int or not 1 <= max_angle <= 180:
            raise UserError(f"RandomSliceRotation: max_angle is {max_angle!r}; give whole degrees from 1 to 180")
        self.max_angle = max_angle

    def __call__(self, data: Sample) -> Sample:
        if random.random() > 0.5:
            turns, axis = random.randrange(4), random.randrange(2)
            return _each(data, lambda array: np.flip(np.rot90(array, turns), axis).copy())
        if random.random() > 0.5:
            angle = random.randrange(-self.max_angle, self.max_angle)
            return _each(data, lambda array: ndimage.rotate(array, angle, order=0, reshape=False))
        return data


def _each(data: Sample, change: Callable[[np.ndarray], np.ndarray]) -> Sample:
    """The sample with image and label changed alike."""
    for key in ("img", *data.get("gt_fields", ())):
        data[key] = change(data[key])
    return data
