"""Images as they are stored, of any number of bands and up to 16 bits: into transforms, and into numbers of a config.

A data set's images are read so where its transforms have `NormalizeBands`, whose numbers say how many bands there are,
and of which type. Without it, images are 8-bit RGB, and one that holds more is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from paddleseg.transforms import Compose

from hrfamily_deploy.imaging import bands, image_files, preprocess
from hrfamily_deploy.imaging.image_files import ImageLike
from hrfamily_deploy.progress import progress
from paddle_hrfamily import registry
from paddle_hrfamily.errors import UserError

if TYPE_CHECKING:  # importing PaddleSeg plugs this package into it, which comes back here
    from paddle_hrfamily.data.paired_dataset import Sample


@registry.transform
class NormalizeBands:
    """(value - mean) / std of every band, in the units of the file.

    With it, a data set's images are read as they are stored. Padding belongs behind it, with `im_padding_value: 0`,
    which is the mean.

    Args:
        mean, std: a number for each band, in the file's order; of colour red, green, blue, then alpha.
        dtype: of the values in the files: uint8, int8, uint16, int16 or float32.

    Raises:
        UserError: numbers that do not fit each other, or another type.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], dtype: str = "uint8") -> None:
        if dtype not in bands.TYPES:
            raise UserError(f"NormalizeBands: dtype is {dtype!r}; there are {', '.join(bands.TYPES)}")
        try:
            self.step = preprocess.NormalizeBands(mean, std, dtype)
            self.step.check(len(mean))
        except (TypeError, ValueError) as error:
            raise UserError(f"NormalizeBands: {error}") from None
        self.channels, self.dtype = len(mean), dtype

    def __call__(self, data: Sample) -> Sample:
        data["img"] = self.step(data["img"])
        return data


def as_stored(transforms: Iterable[object]) -> NormalizeBands | None:
    """The transform that says that images are read as they are stored, and what they hold."""
    return next((transform for transform in transforms if isinstance(transform, NormalizeBands)), None)


def channels_of(section: Mapping[str, Any]) -> int:
    """Channels of the images of a config's data set: as many as NormalizeBands has numbers, or 3."""
    for transform in section.get("transforms") or []:
        if isinstance(transform, Mapping) and transform.get("type") == NormalizeBands.__name__:
            return len(transform.get("mean") or [])
    return 3


def reader(transforms: Iterable[object]) -> Callable[[ImageLike], np.ndarray]:
    """A function that reads an image as these transforms take it: (H, W, C), or (H, W) of one band.

    It raises UserError for an image that cannot be read, or with more or other bands.
    """
    stored = as_stored(transforms)
    if stored is None:
        return image_files.decode
    return lambda image: image_files.decode(image, stored.channels, stored.dtype)


class Reading(Compose):
    """PaddleSeg's `Compose` of images that are RGB, or read as they are stored. Arrays are taken as they are."""

    def __init__(self, transforms: list, img_channels: int = 3) -> None:
        super().__init__(transforms, to_rgb=False, img_channels=img_channels)
        self.read = reader(transforms)

    def __call__(self, data: Sample) -> Sample:
        if isinstance(data["img"], str):
            image = self.read(data["img"])
            if image.ndim == 3 and self.img_channels == 1:
                image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            data["img"] = image.astype(np.float32)
        return super().__call__(data)


@dataclass(frozen=True)
class BandStatistics:
    """Of all pixels of some images.

    Attributes:
        mean, std: of each band, in the files' units.
        dtype: of the values.
        paths: how many images.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str
    paths: int

    def transform(self) -> dict[str, Any]:
        """NormalizeBands with these numbers, as a config has it; a band that never changes is left as it is wide."""
        std = [float(f"{value:.6g}") or 1.0 for value in self.std]
        return {
            "type": NormalizeBands.__name__,
            "mean": [float(f"{value:.6g}") for value in self.mean],
            "std": std,
            "dtype": self.dtype,
        }


def beyond_rgb(paths: Iterable[Path]) -> tuple[Path, str] | None:
    """The first image that holds more than 8-bit grey or RGB, and what that is; None where none does.

    Raises:
        UserError: a file cannot be read.
    """
    for path in paths:
        try:
            with path.open("rb") as stream:
                lost = bands.loss(stream)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None
        if lost:
            return path, lost
    return None


def band_statistics(paths: Sequence[Path]) -> BandStatistics:
    """Mean and deviation of every band, over the pixels of all images: one image in memory at a time.

    Raises:
        UserError: there is no image, one cannot be read, or they differ in bands or type.
    """
    total = _Moments(0, np.zeros(0), np.zeros(0))
    kind: tuple[int, str] | None = None
    for path in progress(paths, "reading bands", len(paths), delay=1):
        try:
            pixels = bands.read(Path(path).read_bytes(), str(path))
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        found = (pixels.shape[2], pixels.dtype.name)
        if kind not in (None, found):
            assert kind is not None
            raise UserError(
                f"{path}: has {found[0]} bands of {found[1]}, and {paths[0]} has {kind[0]} of {kind[1]}; save all "
                "images in one way"
            )
        kind = found
        total = total.joined(_Moments.of(pixels))
    if kind is None:
        raise UserError("no image to take the mean and deviation of")
    return BandStatistics(
        tuple(total.mean.tolist()), tuple(np.sqrt(total.squares / total.count).tolist()), kind[1], len(paths)
    )


@dataclass(frozen=True)
class _Moments:
    """Count, means and sums of squared distances from them: parts join without loss of digits (Chan et al. 1979)."""

    count: int
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, pixels: np.ndarray) -> _Moments:
        """Of (H, W, C)."""
        columns = np.moveaxis(pixels, 2, 0).reshape(pixels.shape[2], -1)
        mean = columns.mean(axis=1, dtype=np.float64)
        squares = np.array([np.square(column - middle).sum() for column, middle in zip(columns, mean)])
        return cls(columns.shape[1], mean, squares)

    def joined(self, other: _Moments) -> _Moments:
        if not self.count:
            return other
        count, apart = self.count + other.count, other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        return _Moments(count, mean, self.squares + other.squares + apart**2 * (self.count * other.count / count))
