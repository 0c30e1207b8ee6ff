"""What a TIFF says of itself, without reading its pixels, and without a library for them."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from PIL.TiffImagePlugin import ImageFileDirectory_v2

_BYTES = {b"II*\0": 8, b"MM\0*": 8, b"II+\0": 16, b"MM\0+": 16}  # how a TIFF begins, BigTIFF too -> bytes of its header
_KINDS = {1: "unsigned", 2: "signed", 3: "float", 4: "unsigned"}  # SampleFormat; 4 is "undefined"
_CMYK = 5
_SHOWN_AS_STORED = (1, 2, 6)  # PhotometricInterpretation: grey from black up, RGB, YCbCr
# TIFF 6.0's tags, and GeoTIFF's.
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES = 256, 257, 258, 262, 274, 277
_EXTRA, _FORMAT, _PIXEL_SCALE, _TRANSFORMATION = 338, 339, 33550, 34264


@dataclass(frozen=True)
class TiffHeader:
    """The first page.

    Attributes:
        channels: of a pixel, extra ones included.
        bits: of a value, the greatest.
        kind: of the values: "unsigned", "signed" or "float".
        extra: channels beside those of the colour.
        alpha: the first of them says itself to be alpha.
        orientation: 1 to 8, as in EXIF.
        is_cmyk: the colours are inks.
        shown_as_stored: it is grey or RGB; no palette, and not white at 0.
        has_coordinates: it is a GeoTIFF with a place for its pixels.
    """

    width: int
    height: int
    channels: int
    bits: int
    kind: str
    extra: int
    alpha: bool
    orientation: int
    is_cmyk: bool
    shown_as_stored: bool
    has_coordinates: bool


def read(stream: BinaryIO) -> TiffHeader | None:
    """None of a file that is no TIFF, or too damaged to tell."""
    begin = stream.read(4)
    length = _BYTES.get(begin)
    if length is None:
        return None
    begin += stream.read(length - 4)
    try:
        directory = ImageFileDirectory_v2(begin)
        stream.seek(directory.next)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what is cut off: whoever reads the pixels says so
            directory.load(stream)
        return _header(directory)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, IndexError, EOFError, struct.error):
        return None  # what Pillow raises of a damaged directory


def _header(directory: ImageFileDirectory_v2) -> TiffHeader:
    extra = _numbers(directory.get(_EXTRA, ()))
    orientation = int(directory.get(_ORIENTATION, 1))
    photometric = int(directory.get(_PHOTOMETRIC, 1))
    return TiffHeader(
        width=int(directory[_WIDTH]),
        height=int(directory[_HEIGHT]),
        channels=int(directory.get(_SAMPLES, 1)),
        bits=max(_numbers(directory.get(_BITS, 1))),
        kind=_KINDS.get(max(_numbers(directory.get(_FORMAT, 1))), "complex"),
        extra=len(extra),
        alpha=bool(extra) and extra[0] in (1, 2),
        orientation=orientation if orientation in range(1, 9) else 1,
        is_cmyk=photometric == _CMYK,
        shown_as_stored=photometric in _SHOWN_AS_STORED,
        has_coordinates=_PIXEL_SCALE in directory or _TRANSFORMATION in directory,
    )


def _numbers(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)
