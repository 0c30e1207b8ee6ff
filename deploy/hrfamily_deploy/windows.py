"""A GeoTIFF too large for the memory: read, segmented and written window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from hrfamily_deploy import tiling
from hrfamily_deploy.bundle import Bundle
from hrfamily_deploy.colors import Color
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging import bands, geotiff, image_files, tiff_header
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.tiling import Span

_PREVIEW = 2048  # pixels of the longer side of what is shown of such an image

Answer = tuple[np.ndarray, ...]


class Map(NamedTuple):
    """A map (H, W) to write.

    Attributes:
        path: the GeoTIFF.
        of: makes a strip of it of a strip of the predictor's answers.
        colors: of its numbers, where they are labels.
    """

    path: Path
    of: Callable[[Answer], np.ndarray]
    colors: Sequence[Color] = ()


def are_possible(path: Path, bundle: Bundle) -> bool:
    """Whether rasterio is here, and the file a GeoTIFF whose windows are what the whole would be decoded to."""
    if not geotiff.has_coordinates(path) or find_spec("rasterio") is None:
        return False
    with path.open("rb") as stream:
        header = tiff_header.read(stream)
    assert header is not None, "a GeoTIFF has a header"
    return bundle.image_dtype is not None or (header.bits == 8 and header.shown_as_stored)


def segment(
    predictor: Predictor,
    path: Path,
    outputs: Sequence[str],
    maps: Sequence[Map],
    tile: int,
    overlap: int,
) -> None:
    """Write the maps of a GeoTIFF, each whole or not at all.

    Memory is for a strip of tiles, 256 MiB of what rasterio has decompressed, and the network.

    Raises:
        UserError: the file is damaged or not what the network takes, or a map cannot be written.
    """
    with ExitStack() as stack:
        dataset = stack.enter_context(geotiff.opened(path, str(path)))
        place = geotiff.Coordinates(dataset.crs, dataset.transform)
        writers: list[Any] = []
        for top, answer in _strips(predictor, dataset, path, outputs, tile, overlap):
            strips = [wanted.of(answer) for wanted in maps]
            writers = writers or [
                stack.enter_context(geotiff.label_writer(wanted.path, dataset.shape, strip.dtype, wanted.colors, place))
                for wanted, strip in zip(maps, strips)
            ]
            for writer, strip in zip(writers, strips):
                writer.write(strip, 1, window=((top, top + len(strip)), (0, dataset.width)))


def read(path: Path) -> np.ndarray:
    """(H, W), of a map that was written."""
    with geotiff.opened(path, str(path)) as dataset:
        return dataset.read(1)


def preview(path: Path, label: Path) -> tuple[np.ndarray, np.ndarray]:
    """A GeoTIFF (H, W, 3) uint8 to look at, and its label map (H, W), of 2048 pixels a side at most."""
    with geotiff.opened(path, str(path)) as dataset:
        scale = min(1, _PREVIEW / max(dataset.shape))
        shape = tuple(max(1, round(extent * scale)) for extent in dataset.shape)
        shown = bands.visible(np.moveaxis(dataset.read(out_shape=(dataset.count, *shape)), 0, 2))
    with geotiff.opened(label, str(label)) as dataset:
        return shown, dataset.read(1, out_shape=shape)


def _strips(
    predictor: Predictor, dataset: Any, path: Path, outputs: Sequence[str], tile: int, overlap: int
) -> Iterator[tuple[int, Answer]]:
    as_stored = predictor.bundle.image_dtype is not None

    def crop(row: Span, column: Span) -> np.ndarray:
        planes = dataset.read(window=((row.start, row.stop), (column.start, column.stop)))
        if not as_stored and len(planes) in (2, 4):
            *colours, alpha = planes
            if alpha.min() < np.iinfo(alpha.dtype).max:
                raise UserError(f"{path}: {bands.ALPHA} would be lost: {image_files.LOST}")
            planes = np.stack(colours)
        image = np.ascontiguousarray(np.moveaxis(planes, 0, 2))
        if not as_stored and image.shape[2] == 1:
            return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if predictor.bundle.channels == 3 else image[..., 0]
        return image

    return tiling.strips(predictor, crop, dataset.shape, outputs, tile, overlap, show_progress=True)
