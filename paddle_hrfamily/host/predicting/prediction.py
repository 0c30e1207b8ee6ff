"""What `predict` writes: overlays, colour maps and raw labels of pictures, or an overlay video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from paddle import distributed
from tqdm import tqdm

from paddle_hrfamily.errors import UserError
from paddle_hrfamily.host.classes import ClassTable
from paddle_hrfamily.host.pictures import draw, images

# The first two are PaddleSeg's names.
OVERLAYS, COLOR_MAPS, LABELS = "added_prediction", "pseudo_color_prediction", "label"
_LEGEND_CLASSES = 32  # a video's legend is the same in all frames, so it can only name this many

Result = TypeVar("Result")
Predict = Callable[[np.ndarray], np.ndarray]  # image (H, W, 3), RGB uint8 -> label map (H, W)


@dataclass(frozen=True)
class Drawing:
    """How overlays look: the classes, the colours' opacity (0..1), and whether there is a legend."""

    table: ClassTable
    opacity: float = 0.4
    legend: bool = True

    def overlay(self, image: np.ndarray, label: np.ndarray) -> np.ndarray:
        picture = draw.overlay(image, label, self.table, self.opacity)
        return draw.with_legend(picture, self.table, draw.shares(label, self.table)) if self.legend else picture

    def frame(self, image: np.ndarray, label: np.ndarray) -> np.ndarray:
        """An overlay whose legend does not depend on the label, so that all frames are of one size."""
        picture = draw.overlay(image, label, self.table, self.opacity)
        if self.legend and len(self.table) <= _LEGEND_CLASSES:
            picture = draw.with_legend(picture, self.table)
        return picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]  # the codec wants even sizes


def predict_pictures(sources: list[images.Source], predict: Predict, drawing: Drawing, folder: Path) -> int:
    """Write three files a picture below `folder`, and print the class shares. Returns 1 if some had to be left out.

    Raises:
        UserError: none of them can be read.
    """
    pixels, bad = each_picture(sources, lambda source: _predict_one(source, predict, drawing, folder))
    print(_share_table(sum(pixels, np.zeros(len(drawing.table), np.int64)), drawing.table))
    for name, what in ((OVERLAYS, "overlays"), (COLOR_MAPS, "colour maps"), (LABELS, "class numbers")):
        print(f"{what:<20} {folder / name}")
    return say_left_out(bad, len(pixels))


def each_picture(
    sources: list[images.Source], work: Callable[[images.Source], Result]
) -> tuple[list[Result], list[UserError]]:
    """What `work` makes of this process's share of the pictures, and why it makes nothing of some.

    Raises:
        UserError: it makes something of none.
    """
    mine = sources[distributed.get_rank() :: distributed.get_world_size()]
    results, bad = [], []
    for source in tqdm(mine, "predicting", unit="picture"):
        try:
            results.append(work(source))
        except UserError as error:
            bad.append(error)
            tqdm.write(f"left out: {error}")
    if bad and not results:
        raise UserError(f"none of {len(mine)} pictures could be predicted: {bad[0]}")
    return results, bad


def say_left_out(bad: list[UserError], done: int) -> int:
    """Print why pictures were left out beside those that are done; the exit status, 1 if there are any."""
    if bad:
        print(f"{len(bad)} of {len(bad) + done} pictures were left out:", *bad, sep="\n  ")
    return int(bool(bad))


def predict_video(video: images.Video, predict: Predict, drawing: Drawing, folder: Path) -> int:
    """Write the overlay video, and print the class shares. Returns 1 if the video breaks off before its end."""
    pixels, frames = np.zeros(len(drawing.table), np.int64), 0
    path = folder / OVERLAYS / f"{video.path.stem}.mp4"
    with images.video_writer(path, video.fps) as writer:
        for frame in tqdm(video, "predicting", video.length or None, unit="frame"):
            label = predict(frame)
            writer.add(drawing.frame(frame, label))
            pixels += _count(label, drawing.table)
            frames += 1
    print(_share_table(pixels, drawing.table))
    print(f"{path} has {frames} frames at {video.fps:g} a second")
    if frames < video.length:
        print(f"{video.path} breaks off: its header promises {video.length} frames")
    return int(frames < video.length)


def _predict_one(source: images.Source, predict: Predict, drawing: Drawing, folder: Path) -> np.ndarray:
    image = images.read(source.path)
    label = predict(image).astype(np.uint8 if len(drawing.table) <= 256 else np.uint16)
    color_map = folder / COLOR_MAPS / f"{source.stem}.png"
    if label.dtype == np.uint8:
        images.write_palette(color_map, label, np.array(drawing.table.colors))
    else:
        images.write(color_map, draw.color_map(label, drawing.table))
    images.write(folder / LABELS / f"{source.stem}.png", label)
    images.write(folder / OVERLAYS / source.name, drawing.overlay(image, label))
    return _count(label, drawing.table)


def _count(label: np.ndarray, table: ClassTable) -> np.ndarray:
    return np.bincount(label.ravel(), minlength=len(table))


def _share_table(pixels: np.ndarray, table: ClassTable) -> str:
    order = [index for index in pixels.argsort()[::-1] if pixels[index] > 0]
    return "\n".join(f"{table.names[index]:<20} {pixels[index] / pixels.sum():7.2%}" for index in order)
