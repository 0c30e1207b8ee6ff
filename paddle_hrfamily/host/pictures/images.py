"""Pictures and videos in and out of files, always RGB, always written whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from paddle_hrfamily.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
_FALLBACK_FPS = 25.0


@dataclass(frozen=True)
class Source:
    """A picture to work on.

    Attributes:
        path: where it lies.
        name: its name below the folder or the list that named it, with suffix; no two sources share one.
        stem: the name for files made from it: without suffix, unless another source has the same.
    """

    path: Path
    name: str
    stem: str


def find_sources(path: Path) -> list[Source]:
    """A picture itself, all pictures below a folder, or those that a text file lists, one a line (PaddleSeg's lists
    of "image label" do as well: only the first path counts). A list's paths start from its folder.

    Raises:
        UserError: no such path, or no picture there.
    """
    if path.is_dir():
        folder, found = path, sorted(file for file in path.rglob("*") if _is_picture(file))
    elif path.suffix.lower() in SUFFIXES and path.is_file():
        folder, found = path.parent, [path]
    elif path.is_file():
        folder, found = path.parent, _listed(path)
    else:
        raise UserError(
            f"--image_path {path} does not exist; give a picture, a folder, a text file of paths or a video"
        )
    if not found:
        raise UserError(f"--image_path {path} holds no picture ({' '.join(SUFFIXES)})")
    return _named(folder, found)


def _is_picture(file: Path) -> bool:
    hidden = any(part.startswith(".") for part in (file.name, file.parent.name))
    return file.suffix.lower() in SUFFIXES and not hidden and file.is_file()


def _listed(path: Path) -> list[Path]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(
            f"--image_path {path} is neither a picture ({' '.join(SUFFIXES)}), a video ({' '.join(VIDEO_SUFFIXES)}) "
            f"nor a text file of paths"
        ) from None
    whole = [path.parent / line.strip() for line in lines if line.strip()]
    first = [path.parent / line.split()[0] for line in lines if line.strip()]
    return list(dict.fromkeys(a if a.is_file() else b for a, b in zip(whole, first)))


def _named(folder: Path, found: list[Path]) -> list[Source]:
    sources, taken = [], set()
    for path in found:
        name = _below(folder, path)
        stem = os.path.splitext(name)[0]
        if stem in taken:
            stem = name
        while stem in taken:
            stem += "_"
        taken.add(stem)
        sources.append(Source(path, name, stem))
    return sources


def _below(folder: Path, path: Path) -> str:
    """The path from the folder; outside it, the whole path without its root: it must stay below an output folder."""
    path, folder = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    with contextlib.suppress(ValueError):
        return path.relative_to(folder).as_posix()
    return path.relative_to(path.anchor).as_posix()


def read(path: Path) -> np.ndarray:
    """A picture as (H, W, 3) RGB uint8, turned as its EXIF data says; grey, palette and transparent ones too.

    Raises:
        UserError: no picture, a truncated one, or one that may not be read.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if pixels is None:
        raise UserError(f"{path}: not a picture, or a damaged one ({data.size} bytes)")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def write(path: Path, pixels: np.ndarray) -> None:
    """Save (H, W, 3) RGB or (H, W) uint8 or uint16, in the format of the suffix; folders are made."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    done, data = cv2.imencode(path.suffix, bgr)
    if not done:
        raise UserError(f"{path}: this picture cannot be written as {path.suffix}")
    write_bytes(path, data.tobytes())


def write_palette(path: Path, label: np.ndarray, colors: np.ndarray) -> None:
    """Save (H, W) uint8 as a palette PNG: the values are kept, and show in `colors` (n, 3) uint8."""
    image = Image.fromarray(label)
    image.putpalette(colors.astype(np.uint8).tobytes())
    data = io.BytesIO()
    image.save(data, "PNG")
    write_bytes(path, data.getvalue())


def write_bytes(path: Path, data: bytes) -> None:
    with replacing(path) as draft:
        draft.write_bytes(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its name at the end, and is removed if something fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


class Video:
    """A video's frames, (H, W, 3) RGB uint8 each, with `fps` and `length` (frames as its header says, 0 if unknown).

    Raises:
        UserError: the file is missing, or has no frame that can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise UserError(f"--image_path {path} does not exist")
        self._capture = cv2.VideoCapture(str(path))
        self._opened, self._frame = self._capture.read() if self._capture.isOpened() else (False, None)
        if not self._opened:
            raise UserError(f"{path}: not a video that OpenCV reads, or a damaged one; try: ffmpeg -i {path} fixed.mp4")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else _FALLBACK_FPS
        self.length = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            while self._opened:
                yield cv2.cvtColor(self._frame, cv2.COLOR_BGR2RGB)
                self._opened, self._frame = self._capture.read()
        finally:
            self._capture.release()


@contextlib.contextmanager
def video_writer(path: Path, fps: float) -> Iterator[_Writer]:
    """`add` frames of one size; the file takes its name when the `with` ends well."""
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
        height, width = frame.shape[:2]
        if self._sink is None:
            codec = cv2.VideoWriter_fourcc(*"mp4v")
            self._sink = cv2.VideoWriter(str(self._path), codec, self._fps, (width, height))
            if not self._sink.isOpened():
                raise UserError(f"{self._path}: this OpenCV cannot write MPEG-4 video")
        self._sink.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        if self._sink is not None:
            self._sink.release()
