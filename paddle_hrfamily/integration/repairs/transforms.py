"""Images of more than four channels in PaddleSeg's transforms: OpenCV pads them, and turns them, by fours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from paddle_hrfamily.patching import Overlay

_MOST = 4  # numbers in OpenCV's Scalar, which has the colour of a border


def borders_of_many_channels() -> None:
    """Have the transforms find an OpenCV that fills borders of any number of channels."""
    from paddleseg.transforms import transforms

    if not isinstance(transforms.cv2, Overlay):
        transforms.cv2 = Overlay(
            cv2,
            copyMakeBorder=_by_fours(cv2.copyMakeBorder, "value"),
            warpAffine=_by_fours(cv2.warpAffine, "borderValue"),
        )


def _by_fours(function: Callable[..., np.ndarray], border: str) -> Callable[..., np.ndarray]:
    """OpenCV's function, of (H, W) or (H, W, C) of any C; `border` names the argument that holds C values."""

    def of_any(image: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
        if image.ndim < 3 or image.shape[2] <= _MOST or not isinstance(kwargs.get(border), (tuple, list)):
            return function(image, *args, **kwargs)
        values = kwargs.pop(border)
        parts = [slice(start, start + _MOST) for start in range(0, image.shape[2], _MOST)]
        done = [function(image[..., part].copy(), *args, **{**kwargs, border: values[part]}) for part in parts]
        return np.concatenate([part if part.ndim == 3 else part[..., None] for part in done], axis=2)

    return of_any
