"""Images or a video, from files to files: label maps, overlays with a legend, and the share of each class."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, tee
from pathlib import Path
from typing import Optional

import numpy as np

from hrfamily_deploy import tiling, windows
from hrfamily_deploy.bundle import Bundle
from hrfamily_deploy.errors import UserError
from hrfamily_deploy.files import Unwritable, replacing
from hrfamily_deploy.imaging import bands, drawing, image_files
from hrfamily_deploy.imaging.confidence import MEASURES, Classes, marked, to_file
from hrfamily_deploy.imaging.image_files import Source
from hrfamily_deploy.imaging.preprocess import Prepared
from hrfamily_deploy.imaging.video import Video, video_writer
from hrfamily_deploy.polygons import PolygonFiles, Polygons
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.progress import progress, say

OVERLAYS, LABELS, SHARES = "overlay", "labels", "shares.json"
CONFIDENCE, POLYGONS = "confidence", "polygons"
_MOST_PIXELS = 40_000_000  # in one run; networks need up to 100 bytes and more for each
Readable = tuple[Source, np.ndarray, Optional[Prepared]]  # an image that can be run; prepared unless cut in tiles
Answered = tuple[Source, np.ndarray, tuple[np.ndarray, ...]]  # an image and what the predictor gave of it


@dataclass(frozen=True)
class Results:
    """What is written where, and how overlays look.

    Attributes:
        folder: gets labels/, overlay/ and shares.json, and confidence/ and polygons/ if asked for.
        overlays: whether they are drawn.
        legend: whether there is one below each overlay.
        opacity: of an overlay's colours, 0..1.
        confidence: whether it is written, as grey PNG of 16 bits in which 65535 is 1.
        measure: of confidence: one of `imaging.confidence.MEASURES`.
        unsure: pixels on the wrong side of it have `imaging.confidence.unsure_number`; None for none.
        polygons: what polygons of the label maps are to be like; None for none.
    """

    folder: Path
    overlays: bool = True
    legend: bool = True
    opacity: float = 0.4
    confidence: bool = False
    measure: str = MEASURES[0]
    unsure: float | None = None
    polygons: Polygons | None = None

    def outputs(self) -> tuple[str, ...]:
        """What the predictor has to give."""
        return ("labels", self.measure) if self.confidence or self.unsure is not None else ("labels",)

    def classes(self, bundle: Bundle) -> Classes:
        """What the numbers in label maps stand for."""
        return Classes.of(bundle.class_names, bundle.class_colors, self.unsure)

    def label(self, answer: Sequence[np.ndarray], bundle: Bundle) -> np.ndarray:
        """The label map of what the predictor gave, with its unsure pixels."""
        if self.unsure is None:
            return answer[0]
        return marked(answer[0], answer[1], self.measure, self.unsure, len(bundle.class_names))

    def draw(
        self, bundle: Bundle, image: np.ndarray, label: np.ndarray, share: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """The overlay of an image (H, W, 3), drawn into it, and the legend to be put below it, if there is to be one.

        With `share`, (K,), the legend has per cents.
        """
        classes = self.classes(bundle)
        drawn = drawing.overlay(image, classes.numbered(label), classes.shown.colors, self.opacity)
        if not self.legend:
            return [drawn]
        drawn = drawing.magnified(drawn)
        return [drawn, drawing.legend(classes.shown.names, classes.shown.colors, drawn.shape[1], share)]

    def write_shares(self, names: tuple[str, ...], pixels: np.ndarray, **more: object) -> None:
        """Write shares.json: the shares of all pixels together, and what else there is to say; arrays are shares."""

        def named(share: np.ndarray) -> dict[str, float]:
            return {names[index]: round(float(share[index]), 6) for index in np.flatnonzero(share)}

        content = {"shares": pixels / max(1, pixels.sum()), **more}
        with replacing(self.folder / SHARES) as draft:
            draft.write_text(json.dumps(content, indent=1, default=named, ensure_ascii=False), encoding="utf-8")


@dataclass(frozen=True)
class Summary:
    """What was done.

    Attributes:
        names: of the K classes, unsure pixels being the last where there can be some.
        pixels: (K,) of each, in all images together.
        done: images or frames that were segmented.
        missing: images that were left out, or frames that the video's header promises and that do not come.
    """

    names: tuple[str, ...]
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
        UserError: no image could be segmented, or the network cannot work by such tiles or does not give what is asked.
    """
    _check(predictor, results)
    if tile:
        tiling.check(predictor, tile, overlap)
    bundle, classes = predictor.bundle, results.classes(predictor.bundle)
    run = _ImageRun(predictor, results.outputs(), tile, overlap)
    images, pixels = [], np.zeros(len(classes.shown.names))
    outlines = PolygonFiles(results.polygons, results.folder / POLYGONS, classes) if results.polygons else None
    large = [source for source in sources if tile and windows.are_possible(source.path, bundle)]
    for source, label in run.by_windows(large, results):
        share = drawing.shares(classes.numbered(label), len(pixels))
        pixels += share * label.size
        images.append({"name": source.unique_name, "height": label.shape[0], "width": label.shape[1], "shares": share})
        if outlines:
            outlines.add(source.path, source.name, source.stem, label)
    rest = [source for source in sources if source not in large]
    for source, image, answer in run.answered(progress(rest, "segmenting", disable=not rest)):
        label = results.label(answer, bundle)
        share = drawing.shares(classes.numbered(label), len(pixels))
        pixels += share * label.size
        images.append({"name": source.unique_name, "height": label.shape[0], "width": label.shape[1], "shares": share})
        image_files.write_map(results.folder / LABELS, source, label, classes.palette())
        if results.confidence:
            image_files.write(results.folder / CONFIDENCE / f"{source.stem}.png", to_file(answer[1]))
        if outlines:
            outlines.add(source.path, source.name, source.stem, label)
        if results.overlays:
            drawn = results.draw(bundle, bands.visible(image), label, share)
            image_files.write(results.folder / OVERLAYS / source.unique_name, *drawn)
    if not images:
        raise UserError(f"none of {len(sources)} images could be segmented: {run.left_out[0]['reason']}")
    if outlines:
        outlines.finish()
    results.write_shares(classes.shown.names, pixels, pictures=images, left_out=run.left_out)
    return Summary(classes.shown.names, pixels, len(images), len(run.left_out))


