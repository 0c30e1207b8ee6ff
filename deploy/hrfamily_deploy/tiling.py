"""An image too large for one run, by overlapping tiles: memory for the image, its label map, and a tile.

Neighbouring tiles overlap, and each label is taken from the tile whose middle it is nearer to. Tiles start on multiples
of 32, the coarsest grid of these networks: one that looks no further than half the overlap answers as on the whole
image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.progress import progress

GRID = 32


class Span(NamedTuple):
    """Along one side: a tile from `start` to `stop`, and the part `first` to `last` that is taken from it."""

    start: int
    stop: int
    first: int
    last: int


def predict(
    predictor: Predictor, image: np.ndarray, tile: int = 1024, overlap: int = 128, show_progress: bool = False
) -> np.ndarray:
    """Labels (H, W) of an image (H, W, 3) RGB uint8, of any size: `answers` of these alone."""
    return answers(predictor, image, ("labels",), tile, overlap, show_progress)[0]


def answers(
    predictor: Predictor,
    image: np.ndarray,
    outputs: Sequence[str],
    tile: int = 1024,
    overlap: int = 128,
    show_progress: bool = False,
) -> tuple[np.ndarray, ...]:
    """What the predictor gives of an image (H, W, 3) RGB uint8 of any size: (H, W) each.

    Args:
        outputs: of "labels", "max_probability" and "entropy".
        tile: side of a tile in pixels; a graph of fixed shape has its own.
        overlap: what neighbouring tiles share, in pixels; half of it is the least context of a label.
        show_progress: write a progress bar to the error output.

    Raises:
        UserError: the transforms change an image's size, or tile and overlap do not fit each other.
    """
    shape = image.shape[:2]

    def crop(row: Span, column: Span) -> np.ndarray:
        return image[row.start : row.stop, column.start : column.stop]

    wholes: list[np.ndarray] = []
    for top, maps in strips(predictor, crop, shape, outputs, tile, overlap, show_progress):
        wholes = wholes or [np.empty(shape, found.dtype) for found in maps]
        for whole, found in zip(wholes, maps):
            whole[top : top + len(found)] = found
    return tuple(wholes)


def strips(
    predictor: Predictor,
    crop: Callable[[Span, Span], np.ndarray],
    shape: Sequence[int],
    outputs: Sequence[str],
    tile: int = 1024,
    overlap: int = 128,
    show_progress: bool = False,
) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
    """As `answers`, of an image that need not be in memory: strip by strip from the top, its first row and (rows, W).

    Args:
        crop: gives the pixels of a tile, as the predictor takes images.
        shape: height and width of the image.

    Raises:
        UserError: as `answers`.
    """
    check(predictor, tile, overlap)
    rows, columns = (
        spans(length, _side(predictor, axis, tile), overlap, fixed=predictor.bundle.input_shape[2 + axis] != -1)
        for axis, length in enumerate(shape)
    )
    windows = [(row, column) for row in rows for column in columns]
    parts = predictor.answers((predictor.prepare(crop(*window)) for window in windows), outputs)
    bar = progress(parts, "tiles", len(windows), unit="tile", leave=False, disable=not show_progress)
    strip: list[np.ndarray] = []
    for maps, (row, column) in zip(bar, windows):
        strip = strip or [np.empty((row.last - row.first, shape[1]), found.dtype) for found in maps]
        for whole, found in zip(strip, maps):
            inner = found[row.first - row.start : row.last - row.start, column.first - column.start :]
            whole[:, column.first : column.last] = inner[:, : column.last - column.first]
        if column is columns[-1]:
            yield row.first, tuple(strip)
            strip = []


def check(predictor: Predictor, tile: int, overlap: int) -> None:
    """Raises UserError unless this network can work by such tiles."""
    if not predictor.processor.keeps_size:
        raise UserError(f"tiles need transforms that keep an image's size; {predictor.bundle.description} has others")
    for axis in (0, 1):
        side = _side(predictor, axis, tile)
        if side % GRID:
            raise UserError(f"a tile's side, {side}, must be a multiple of {GRID}")
        if overlap < 0 or overlap % GRID or overlap >= side:
            raise UserError(f"overlap {overlap} must be a multiple of {GRID} from 0 to less than a tile's side, {side}")


def spans(length: int, tile: int, overlap: int, fixed: bool = False) -> list[Span]:
    """The tiles along a side of that length. The last one ends with it: it is shorter by less than 32 so as to start on
    the grid or, of a `fixed` size, starts off the grid."""
    step, tile = tile - overlap, min(tile, length)
    final = length - tile if fixed else -(-(length - tile) // GRID) * GRID
    starts = [*range(0, final, step), final]
    stops = [*(start + tile for start in starts[:-1]), length]
    cuts = [0, *((stop + after) // 2 for stop, after in zip(stops, starts[1:])), length]
    return [Span(*span) for span in zip(starts, stops, cuts, cuts[1:])]


def _side(predictor: Predictor, axis: int, asked: int) -> int:
    fixed = predictor.bundle.input_shape[2 + axis]
    return asked if fixed == -1 else fixed
