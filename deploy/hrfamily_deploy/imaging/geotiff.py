"""GeoTIFF: images with coordinates, read and written whole or by windows. It needs rasterio, the extra `geo`."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hrfamily_deploy.colors import Color
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.files import replacing
from hrfamily_deploy.imaging import tiff_header

if TYPE_CHECKING:
    from rasterio import DatasetReader, DatasetWriter

STRIP = 16  # rows that are compressed together; tiles meet on multiples of it
_CACHE = 256 << 20  # bytes that GDAL keeps of what it has decompressed; its own choice is 5 % of the memory


@dataclass(frozen=True)
class Coordinates:
    """Where an image lies.

    Attributes:
        crs: the coordinate reference system, rasterio's `CRS`; None where the file names none.
        transform: from pixels to coordinates, an `affine.Affine`.
    """

    crs: Any
    transform: Any


def has_coordinates(path: Path) -> bool:
    """Whether the file is an upright GeoTIFF with a place for its pixels. It needs no rasterio."""
    try:
        with path.open("rb") as stream:
            header = tiff_header.read(stream)
    except OSError:
        return False
    return header is not None and header.has_coordinates and header.orientation == 1


def coordinates(path: Path) -> Coordinates | None:
    """Of a GeoTIFF; None of every other file.

    Raises:
        UserError: it is a GeoTIFF, and rasterio is missing or cannot read it.
    """
    if not has_coordinates(path):
        return None
    with opened(path, str(path)) as dataset:
        return Coordinates(dataset.crs, dataset.transform)


@contextlib.contextmanager
def opened(source: Path | bytes, name: str) -> Iterator[DatasetReader]:
    """A TIFF, a file or its content, as rasterio has it.

    Raises:
        UserError: rasterio is missing, the file is damaged, or has several pages.
    """
    rasterio = _rasterio(name)
    with contextlib.ExitStack() as stack:
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=_CACHE))
        try:
            open_it = partial(rasterio.open, source)
            if isinstance(source, bytes):
                open_it = stack.enter_context(rasterio.io.MemoryFile(source)).open
            # Other formats of GDAL's can name files and hosts to read from.
            dataset = stack.enter_context(_quietly(partial(open_it, driver="GTiff")))
            if len(dataset.subdatasets) > 1:
                pages = len(dataset.subdatasets)
                raise UserError(f"{name}: has {pages} pages; save its bands as channels of one page")
            yield dataset
        except rasterio.errors.RasterioError as error:
            reason = " ".join(str(error.__cause__ or error).split())
            raise UserError(f"{name}: not a TIFF that can be read, or a damaged one ({reason})") from None


def write_label(path: Path, label: np.ndarray, colors: Sequence[Color], place: Coordinates) -> None:
    """Save (H, W) uint8 or uint16 as GeoTIFF, whole or not at all; bytes show in these colours."""
    with label_writer(path, label.shape, label.dtype, colors, place) as writer:
        writer.write(label, 1)


@contextlib.contextmanager
def label_writer(
    path: Path, shape: tuple[int, ...], dtype: np.dtype | type, colors: Sequence[Color], place: Coordinates
) -> Iterator[DatasetWriter]:
    """A GeoTIFF of labels to write rows to, from the top down; it is in place when all is done.

    Args:
        shape: height and width.
    """
    rasterio = _rasterio(str(path))
    form = {"driver": "GTiff", "compress": "deflate", "blockysize": STRIP, "BIGTIFF": "IF_SAFER"}
    size = {"height": shape[0], "width": shape[1], "count": 1, "dtype": np.dtype(dtype).name}
    with replacing(path) as draft, rasterio.Env(GDAL_CACHEMAX=_CACHE):
        try:
            profile = {**form, **size, "crs": place.crs, "transform": place.transform}
            with _quietly(partial(rasterio.open, draft, "w", **profile)) as writer:
                if colors and writer.dtypes[0] == "uint8":
                    writer.write_colormap(1, dict(enumerate(colors)))
                yield writer
        except rasterio.errors.RasterioError as error:
            raise UserError(f"{path}: cannot be written ({error})") from None


def _quietly(open_it: Callable[[], Any]) -> Any:
    """rasterio warns of every image without coordinates."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return open_it()


def _rasterio(name: str) -> Any:
    try:
        import rasterio
        import rasterio.errors
        import rasterio.io
    except ImportError:
        raise UserError(
            f"{name}: TIFF of more than 8-bit RGB, or with coordinates, needs rasterio: "
            "pip install 'paddle_hrfamily[geo]', or rasterio alone"
        ) from None
    logging.getLogger("rasterio").setLevel(logging.ERROR)  # it logs what it raises as well
    return rasterio
