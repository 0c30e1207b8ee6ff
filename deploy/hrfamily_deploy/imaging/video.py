"""Videos in and out of files, frame by frame, always RGB."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.files import replacing

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")

_FALLBACK_FPS = 25.0


class Video:
    """The frames of a video file or of a webcam (its index), (H, W, 3) RGB uint8 each.

    Attributes:
        source: the file or the index.
        name: for files made from it: the file's name without suffix, or "webcam0".
        fps: frames a second, 25 where the source does not tell.
        length: the number of frames as the file's header says, 0 if unknown.

    Raises:
        UserError: nothing there, or no frame that can be read.
    """

    def __init__(self, source: Path | int) -> None:
        if isinstance(source, Path) and not source.is_file():
            raise UserError(f"{source} does not exist")
        self.source = source
        self.name = f"webcam{source}" if isinstance(source, int) else source.stem
        self._capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
        self._opened: bool
        self._frame: np.ndarray | None
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


class VideoWriter:
    """An MPEG-4 file that is being written; the first frame says of which size the others are."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path, fps
        self._sink: cv2.VideoWriter | None = None

    def add(self, frame: np.ndarray) -> None:
        """Append (H, W, 3) RGB uint8.

        Raises:
            UserError: this OpenCV cannot write MPEG-4.
        """
        if self._sink is None:
            codec = cv2.VideoWriter_fourcc(*"mp4v")
            self._sink = cv2.VideoWriter(str(self._path), codec, self._fps, frame.shape[1::-1])
            if not self._sink.isOpened():
                raise UserError(f"{self._path}: this OpenCV cannot write MPEG-4 video")
        self._sink.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        if self._sink is not None:
            self._sink.release()


@contextlib.contextmanager
def video_writer(path: Path, fps: float) -> Iterator[VideoWriter]:
    """A writer whose file takes the name `path` when the `with` ends well.

    Raises:
        UserError: the file cannot be written.
    """
    with replacing(path) as draft, contextlib.closing(VideoWriter(draft, fps)) as writer:
        yield writer
