"""Images as they are stored: any number of channels, 8 or 16 bits or fractions, in the file's order.

Colour comes as red, green, blue, with alpha behind it; other bands as the file has them. TIFF is read by rasterio,
the one library here that reads each of its layouts and compressions and that knows coordinates; PNG and the rest by
OpenCV, since Pillow cuts 16-bit colour to 8.
"""

from __future__ import annotations

import io
import os
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.imaging import geotiff, tiff_header
from hrfamily_deploy.imaging.tiff_header import TiffHeader

# What float32, in which networks compute, holds without loss.
TYPES = ("uint8", "int8", "uint16", "int16", "float32")
ALPHA = "an alpha channel that is not opaque everywhere"
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_ORIENTATION = 0x0112  # the EXIF tag
_PERCENTILES = (2, 98)  # of a band, between which a picture of it goes from black to white
_SAMPLED = 256  # rows and columns that the percentiles are taken from


def read(data: bytes, name: str) -> np.ndarray:
    """(H, W, C), or (H, W) of one channel, in the file's own type, turned as its orientation says.

    Raises:
        UserError: no image, a damaged one, more than one page, a type that float32 does not hold, or values that are
            no numbers; or rasterio is missing, of a TIFF.
    """
    header = tiff_header.read(io.BytesIO(data))
    if header is not None:
        with geotiff.opened(data, name) as dataset:
            pixels = np.moveaxis(dataset.read(), 0, 2)
        orientation = header.orientation
    else:
        pixels = _by_opencv(data, name)
        orientation = exif_orientation(io.BytesIO(data))
    check_values(pixels, name)
    pixels = turned(pixels, orientation)
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)


def check_values(pixels: np.ndarray, name: str) -> None:
    """Raises UserError for values that a network cannot take."""
    if pixels.dtype.name not in TYPES:
        raise UserError(f"{name}: holds {pixels.dtype} values; convert them to one of {', '.join(TYPES)}")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise UserError(f"{name}: holds values that are no numbers (NaN, infinite); put a number there, such as 0")


def loss(stream: BinaryIO) -> str | None:
    """What reading the file as 8-bit grey or RGB would lose, such as "16-bit values"; None if it is nothing.

    An alpha channel that is opaque everywhere says nothing, and is no loss.
    """
    begin = stream.read(26)
    stream.seek(0)
    if begin.startswith(_JPEG):
        return None
    if begin.startswith(_PNG) and len(begin) == 26 and begin[24] == 16:
        return "16-bit values"
    header = tiff_header.read(stream)
    if header is not None and (lost := _loss_of_tiff(header)):
        return lost
    stream.seek(0)
    return None if _is_opaque(stream) else ALPHA


def exif_orientation(stream: BinaryIO) -> int:
    """1 to 8, as EXIF has it: 1 is upright, 5 to 8 swap width and height. 1 where the file says nothing."""
    try:
        with Image.open(stream) as image:
            # A PNG without EXIF data up front would be decoded in search of it.
            known = image.format != "PNG" or "exif" in image.info
            found = image.getexif().get(_ORIENTATION, 1) if known else 1
    except (OSError, SyntaxError, ValueError):
        return 1
    return found if found in range(1, 9) else 1


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, …) upright, of pixels that lie as an EXIF orientation says: a view."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def visible(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 to look at: 8-bit RGB is shown as it is.

    Of more channels the first three are red, green, blue, of two the first is grey; values that are not of 8 bits are
    stretched so that 2 % of each band are black and 2 % white. The array may be the given one.
    """
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    pixels = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)
    if pixels.dtype != np.uint8:
        pixels = np.stack([_stretched(band) for band in np.moveaxis(pixels, 2, 0)], axis=2)
    return np.ascontiguousarray(pixels)


def _stretched(band: np.ndarray) -> np.ndarray:
    steps = [max(1, extent // _SAMPLED) for extent in band.shape]
    low, high = np.percentile(band[:: steps[0], :: steps[1]], _PERCENTILES)
    scale = 255 / max(high - low, np.finfo(np.float32).tiny)
    return ((band.astype(np.float32) - low) * scale).clip(0, 255).astype(np.uint8)


def _by_opencv(data: bytes, name: str) -> np.ndarray:
    """(H, W, C) as it lies in the file."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error as error:  # more pixels than OpenCV admits
        raise UserError(f"{name}: {error.err}") from None
    if pixels is None:
        raise UserError(f"{name}: not an image, or a damaged one ({len(data)} bytes)")
    if pixels.ndim == 2:
        return pixels[..., None]
    if data.startswith(_PNG) and data[25] == 4:  # grey and alpha, of which OpenCV makes four channels
        return pixels[..., [0, 3]]
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _loss_of_tiff(header: TiffHeader) -> str | None:
    if header.bits > 8 or header.kind != "unsigned":
        return f"{header.bits}-bit values" if header.kind == "unsigned" else f"{header.kind} values"
    colours = header.channels - header.extra
    is_colour = colours in (1, 3) or (colours == 4 and header.is_cmyk)
    return None if is_colour and header.extra <= int(header.alpha) else f"{header.channels} channels"


def _is_opaque(stream: BinaryIO) -> bool:
    try:
        with Image.open(stream) as image:
            if not image.has_transparency_data:
                return True
            return image.convert("RGBA").getchannel("A").getextrema() == (255, 255)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return True  # no alpha that could be read: whoever decodes it says what is wrong with it


def size(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """(width, height) of a TIFF, upright; None of another file."""
    with open(path, "rb") as stream:
        header = tiff_header.read(stream)
    if header is None:
        return None
    return (header.height, header.width) if header.orientation > 4 else (header.width, header.height)
