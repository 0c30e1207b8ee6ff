"""Image files of many kinds, with what of them would be lost as 8-bit RGB."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 12, 10
ALPHA = "an alpha channel that is not opaque everywhere"
RNG = np.random.default_rng(1)


def tiff(path: Path, image: np.ndarray, **profile: Any) -> Path:
    """Write (H, W, C) by rasterio."""
    import rasterio

    height, width, channels = image.shape
    form = {"driver": "GTiff", "height": height, "width": width, "count": channels, "dtype": image.dtype.name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", **form, **profile) as dataset:
            dataset.write(np.moveaxis(image, 2, 0))
    return path


def _place() -> dict[str, Any]:
    from rasterio.transform import from_origin

    return {"crs": "EPSG:32632", "transform": from_origin(500000, 5300000, 10, 10)}


PLACE = _place()


def _pillow(mode: str, suffix: str, alpha: int | None = None, **options: Any) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path = path.with_name(path.name + suffix)
        pixels = Image.fromarray(RNG.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)).convert(mode)
        if mode == "P":
            pixels.putpixel((0, 0), 0)
        if alpha is not None:
            pixels.putalpha(Image.new("L", pixels.size, alpha))
        pixels.save(path, **options)
        return path

    return write


def _grey_16(path: Path) -> Path:
    path = path.with_name(f"{path.name}.png")
    Image.fromarray(RNG.integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)).save(path)
    return path


def _tiff(dtype: str, channels: int, **profile: Any) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        image = RNG.integers(0, 120, (HEIGHT, WIDTH, channels)).astype(dtype)
        return tiff(path.with_name(f"{path.name}.tif"), image, **profile)

    return write


KINDS: dict[str, tuple[Callable[[Path], Path], str | None]] = {
    "grey JPEG": (_pillow("L", ".jpg"), None),
    "grey PNG": (_pillow("L", ".png"), None),
    "black and white PNG": (_pillow("1", ".png"), None),
    "palette PNG": (_pillow("P", ".png"), None),
    "opaque RGBA PNG": (_pillow("RGB", ".png", alpha=255), None),
    "transparent RGBA PNG": (_pillow("RGB", ".png", alpha=200), ALPHA),
    "transparent grey PNG": (_pillow("L", ".png", alpha=0), ALPHA),
    "palette PNG with a transparent colour": (_pillow("P", ".png", transparency=0), ALPHA),
    "transparent WebP": (_pillow("RGB", ".webp", alpha=9, lossless=True), ALPHA),
    "opaque WebP": (_pillow("RGB", ".webp", alpha=255, lossless=True), None),
    "RGB TIFF": (_pillow("RGB", ".tif"), None),
    "opaque RGBA TIFF": (_pillow("RGB", ".tif", alpha=255), None),
    "transparent RGBA TIFF": (_pillow("RGB", ".tif", alpha=5), ALPHA),
    "16-bit grey PNG": (_grey_16, "16-bit values"),
    "16-bit grey TIFF": (_tiff("uint16", 1), "16-bit values"),
    "16-bit RGB TIFF": (_tiff("uint16", 3, photometric="RGB"), "16-bit values"),
    "signed TIFF": (_tiff("int16", 1), "signed values"),
    "TIFF of fractions": (_tiff("float32", 1), "float values"),
    "RGB and infrared": (_tiff("uint8", 4, photometric="RGB", alpha="NO"), "4 channels"),
    "two bands": (_tiff("uint8", 2), "2 channels"),
    "eight bands, LZW": (_tiff("uint8", 8, compress="lzw"), "8 channels"),
}
