"""What `predict` writes: overlays, colour maps and raw labels of images, or an overlay video."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from paddle import distributed

from hrfamily_deploy.imaging import image_files
from hrfamily_deploy.imaging.video import Video, video_writer
from hrfamily_deploy.progress import progress, say
from paddle_hrfamily.data.classes import ClassTable
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.visualization import drawing

# The first two are PaddleSeg's names.
OVERLAYS, COLOR_MAPS, LABELS = "added_prediction", "pseudo_color_prediction", "label"
_LEGEND_CLASSES = 32  # a video's legend is the same in all frames, so it can only name this many

Result = TypeVar("Result")
Predict = Callable[[np.ndarray], np.ndarray]  # image (H, W, 3), RGB uint8 -> label map (H, W)


@dataclass(frozen=True)
class OverlayStyle:
    """How overlays look: the classes, the colours' opacity (0..1), and whether there is a legend."""

    table: ClassTable
    opacity: float = 0.4
    legend: bool = True

    def overlay(self, image: np.ndarray, label: np.ndarray) -> np.ndarray:
        drawn = drawing.overlay(image, label, self.table, self.opacity)
        return drawing.with_legend(drawn, self.table, drawing.shares(label, self.table)) if self.legend else drawn

    def frame(self, image: np.ndarray, label: np.ndarray) -> np.ndarray:
        """An overlay whose legend does not depend on the label, so that all frames are of one size."""
        drawn = drawing.overlay(image, label, self.table, self.opacity)
        if self.legend and len(self.table) <= _LEGEND_CLASSES:
            drawn = drawing.with_legend(drawn, self.table)
        return drawn[: drawn.shape[0] // 2 * 2, : drawn.shape[1] // 2 * 2]  # the codec wants even sizes


def predict_images(sources: list[image_files.Source], predict: Predict, style: OverlayStyle, folder: Path) -> int:
    """Write three files an image below `folder`, and print the class shares. Returns 1 if some had to be left out.

    Raises:
        UserError: none of them can be read.
    """
    pixels, bad = each_image(sources, lambda source: _predict_one(source, predict, style, folder))
    print(_share_table(sum(pixels, np.zeros(len(style.table), np.int64)), style.table))
    for name, what in ((OVERLAYS, "overlays"), (COLOR_MAPS, "colour maps"), (LABELS, "class numbers")):
        print(f"{what:<20} {folder / name}")
    return say_left_out(bad, len(pixels))


def each_image(
    sources: list[image_files.Source], work: Callable[[image_files.Source], Result]
) -> tuple[list[Result], list[UserError]]:
    """What `work` makes of this process's share of the images, and why it makes nothing of some.

    Raises:
        UserError: it makes something of none.
    """
    mine = sources[distributed.get_rank() :: distributed.get_world_size()]
    results: list[Result] = []
    bad: list[UserError] = []
    for source in progress(mine, "predicting"):
        try:
            results.append(work(source))
        except UserError as error:
            bad.append(error)
            say(f"left out: {error}", sys.stdout)
    if bad and not results:
        raise UserError(f"none of {len(mine)} images could be predicted: {bad[0]}")
    return results, bad


def say_left_out(bad: list[UserError], done: int) -> int:
    """Print why images were left out beside those that are done; the exit status, 1 if there are any."""
    if bad:
        print(f"{len(bad)} of {len(bad) + done} images were left out:", *bad, sep="\n  ")
    return int(bool(bad))


def predict_video(video: Video, predict: Predict, style: OverlayStyle, folder: Path) -> int:
    """Write the overlay video, and print the class shares. Returns 1 if the video breaks off before its end."""
    pixels, frames = np.zeros(len(style.table), np.int64), 0
    path = folder / OVERLAYS / f"{video.name}.mp4"
    with video_writer(path, video.fps) as writer:
        for frame in progress(video, "predicting", video.length or None, unit="frame"):
            label = predict(frame)
            writer.add(style.frame(frame, label))
            pixels += _count(label, style.table)
            frames += 1
    print(_share_table(pixels, style.table))
    print(f"{path} has {frames} frames at {video.fps:g} a second")
    if frames < video.length:
        print(f"{video.source} breaks off: its header promises {video.length} frames")
    return int(frames < video.length)


def _predict_one(source: image_files.Source, predict: Predict, style: OverlayStyle, folder: Path) -> np.ndarray:
    image = image_files.decode(source.path)
    label = predict(image).astype(np.uint8 if len(style.table) <= 256 else np.uint16)
    color_map = folder / COLOR_MAPS / f"{source.stem}.png"
    if label.dtype == np.uint8:
        image_files.write_label(color_map, label, style.table.colors)
    else:
        image_files.write(color_map, drawing.color_map(label, style.table))
    image_files.write(folder / LABELS / f"{source.stem}.png", label)
    image_files.write(folder / OVERLAYS / source.name, style.overlay(image, label))
    return _count(label, style.table)


def _count(label: np.ndarray, table: ClassTable) -> np.ndarray:
    return np.bincount(label.ravel(), minlength=len(table))


def _share_table(pixels: np.ndarray, table: ClassTable) -> str:
    order = [index for index in pixels.argsort()[::-1] if pixels[index] > 0]
    return "\n".join(f"{table.names[index]:<20} {pixels[index] / pixels.sum():7.2%}" for index in order)
