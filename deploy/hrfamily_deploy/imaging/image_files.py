"""Images in and out of files and bytes: 8-bit RGB or grey, or as they are stored where a network takes them so."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

import cv2
import numpy as np
from PIL import Image

from hrfamily_deploy.colors import Color
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.files import replacing
from hrfamily_deploy.imaging import bands, geotiff, tiff_header, video
from hrfamily_deploy.progress import say

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
# A path, a file's content, or an array (H, W, C) or (H, W); RGB or grey uint8, unless a network takes others.
ImageLike = Union[str, Path, bytes, bytearray, memoryview, np.ndarray]

LOST = "this network takes 8-bit RGB; save it so, or train with NormalizeBands, which takes images as they are stored"
_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND\xaeB`\x82"}  # how a whole file of that beginning ends


@dataclass(frozen=True)
class Source:
    """An image's file.

    Attributes:
        path: where it lies.
        name: its name below the folder or the list that named it, with suffix; no two of a folder or list share one.
        stem: the name for files made from it: without suffix, unless another source would have the same.
    """

    path: Path
    name: str
    stem: str

    @property
    def unique_name(self) -> str:
        """The stem with the suffix: unlike all others', even without suffix."""
        return self.stem + self.path.suffix


def decode(image: ImageLike, channels: int = 3, dtype: str | None = None) -> np.ndarray:
    """(H, W, channels), or (H, W) of one channel, turned as EXIF data says.

    Args:
        channels: that the network takes.
        dtype: of the values, as the file must store them, channels and all; left open, images are made 8-bit RGB, or
            grey where the network takes one channel.

    Raises:
        UserError: no image, a damaged one, an array that is none; or one with more to it than would be read.
    """
    if isinstance(image, np.ndarray):
        return _as_stored(image, "an image", channels, dtype) if dtype else _checked(image, channels)
    name, data = "these bytes", b""
    if isinstance(image, (bytes, bytearray, memoryview)):
        data = bytes(image)
    else:
        name = str(image)
        try:
            data = Path(image).read_bytes()
        except OSError as error:
            raise UserError(f"{image}: {error.strerror}") from None
    if dtype is None:
        return _decoded(data, name, channels)
    header = tiff_header.read(io.BytesIO(data))
    if header is not None and header.channels != channels:  # before much memory is given to them
        raise UserError(f"{name}: {header.channels} channels, and {_taken(channels, dtype)}")
    return _as_stored(bands.read(data, name), name, channels, dtype)


