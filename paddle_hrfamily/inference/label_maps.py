"""What `predict` writes: overlays, colour maps and raw labels of images, or an overlay video."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from paddle import distributed

from hrfamily_deploy.imaging import bands, image_files
from hrfamily_deploy.imaging.confidence import Classes, to_file, unsure_number
from hrfamily_deploy.imaging.video import Video, video_writer
from hrfamily_deploy.polygons import PolygonFiles, Polygons
from hrfamily_deploy.progress import progress, say
from paddle_hrfamily.data.classes import ClassTable
from paddle_hrfamily.errors import UserError
from paddle_hrfamily.inference.prediction import Answer
from paddle_hrfamily.visualization import drawing

# The first two are PaddleSeg's names.
OVERLAYS, COLOR_MAPS, LABELS = "added_prediction", "pseudo_color_prediction", "label"
CONFIDENCE, POLYGONS = "confidence", "polygons"
_LEGEND_CLASSES = 32  # a video's legend is the same in all frames, so it can only name this many

Result = TypeVar("Result")
Read = Callable[[Path], np.ndarray]
Predict = Callable[[np.ndarray], Answer]  # of an image (H, W, 3), RGB uint8


@dataclass(frozen=True)
class OverlayStyle:
    """How overlays look: the classes, the colours' opacity (0..1), whether there is a legend, and whether pixels may be
    unsure."""

    table: ClassTable
    opacity: float = 0.4
    legend: bool = True
    unsure: bool = False

    @property
    def classes(self) -> Classes:
        """What the numbers in label maps stand for."""
        names, colors = self.table.names, self.table.colors
        return Classes(names, colors, unsure_number(len(names)) if self.unsure else None)

    @property
    def shown(self) -> ClassTable:
        """The classes as they are drawn and counted."""
        return ClassTable(self.classes.shown.names, self.classes.shown.colors)

    def overlay(self, image: np.ndarray, label: np.ndarray) -> np.ndarray:
        label, shown = self.classes.numbered(label), self.shown
        drawn = drawing.overlay(image, label, shown, self.opacity)
        return drawing.with_legend(drawn, shown, drawing.shares(label, shown)) if self.legend else drawn

    def frame(self, image: np.ndarray, label: np.ndarray) -> np.ndarray:
        """An overlay whose legend does not depend on the label, so that all frames are of one size."""
        drawn = drawing.overlay(image, self.classes.numbered(label), self.shown, self.opacity)
        if self.legend and len(self.table) <= _LEGEND_CLASSES:
            drawn = drawing.with_legend(drawn, self.shown)
        return drawn[: drawn.shape[0] // 2 * 2, : drawn.shape[1] // 2 * 2]  # the codec wants even sizes


def predict_images(
    sources: list[image_files.Source],
    predict: Predict,
    style: OverlayStyle,
    folder: Path,
    read: Read = image_files.decode,
    *,
    confidence: bool = False,
    polygons: Polygons | None = None,
) -> int:
    """Write three files an image below `folder`, and print the class shares. Returns 1 if some had to be left out.

    `read` makes of a file what `predict` takes; the labels of a GeoTIFF are a GeoTIFF at its place.

    Args:
        confidence: whether it is written, as grey PNG of 16 bits in which 65535 is 1; `predict` has to give it.
        polygons: what polygons of the label maps are to be like; None for none.

    Raises:
        UserError: none of them can be read, or polygons are asked of several processes.
    """
    if polygons and distributed.get_world_size() > 1:
        raise UserError("--polygons are written by one process; run predict without paddle.distributed.launch")
    outlines = PolygonFiles(polygons, folder / POLYGONS, style.classes) if polygons else None

    def work(source: image_files.Source) -> np.ndarray:
        label, values = _predict_one(source, predict, style, folder, read)
        if confidence and values is not None:
            image_files.write(folder / CONFIDENCE / f"{source.stem}.png", to_file(values))
        if outlines:
            outlines.add(source.path, source.name, source.stem, label)
        return _count(label, style)

    pixels, bad = each_image(sources, work)
    if outlines:
        outlines.finish()
    print(_share_table(sum(pixels, np.zeros(len(style.shown), np.int64)), style.shown))
    places = {OVERLAYS: "overlays", COLOR_MAPS: "colour maps", LABELS: "class numbers"}
    places |= ({CONFIDENCE: "confidence"} if confidence else {}) | ({POLYGONS: "polygons"} if polygons else {})
    for name, what in places.items():
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
    pixels, frames = np.zeros(len(style.shown), np.int64), 0
    path = folder / OVERLAYS / f"{video.name}.mp4"
    with video_writer(path, video.fps) as writer:
        for frame in progress(video, "predicting", video.length or None, unit="frame"):
            label, _ = predict(frame)
            writer.add(style.frame(frame, label))
            pixels += _count(label, style)
            frames += 1
    print(_share_table(pixels, style.shown))
    print(f"{path} has {frames} frames at {video.fps:g} a second")
    if frames < video.length:
        print(f"{video.source} breaks off: its header promises {video.length} frames")
    return int(frames < video.length)


def _predict_one(source: image_files.Source, predict: Predict, style: OverlayStyle, folder: Path, read: Read) -> Answer:
    image = read(source.path)
    label, values = predict(image)
    label = label.astype(np.uint8 if len(style.table) <= (255 if style.unsure else 256) else np.uint16)
    color_map = folder / COLOR_MAPS / f"{source.stem}.png"
    if label.dtype == np.uint8:
        image_files.write_label(color_map, label, style.classes.palette())
    else:
        image_files.write(color_map, drawing.color_map(style.classes.numbered(label), style.shown))
    image_files.write_map(folder / LABELS, source, label, ())
    image_files.write(folder / OVERLAYS / source.name, style.overlay(bands.visible(image), label))
    return label, values


def _count(label: np.ndarray, style: OverlayStyle) -> np.ndarray:
    return np.bincount(style.classes.numbered(label).ravel(), minlength=len(style.shown))


def _share_table(pixels: np.ndarray, table: ClassTable) -> str:
    order = [index for index in pixels.argsort()[::-1] if pixels[index] > 0]
    return "\n".join(f"{table.names[index]:<20} {pixels[index] / pixels.sum():7.2%}" for index in order)
