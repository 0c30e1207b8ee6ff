"""An image the way evaluation saw it.

PaddleSeg's transforms are followed to the last bit: an image becomes float32 before it is resized, and normalising is
done in float64 and rounded once. Bytes that are normalised as they are go through a table of the 256 results.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np

from hrfamily_deploy.errors import UserError

INTERPOLATIONS = {
    "NEAREST": cv2.INTER_NEAREST,
    "LINEAR": cv2.INTER_LINEAR,
    "CUBIC": cv2.INTER_CUBIC,
    "AREA": cv2.INTER_AREA,
    "LANCZOS4": cv2.INTER_LANCZOS4,
}


class Step(NamedTuple):
    """A change of size, "resize" or "padding", and the height and width before it."""

    kind: str
    height: int
    width: int


class Prepared(NamedTuple):
    """What the network takes, and the way back.

    Attributes:
        planes: (C, h, w) float32 or, for a graph that takes images, (h, w, C) uint8 or float32 of 0..255.
        steps: the changes of size that lead back to the image's.
    """

    planes: np.ndarray
    steps: list[Step]


class Pipeline:
    """The transforms of a description, one after the other.

    Args:
        transforms: entries as {"type": "Resize", "target_size": [512, 512]}.
        channels: of the network's input.
        source: the file they stand in, for messages.
        image_dtype: of a graph that takes images, channels last, "uint8" or "float32"; None for one that takes planes.

    Raises:
        UserError: a transform that evaluation cannot have, or with values that make no sense.
    """

    def __init__(
        self, transforms: Sequence[Mapping[str, Any]], channels: int, source: Path, image_dtype: str | None = None
    ) -> None:
        self.channels = channels
        self.source = source
        self.image_dtype = image_dtype
        self.transforms = [_build(entry, channels, source) for entry in transforms]

    @property
    def keeps_size(self) -> bool:
        """Whether an image goes in at its own size."""
        return all(isinstance(transform, (Normalize, NormalizeBands)) for transform in self.transforms)

    def __call__(self, image: np.ndarray) -> Prepared:
        """From (H, W, C) or, with one channel, (H, W): RGB uint8, or what NormalizeBands takes.

        Raises:
            UserError: the image does not fit a transform, as one that is greater than what it is padded to.
        """
        steps: list[Step] = []
        for transform in self.transforms:
            if not isinstance(transform, (Normalize, NormalizeBands)):
                image = image.astype(np.float32, copy=False)
            before = image.shape[:2]
            try:
                image = transform(image)
            except ValueError as error:
                raise UserError(f"{self.source}: {type(transform).__name__}: {error}") from None
            if image.shape[:2] != before:
                steps.append(Step(transform.undone_as, *before))
        if self.image_dtype:
            image = image.astype(self.image_dtype, copy=False)
            return Prepared(np.ascontiguousarray(image.reshape(*image.shape[:2], self.channels)), steps)
        image = image.astype(np.float32, copy=False)
        return Prepared(np.stack(cv2.split(image)) if image.ndim == 3 else image[None], steps)


def _build(entry: Mapping[str, Any], channels: int, source: Path) -> Transform:
    values = dict(entry)
    name = values.pop("type")
    if name not in TRANSFORMS:
        raise UserError(
            f"{source}: transform {name!r} is none that an evaluation can have and undo; "
            f"there are {', '.join(TRANSFORMS)}. Take it out of the config's val_dataset and export again"
        )
    try:
        transform = TRANSFORMS[name](**values)
        if isinstance(transform, (Normalize, NormalizeBands)):
            transform.check(channels)
    except (TypeError, ValueError) as error:
        raise UserError(f"{source}: transform {name}: {str(error).partition('() ')[2] or error}") from None
    return transform


class Transform(ABC):
    """A change of an image, (H, W) or (H, W, C). `undone_as` is the kind of `Step` back, "" if it keeps the size."""

    undone_as: ClassVar[str]

    @abstractmethod
    def __call__(self, image: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Normalize(Transform):
    """(value / 255 - mean) / std, with one mean and std, or one for each channel."""

    mean: Sequence[float] = (0.5,)
    std: Sequence[float] = (0.5,)
    undone_as = ""

    def check(self, channels: int) -> None:
        for name in ("mean", "std"):
            values = np.asarray(getattr(self, name), np.float64)  # raises for what is no number
            if values.ndim != 1 or len(values) not in (1, channels):
                raise ValueError(f"{name} must be a list of 1 or {channels} numbers, not {getattr(self, name)!r}")
        if 0 in self.std:
            raise ValueError(f"std {self.std!r} has a zero")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        if image.dtype != np.uint8 or (image.ndim == 3 and image.shape[2] not in (1, 3)):
            return self._of(image)
        table = np.arange(256, dtype=np.uint8).reshape(1, 256, 1)
        return cv2.LUT(image, self._of(np.repeat(table, 1 if image.ndim == 2 else image.shape[2], axis=2)))

    def _of(self, image: np.ndarray) -> np.ndarray:
        result = image.astype(np.float32) / 255.0
        result -= np.array(self.mean)
        result /= np.array(self.std)
        return result


@dataclass(frozen=True)
class NormalizeBands(Transform):
    """(value - mean) / std of every channel, in the units of the file, whose values are of the type `dtype`."""

    mean: Sequence[float]
    std: Sequence[float]
    dtype: str = "uint8"
    undone_as = ""

    def check(self, channels: int) -> None:
        for name in ("mean", "std"):
            values = np.asarray(getattr(self, name), np.float64)  # raises for what is no number
            if values.shape != (channels,):
                raise ValueError(f"{name} must be a list of {channels} numbers, not {getattr(self, name)!r}")
        if 0 in self.std:
            raise ValueError(f"std {self.std!r} has a zero")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        result = image.astype(np.float32)
        result -= np.array(self.mean)
        result /= np.array(self.std)
        return result


@dataclass(frozen=True)
class Resize(Transform):
    """To (width, height); with `keep_ratio`, as large as fits into that, and up to a multiple of `size_divisor`."""

    target_size: Sequence[int] = (512, 512)
    keep_ratio: bool = False
    size_divisor: int | None = None
    interp: str = "LINEAR"
    undone_as = "resize"

    def __post_init__(self) -> None:
        _check_pair(self.target_size)
        if self.size_divisor is not None and not _is_size(self.size_divisor):
            raise ValueError(f"size_divisor must be a whole number above 0, not {self.size_divisor!r}")
        if self.interp not in INTERPOLATIONS:
            raise ValueError(f"interp must be one of {', '.join(INTERPOLATIONS)}, not {self.interp!r}")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        width, height = self.target_size
        if self.keep_ratio:
            before = image.shape[:2]
            scale = min(max(width, height) / max(before), min(width, height) / min(before))
            width, height = round(before[1] * scale), round(before[0] * scale)
        if self.size_divisor:
            width, height = (math.ceil(side / self.size_divisor) * self.size_divisor for side in (width, height))
        return _resized(image, (width, height), INTERPOLATIONS[self.interp])


@dataclass(frozen=True)
class ResizeByLong(Transform):
    """The longer side to `long_size`, the other in proportion."""

    long_size: int
    undone_as = "resize"

    def __post_init__(self) -> None:
        _check_sizes(long_size=self.long_size)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return _scaled(image, self.long_size / max(image.shape[:2]))


@dataclass(frozen=True)
class ResizeByShort(Transform):
    """The shorter side to `short_size`, or less where the longer one would come to more than `max_size`."""

    short_size: int
    max_size: float = 1e10
    undone_as = "resize"

    def __post_init__(self) -> None:
        _check_sizes(short_size=self.short_size)
        if not isinstance(self.max_size, (int, float)) or self.max_size <= 0:
            raise ValueError(f"max_size must be a number above 0, not {self.max_size!r}")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        short, long = sorted(image.shape[:2])
        target = self.short_size
        if target / short * long > self.max_size:
            target = int(self.max_size / long * short)
        return _scaled(image, target / short)


@dataclass(frozen=True)
class LimitLong(Transform):
    """The longer side into `min_long` … `max_long`, the other in proportion."""

    max_long: int | None = None
    min_long: int | None = None
    undone_as = "resize"

    def __post_init__(self) -> None:
        _check_sizes(**{name: value for name, value in vars(self).items() if value is not None})
        if self.max_long and self.min_long and self.min_long > self.max_long:
            raise ValueError(f"min_long {self.min_long} is greater than max_long {self.max_long}")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        long = max(image.shape[:2])
        target = max(long, self.min_long or long)
        target = min(target, self.max_long or target)
        return image if target == long else _scaled(image, target / long)


@dataclass(frozen=True)
class Padding(Transform):
    """At the right and the bottom, up to (width, height)."""

    target_size: Sequence[int]
    im_padding_value: float = 127.5
    label_padding_value: int = 255  # of training's labels
    undone_as = "padding"

    def __post_init__(self) -> None:
        _check_pair(self.target_size)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        width, height = self.target_size
        return _padded(image, width, height, self.im_padding_value)


@dataclass(frozen=True)
class PaddingByAspectRatio(Transform):
    """At the right or the bottom, up to width : height = `aspect_ratio`."""

    aspect_ratio: float = 1
    im_padding_value: float = 127.5
    label_padding_value: int = 255
    undone_as = "padding"

    def __post_init__(self) -> None:
        if not isinstance(self.aspect_ratio, (int, float)) or self.aspect_ratio <= 0:
            raise ValueError(f"aspect_ratio must be a number above 0, not {self.aspect_ratio!r}")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        ratio = width / height
        if ratio > self.aspect_ratio:
            height = int(width / self.aspect_ratio)
        elif ratio < self.aspect_ratio:
            width = int(height * self.aspect_ratio)
        return _padded(image, width, height, self.im_padding_value)


TRANSFORMS: dict[str, type[Transform]] = {
    transform.__name__: transform
    for transform in (
        Normalize,
        NormalizeBands,
        Resize,
        ResizeByLong,
        ResizeByShort,
        LimitLong,
        Padding,
        PaddingByAspectRatio,
    )
}


def _scaled(image: np.ndarray, scale: float) -> np.ndarray:
    height, width = image.shape[:2]
    return _resized(image, (round(width * scale), round(height * scale)), cv2.INTER_LINEAR)


def _resized(image: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
    if min(size) < 1:
        raise ValueError(f"an image of {image.shape[1]}x{image.shape[0]} would come to {size[0]}x{size[1]}")
    return cv2.resize(image, size, interpolation=interpolation)


def _padded(image: np.ndarray, width: int, height: int, value: float) -> np.ndarray:
    below, right = height - image.shape[0], width - image.shape[1]
    if below < 0 or right < 0:
        raise ValueError(f"an image of {image.shape[1]}x{image.shape[0]} is greater than {width}x{height}")
    padded = np.full((height, width, *image.shape[2:]), value, image.dtype)  # OpenCV pads 4 channels at most
    padded[: image.shape[0], : image.shape[1]] = image
    return padded


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check_sizes(**sizes: Any) -> None:
    for name, value in sizes.items():
        if not _is_size(value):
            raise ValueError(f"{name} must be a whole number above 0, not {value!r}")


def _check_pair(size: Any) -> None:
    if not isinstance(size, (list, tuple)) or len(size) != 2 or not all(map(_is_size, size)):
        raise ValueError(f"target_size must be [width, height], not {size!r}")
