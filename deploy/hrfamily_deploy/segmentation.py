"""Images or a video, from files to files: label maps, overlays with a legend, and the share of each class."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, tee
from pathlib import Path
from typing import Optional

import numpy as np

from hrfamily_deploy import tiling
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.files import replacing
from hrfamily_deploy.imaging import drawing, image_files
from hrfamily_deploy.imaging.image_files import Source
from hrfamily_deploy.imaging.preprocess import Prepared
from hrfamily_deploy.imaging.video import Video, video_writer
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.progress import progress, say

OVERLAYS, LABELS, SHARES = "overlay", "labels", "shares.json"
_MOST_PIXELS = 40_000_000  # in one run; networks need up to 100 bytes and more for each
Readable = tuple[Source, np.ndarray, Optional[Prepared]]  # an image that can be run; prepared unless cut in tiles
Labelled = tuple[Source, np.ndarray, np.ndarray]  # an image and its label map


@dataclass(frozen=True)
class Results:
    """Where results are written, and how overlays look.

    Attributes:
        folder: gets labels/, overlay/ and shares.json.
        overlays: whether they are drawn.
        legend: whether there is one below each overlay.
        opacity: of an overlay's colours, 0..1.
    """

    folder: Path
    overlays: bool = True
    legend: bool = True
    opacity: float = 0.4

    def draw(
        self, predictor: Predictor, image: np.ndarray, label: np.ndarray, share: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """The overlay of an image (H, W, 3), drawn into it, and the legend to be put below it, if there is to be one.

        With `share`, (K,), the legend has per cents.
        """
        names, colors = predictor.bundle.class_names, predictor.bundle.class_colors
        drawn = drawing.overlay(image, label, colors, self.opacity)
        if not self.legend:
            return [drawn]
        drawn = drawing.magnified(drawn)
        return [drawn, drawing.legend(names, colors, drawn.shape[1], share)]

    def write_shares(self, predictor: Predictor, pixels: np.ndarray, **more: object) -> None:
        """Write shares.json: the shares of all pixels together, and what else there is to say; arrays are shares."""
        names = predictor.bundle.class_names

        def named(share: np.ndarray) -> dict[str, float]:
            return {names[index]: round(float(share[index]), 6) for index in np.flatnonzero(share)}

        content = {"shares": pixels / max(1, pixels.sum()), **more}
        with replacing(self.folder / SHARES) as draft:
            draft.write_text(json.dumps(content, indent=1, default=named, ensure_ascii=False), encoding="utf-8")


@dataclass(frozen=True)
class Summary:
    """What was done.

    Attributes:
        pixels: (K,) of each class, in all images together.
        done: images or frames that were segmented.
        missing: images that were left out, or frames that the video's header promises and that do not come.
    """

    pixels: np.ndarray
    done: int
    missing: int


def segment_images(
    sources: list[Source], predictor: Predictor, results: Results, tile: int = 0, overlap: int = 128
) -> Summary:
    """Write a label map and an overlay of each image, and the shares. Those that cannot be read are left out.

    Args:
        tile: side of the tiles in pixels; 0 for whole images.
        overlap: pixels that neighbouring tiles share.

    Raises:
        UserError: no image could be segmented, or the network cannot work by such tiles.
    """
    if tile:
        tiling.check(predictor, tile, overlap)
    run = _ImageRun(predictor, tile, overlap)
    images, pixels = [], np.zeros(len(predictor.bundle.class_names))
    for source, image, label in run.labelled(progress(sources, "segmenting")):
        share = drawing.shares(label, len(pixels))
        pixels += share * label.size
        images.append({"name": source.unique_name, "height": label.shape[0], "width": label.shape[1], "shares": share})
        image_files.write_label(results.folder / LABELS / f"{source.stem}.png", label, predictor.bundle.class_colors)
        if results.overlays:
            drawn = results.draw(predictor, image, label, share)
            image_files.write(results.folder / OVERLAYS / source.unique_name, *drawn)
    if not images:
        raise UserError(f"none of {len(sources)} images could be segmented: {run.left_out[0]['reason']}")
    results.write_shares(predictor, pixels, pictures=images, left_out=run.left_out)
    return Summary(pixels, len(images), len(run.left_out))


def segment_video(video: Video, predictor: Predictor, results: Results, most_frames: int | None = None) -> Summary:
    """Write the video under its classes' colours, and the shares. Ctrl-C ends it, which is how a webcam is stopped."""
    frames, pixels = 0, np.zeros(len(predictor.bundle.class_names))
    promised = min(video.length, most_frames or video.length)
    running, shown = tee(islice(video, most_frames))
    path = results.folder / OVERLAYS / f"{video.name}.mp4"
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(video_writer(path, video.fps)) if results.overlays else None
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        pairs = zip(predictor.predict_each(running), shown)
        for label, frame in progress(pairs, "segmenting", promised or most_frames, unit="frame"):
            frames += 1
            pixels += drawing.shares(label, len(pixels)) * label.size
            if writer:
                writer.add(np.vstack(results.draw(predictor, frame, label)))
    results.write_shares(predictor, pixels, frames=frames, frames_per_second=video.fps)
    return Summary(pixels, frames, max(0, promised - frames))


class _ImageRun:
    """From sources to label maps; why some are left out goes to `left_out`."""

    def __init__(self, predictor: Predictor, tile: int, overlap: int) -> None:
        self._predictor, self._tile, self._overlap = predictor, tile, overlap
        self.left_out: list[dict[str, str]] = []

    def labelled(self, sources: Iterable[Source]) -> Iterator[Labelled]:
        """Each image that can be read, with its labels."""
        readable = self._readable(sources)
        if self._tile:
            yield from self._by_tiles(readable)
            return
        running, shown = tee(readable)
        labels = self._predictor.predict_prepared(item for _, _, item in running if item)
        for label, (source, image, _) in zip(labels, shown):
            yield source, image, label

    def _by_tiles(self, readable: Iterable[Readable]) -> Iterator[Labelled]:
        for source, image, _ in readable:
            try:
                label = tiling.predict(self._predictor, image, self._tile, self._overlap, show_progress=True)
            except UserError as error:  # it is smaller than a graph's fixed shape
                self._leave_out(source, error)
            else:
                yield source, image, label

    def _readable(self, sources: Iterable[Source]) -> Iterator[Readable]:
        for source in sources:
            try:
                image = image_files.decode(source.path, self._predictor.bundle.channels)
                item = None if self._tile else self._prepared(image)
            except UserError as error:
                self._leave_out(source, error)
            else:
                yield source, image, item

    def _prepared(self, image: np.ndarray) -> Prepared:
        height, width = image.shape[:2]
        if self._predictor.processor.keeps_size and height * width > _MOST_PIXELS:
            raise UserError(f"{width}x{height} pixels are too many for one run; give --tile 1024")
        return self._predictor.prepare(image)

    def _leave_out(self, source: Source, error: UserError) -> None:
        reason = str(error) if str(source.path) in str(error) else f"{source.path}: {error}"
        self.left_out.append({"name": source.unique_name, "reason": reason})
        say(f"left out: {reason}")
