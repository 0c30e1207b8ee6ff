"""Pictures and videos in and out of files and bytes, always RGB."""

from __future__ import annotations

import contextlib
import io
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

import cv2
import numpy as np
from errors import UserError
from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
Picture = Union[str, Path, bytes, np.ndarray]  # a path, a file's content, or (H, W, 3) RGB or (H, W) grey uint8

_FALLBACK_FPS = 25.0
_STRIP = 512  # rows at a time
_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND\xaeB`\x82"}  # how a whole file of that beginning ends


@dataclass(frozen=True)
class Source:
    """A picture's file, and its name below the folder or list that named it, unlike all others' even without suffix."""

    path: Path
    name: str


def decode(picture: Picture, channels: int) -> np.ndarray:
    """(H, W, 3) RGB uint8, or (H, W) grey where the network takes one channel, turned as EXIF data says.

    Raises:
        UserError: no picture, a damaged one, or an array that is none.
    """
    if isinstance(picture, np.ndarray):
        return _checked(picture, channels)
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return _decoded(bytes(picture), "these bytes", channels)
    try:
        return _decoded(Path(picture).read_bytes(), str(picture), channels)
    except OSError as error:
        raise UserError(f"{picture}: {error.strerror}") from None


def find(path: Path) -> list[Source]:
    """A picture itself, all pictures below a folder, or those a text file lists, one a line, from its own folder.

    PaddleSeg's lists of "image label" do as well: where no file has the line's name, its first word counts.

    Raises:
        UserError: no such path, or no picture there.
    """
    if path.is_dir():
        root, found = path, sorted(file for file in path.rglob("*") if _is_picture(file))
    elif path.suffix.lower() in SUFFIXES and path.is_file():
        root, found = path.parent, [path]
    elif path.is_file():
        root, found = path.parent, _listed(path)
    else:
        raise UserError(f"{path} does not exist; give a picture, a folder, a text file of paths, a video or a webcam")
    if not found:
        raise UserError(f"{path} holds no picture ({' '.join(SUFFIXES)})")
    return _named(root, found)


def write(path: Path, pixels: np.ndarray) -> None:
    """Save (H, W, 3) RGB or (H, W) uint8 or uint16 in the format of the suffix, whole or not at all.

    RGB is turned to OpenCV's BGR where it stands: of a very large picture there is no room for a copy.
    """
    if pixels.ndim == 3:
        for row in range(0, len(pixels), _STRIP):
            pixels[row : row + _STRIP] = pixels[row : row + _STRIP, :, ::-1]
    try:
        done, data = cv2.imencode(path.suffix, pixels)
    except cv2.error:  # a suffix that it does not know
        done, data = False, None
    if not done:
        raise UserError(f"{path}: this picture cannot be written as {path.suffix or 'a file without suffix'}")
    with replacing(path) as draft:
        draft.write_bytes(data)


def write_label(path: Path, label: np.ndarray, colors: Sequence[tuple[int, int, int]]) -> None:
    """Save (H, W) as PNG; bytes get a palette: the values are kept, and show in these colours."""
    if label.dtype != np.uint8:
        write(path, label)
        return
    image = Image.fromarray(label)
    image.putpalette(np.array(colors, np.uint8).tobytes())
    with replacing(path) as draft:
        image.save(draft, "PNG")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its name at the end, and is removed if something fails.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    draft = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        draft.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


class Video:
    """The frames of a video file or of a webcam (its index), (H, W, 3) RGB uint8, with `name`, `fps` and `length`.

    `length` is the number of frames as the file's header says, 0 if unknown.

    Raises:
        UserError: nothing there, or no frame that can be read.
    """

    def __init__(self, source: Path | int) -> None:
        if isinstance(source, Path) and not source.is_file():
            raise UserError(f"{source} does not exist")
        self.name = f"webcam{source}" if isinstance(source, int) else source.stem
        self._capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
        self._opened, self._frame = self._capture.read() if self._capture.isOpened() else (False, None)
        if not self._opened:
            missing = "there is no such webcam, or another program has it"
            damaged = f"not a video that OpenCV reads, or a damaged one; try: ffmpeg -i {source} fixed.mp4"
            raise UserError(f"webcam {source}: {missing}" if isinstance(source, int) else f"{source}: {damaged}")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else _FALLBACK_FPS
        self.length = 0 if isinstance(source, int) else max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            while self._opened:
                yield cv2.cvtColor(self._frame, cv2.COLOR_BGR2RGB)
                self._opened, self._frame = self._capture.read()
        finally:
            self._capture.release()


@contextlib.contextmanager
def video_writer(path: Path, fps: float) -> Iterator[_Writer]:
    """`add` frames of one size, (H, W, 3) RGB; the MPEG-4 file takes its name when the `with` ends well."""
    with replacing(path) as draft:
        writer = _Writer(draft, fps)
        try:
            yield writer
        finally:
            writer.close()


class _Writer:
    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps, self._sink = path, fps, None

    def add(self, frame: np.ndarray) -> None:
        if self._sink is None:
            codec = cv2.VideoWriter_fourcc(*"mp4v")
            self._sink = cv2.VideoWriter(str(self._path), codec, self._fps, frame.shape[1::-1])
            if not self._sink.isOpened():
                raise UserError(f"{self._path}: this OpenCV cannot write MPEG-4 video")
        self._sink.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        if self._sink is not None:
            self._sink.release()


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


def _decoded(data: bytes, name: str, channels: int) -> np.ndarray:
    if channels not in (1, 3):
        raise UserError(f"{name}: picture files have 1 or 3 channels and this network takes {channels}; give arrays")
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag) if data else None
    except cv2.error as error:  # more pixels than OpenCV admits
        raise UserError(f"{name}: {error.err}") from None
    if pixels is None or not _is_whole(data):
        raise UserError(f"{name}: not a picture, or a damaged one ({len(data)} bytes)")
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


def _is_picture(file: Path) -> bool:
    hidden = any(part.startswith(".") for part in (file.name, file.parent.name))
    return file.suffix.lower() in SUFFIXES and not hidden and file.is_file()


def _listed(path: Path) -> list[Path]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        kinds = f"a picture ({' '.join(SUFFIXES)}), a video ({' '.join(VIDEO_SUFFIXES)}) nor a text file of paths"
        raise UserError(f"{path} is neither {kinds}") from None
    whole = [path.parent / line for line in lines]
    first = [path.parent / line.split()[0] for line in lines]
    return list(dict.fromkeys(a if a.is_file() else b for a, b in zip(whole, first)))


def _named(root: Path, found: list[Path]) -> list[Source]:
    sources, taken = [], set()
    for path in found:
        name = _below(root, path)
        stem, suffix = os.path.splitext(name)
        if stem in taken:
            stem = name
        while stem in taken:
            stem += "_"
        taken.add(stem)
        sources.append(Source(path, stem + suffix))
    return sources


def _below(root: Path, path: Path) -> str:
    """The path from `root`; outside it, the whole path without its root: it must stay below an output folder."""
    path, root = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    with contextlib.suppress(ValueError):
        return path.relative_to(root).as_posix()
    return path.relative_to(path.anchor).as_posix()