def visible(path: Path) -> np.ndarray:
    """(H, W, 3) RGB uint8 of any image, to look at; see `bands.visible`.

    Raises:
        UserError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if bands.loss(io.BytesIO(data)) is None:
        return _decoded(data, str(path), 3)
    return bands.visible(bands.read(data, str(path)))


def evenly(found: Sequence[Source], most: int) -> list[Source]:
    """At most that many of them, evenly spaced, the first one included."""
    count = min(most, len(found))
    return [found[index * len(found) // count] for index in range(count)]


def find(path: Path) -> list[Source]:
    """An image itself, all images below a folder, or those a text file lists, one a line, from its own folder.

    Lists of pairs do as well, "image label" or with a tab between: where no file has the line's name, what stands
    before the tab or the first space counts.

    Raises:
        UserError: no such path, or no image there.
    """
    if path.is_dir():
        root, found = path, sorted(file for file in path.rglob("*") if _is_image(file))
    elif path.suffix.lower() in SUFFIXES and path.is_file():
        root, found = path.parent, [path]
    elif path.is_file():
        root, found = path.parent, _listed(path)
    else:
        raise UserError(f"{path} does not exist; give an image, a folder, or a text file of paths")
    if not found:
        raise UserError(f"{path} holds no image ({' '.join(SUFFIXES)})")
    return _named(root, found)


def write(path: Path, image: np.ndarray, *below: np.ndarray) -> None:
    """Save (H, W, 3) RGB or (H, W) uint8 or uint16 in the format of the suffix, whole or not at all.

    Args:
        below: what the file is to show below the image, of its width, channels and type, such as a legend. Of an image
            as large as the memory allows, this spares the copy that putting them together beforehand would take.

    Raises:
        UserError: no such format, or the file cannot be written.
    """
    try:
        done, data = cv2.imencode(path.suffix, _for_opencv(image, *below))
    except cv2.error:  # a suffix that it does not know
        done, data = False, None
    if not done:
        raise UserError(f"{path}: this image cannot be written as {path.suffix or 'a file without suffix'}")
    with replacing(path) as draft:
        draft.write_bytes(data)


def write_label(path: Path, label: np.ndarray, colors: Sequence[Color]) -> None:
    """Save (H, W) as PNG; bytes get a palette: the values are kept, and show in these colours."""
    if label.dtype != np.uint8:
        write(path, label)
        return
    image = Image.fromarray(label)
    image.putpalette(np.array(colors, np.uint8).tobytes())
    with replacing(path) as draft:
        image.save(draft, "PNG")


def write_map(folder: Path, source: Source, label: np.ndarray, colors: Sequence[Color]) -> Path:
    """The label map of a source: STEM.png, or of a GeoTIFF STEM.tif with its coordinates. Returns which it was.

    Without colours, a PNG is grey.
    """
    place = None
    try:
        place = geotiff.coordinates(source.path)
    except UserError as error:  # no rasterio
        say(f"its coordinates are not kept: {error}")
    path = folder / f"{source.stem}{'.tif' if place else '.png'}"
    if place is None:
        write_label(path, label, colors) if colors else write(path, label)
    else:
        geotiff.write_label(path, label, colors, place)
    return path


def _for_opencv(*parts: np.ndarray) -> np.ndarray:
    """The parts one below the other, RGB as BGR: a copy of an image in colour, which OpenCV cannot do without."""
    if parts[0].ndim == 2:
        return np.vstack(parts) if len(parts) > 1 else parts[0]
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    top = 0
    for part in parts:
        cv2.cvtColor(part, cv2.COLOR_RGB2BGR, dst=whole[top : top + len(part)])
        top += len(part)
    return whole


def _checked(pixels: np.ndarray, channels: int) -> np.ndarray:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise UserError(f"an image of shape {pixels.shape} and type {pixels.dtype}: give (H, W, {channels}) uint8, RGB")
    if channels == 1:
        return (
            cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.shape[2:] == (3,) else pixels.reshape(pixels.shape[:2])
        )
    if pixels.ndim == 2 and channels == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if pixels.shape[2:] != (channels,):
        raise UserError(f"an image of shape {pixels.shape}: this network takes (H, W, {channels})")
    return pixels


def _as_stored(pixels: np.ndarray, name: str, channels: int, dtype: str) -> np.ndarray:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    found = 1 if pixels.ndim == 2 else pixels.shape[2] if pixels.ndim == 3 else 0
    if (found, pixels.dtype.name) != (channels, dtype) or 0 in pixels.shape:
        raise UserError(f"{name}: shape {pixels.shape} and type {pixels.dtype}, and {_taken(channels, dtype)}")
    bands.check_values(pixels, name)
    return pixels


def _taken(channels: int, dtype: str) -> str:
    return f"this network takes {channels} channels of {dtype}, as it was trained on"


def _decoded(data: bytes, name: str, channels: int) -> np.ndarray:
    if channels not in (1, 3):
        raise UserError(f"{name}: this network takes {channels} channels, and its config has no NormalizeBands")
    lost = bands.loss(io.BytesIO(data))
    if lost:
        raise UserError(f"{name}: {lost} would be lost: {LOST}")
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag) if data else None
    except cv2.error as error:  # more pixels than OpenCV admits
        raise UserError(f"{name}: {error.err}") from None
    if pixels is None or not _is_whole(data):
        raise UserError(f"{name}: not an image, or a damaged one ({len(data)} bytes)")
    return pixels if channels == 1 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _is_whole(data: bytes) -> bool:
    """OpenCV fills what is missing with grey. A file without its format's end goes to Pillow, which complains."""
    end = next((end for begin, end in _ENDS.items() if data.startswith(begin)), b"")
    if end in data[-64:]:
        return True
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True


def _is_image(file: Path) -> bool:
    hidden = any(part.startswith(".") for part in (file.name, file.parent.name))
    return file.suffix.lower() in SUFFIXES and not hidden and file.is_file()


def _listed(path: Path) -> list[Path]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        kinds = f"an image ({' '.join(SUFFIXES)}), a video ({' '.join(video.SUFFIXES)}) nor a text file of paths"
        raise UserError(f"{path} is neither {kinds}") from None
    return list(dict.fromkeys(_first_of_line(path.parent, line) for line in lines))


def _first_of_line(folder: Path, line: str) -> Path:
    names = (line, line.split("\t")[0], line.split()[0])
    found = [folder / name for name in names]
    return next((file for file in found if file.is_file()), found[1] if "\t" in line else found[2])


def _named(root: Path, found: list[Path]) -> list[Source]:
    sources: list[Source] = []
    taken: set[str] = set()
    for path in found:
        name = _below(root, path)
        stem = os.path.splitext(name)[0]
        if stem in taken:
            stem = name
        while stem in taken:
            stem += "_"
        taken.add(stem)
        sources.append(Source(path, name, stem))
    return sources


def _below(root: Path, path: Path) -> str:
    """The path from `root`; outside it, the whole path without its root: it must stay below an output folder."""
    path, root = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    with contextlib.suppress(ValueError):
        return path.relative_to(root).as_posix()
    return path.relative_to(path.anchor).as_posix()
