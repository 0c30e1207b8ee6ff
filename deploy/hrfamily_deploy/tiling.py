"""An image too large for one run, by overlapping tiles: memory for the image, its label map, and a tile.

Neighbouring tiles overlap, and each label is taken from the tile whose middle it is nearer to. Tiles start on multiples
of 32, the coarsest grid of these networks: one that looks no further than half the overlap answers as on the whole
image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    """Labels (H, W) of an image (H, W, 3) RGB uint8, of any size.

    Args:
        tile: side of a tile in pixels; a graph of fixed shape has its own.
        overlap: what neighbouring tiles share, in pixels; half of it is the least context of a label.
        show_progress: write a progress bar to the error output.

    Raises:
        UserError: the transforms change an image's size, or tile and overlap do not fit each other.
    """
    check(predictor, tile, overlap)
    height, width = image.shape[:2]
    rows, columns = (
        spans(length, _side(predictor, axis, tile), overlap, fixed=predictor.bundle.input_shape[2 + axis] != -1)
        for axis, length in enumerate((height, width))
    )
    windows = [(row, column) for row in rows for column in columns]
    crops = (image[row.start : row.stop, column.start : column.stop] for row, column in windows)
    labels = predictor.predict_each(crops)
    bar = progress(labels, "tiles", len(windows), unit="tile", leave=False, disable=not show_progress)
    return _joined(windows, bar)


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


def _joined(windows: Sequence[tuple[Span, Span]], labels: Iterable[np.ndarray]) -> np.ndarray:
    whole: np.ndarray | None = None
    for (row, column), label in zip(windows, labels):
        if whole is None:
            whole = np.empty((windows[-1][0].stop, windows[-1][1].stop), label.dtype)
        inner = label[row.first - row.start :, column.first - column.start :]
        part = whole[row.first : row.last, column.first : column.last]
        part[:] = inner[: part.shape[0], : part.shape[1]]
    assert whole is not None, "an image has a tile at least"
    return whole