def segment_video(video: Video, predictor: Predictor, results: Results, most_frames: int | None = None) -> Summary:
    """Write the video under its classes' colours, and the shares. Ctrl-C ends it, which is how a webcam is stopped."""
    _check(predictor, results)
    bundle, classes = predictor.bundle, results.classes(predictor.bundle)
    frames, pixels = 0, np.zeros(len(classes.shown.names))
    promised = min(video.length, most_frames or video.length)
    running, shown = tee(islice(video, most_frames))
    path = results.folder / OVERLAYS / f"{video.name}.mp4"
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(video_writer(path, video.fps)) if results.overlays else None
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        pairs = zip(predictor.answers(map(predictor.prepare, running), results.outputs()), shown)
        for answer, frame in progress(pairs, "segmenting", promised or most_frames, unit="frame"):
            frames += 1
            label = results.label(answer, bundle)
            pixels += drawing.shares(classes.numbered(label), len(pixels)) * label.size
            if writer:
                writer.add(np.vstack(results.draw(bundle, frame, label)))
    results.write_shares(classes.shown.names, pixels, frames=frames, frames_per_second=video.fps)
    return Summary(classes.shown.names, pixels, frames, max(0, promised - frames))


def _check(predictor: Predictor, results: Results) -> None:
    for output in results.outputs():
        predictor.check_output(output)


class _ImageRun:
    """From sources to label maps; why some are left out goes to `left_out`.

    Args:
        outputs: the labels, and what else the predictor is to give.
    """

    def __init__(self, predictor: Predictor, outputs: tuple[str, ...], tile: int, overlap: int) -> None:
        self._predictor, self._outputs, self._tile, self._overlap = predictor, outputs, tile, overlap
        self.left_out: list[dict[str, str]] = []

    def answered(self, sources: Iterable[Source]) -> Iterator[Answered]:
        """Each image that can be read, with what the predictor gives of it."""
        readable = self._readable(sources)
        if self._tile:
            yield from self._by_tiles(readable)
            return
        running, shown = tee(readable)
        answers = self._predictor.answers((item for _, _, item in running if item), self._outputs)
        for answer, (source, image, _) in zip(answers, shown):
            yield source, image, answer

    def by_windows(self, sources: Sequence[Source], results: Results) -> Iterator[tuple[Source, np.ndarray]]:
        """GeoTIFFs that are never in memory as a whole: all is written, and each has its label map (H, W)."""
        bundle, classes = self._predictor.bundle, results.classes(self._predictor.bundle)
        for source in sources:
            label = windows.Map(
                results.folder / LABELS / f"{source.stem}.tif",
                lambda answer: results.label(answer, bundle),
                classes.palette(),
            )
            maps = [label]
            if results.confidence:
                path = results.folder / CONFIDENCE / f"{source.stem}.tif"
                maps.append(windows.Map(path, lambda answer: to_file(answer[1])))
            try:
                windows.segment(self._predictor, source.path, self._outputs, maps, self._tile, self._overlap)
                if results.overlays:
                    drawn = results.draw(bundle, *windows.preview(source.path, label.path))
                    image_files.write(results.folder / OVERLAYS / source.unique_name, *drawn)
            except Unwritable:
                raise
            except UserError as error:
                self._leave_out(source, error)
            else:
                yield source, windows.read(label.path)

    def _by_tiles(self, readable: Iterable[Readable]) -> Iterator[Answered]:
        for source, image, _ in readable:
            try:
                answer = tiling.answers(
                    self._predictor, image, self._outputs, self._tile, self._overlap, show_progress=True
                )
            except UserError as error:  # it is smaller than a graph's fixed shape
                self._leave_out(source, error)
            else:
                yield source, image, answer

    def _readable(self, sources: Iterable[Source]) -> Iterator[Readable]:
        for source in sources:
            try:
                bundle = self._predictor.bundle
                image = image_files.decode(source.path, bundle.channels, bundle.image_dtype)
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
