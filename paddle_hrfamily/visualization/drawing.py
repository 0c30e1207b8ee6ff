"""Images of label maps: in colour, laid over the image, with a legend, beside the truth. Arrays in, arrays out.

Images are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8, label maps (H, W) of whole numbers, and what is drawn is
(H, W, 3) uint8. Colours are RGB throughout. A label beyond the table's classes (ignore_index) has no colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

import cv2
import numpy as np
from PIL import Image, ImageDraw

from hrfamily_deploy.imaging import drawing
from paddle_hrfamily.data.classes import ClassTable

_UNLABELLED = (0, 0, 0)

Frame = tuple[np.ndarray, Optional[np.ndarray], Mapping[str, np.ndarray]]  # image, truth, name -> prediction


def color_map(label: np.ndarray, table: ClassTable) -> np.ndarray:
    """Every pixel in its class's colour, black where it has none."""
    return np.array([*table.colors, _UNLABELLED], np.uint8)[_class_numbers(label, table)]


def overlay(image: np.ndarray, label: np.ndarray, table: ClassTable, opacity: float = 0.4) -> np.ndarray:
    """The class colours laid over the image with that opacity (0..1); where a pixel has no class, the image alone."""
    return drawing.overlay(as_rgb(image).copy(), _class_numbers(label, table), table.colors, opacity)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) -> (H, W, 3); transparency is dropped."""
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image.reshape(image.shape[:2]), cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(image[..., :3])


def shares(label: np.ndarray, table: ClassTable) -> np.ndarray:
    """(classes,) share of the labelled pixels that each class has, 0..1."""
    return drawing.shares(_class_numbers(label, table), len(table))


def legend(table: ClassTable, width: int, share: Sequence[float] | np.ndarray | None = None) -> np.ndarray:
    """A strip (height, width, 3) of swatches and names, wrapped to the width.

    With `share` (one number of 0..1 per class) only classes that occur are named, the greatest first, with their
    per cent. At most 32 entries are shown; a last one tells how many are left out.
    """
    return drawing.legend(table.names, table.colors, width, share)


def with_legend(image: np.ndarray, table: ClassTable, share: Sequence[float] | np.ndarray | None = None) -> np.ndarray:
    """The image with a legend below it; one too narrow for text is magnified by a whole number first."""
    return drawing.with_legend(image, table.names, table.colors, share)


def panel(
    image: np.ndarray,
    truth: np.ndarray | None,
    predictions: Mapping[str, np.ndarray],
    table: ClassTable,
    opacity: float = 0.6,
) -> np.ndarray:
    """image | truth | each prediction side by side under their titles, with the legend of all that occurs below.

    Without a truth there is no such column. The shares in the legend are the truth's, else the first prediction's.
    """
    row = _row(image, truth, predictions, table, opacity)
    return with_legend(row, table, shares(next(iter(predictions.values())) if truth is None else truth, table))


def comparison(
    frames: Sequence[Frame], table: ClassTable, opacity: float = 0.6, width: int | None = None
) -> np.ndarray:
    """One row (image, truth, predictions) of `panel` for every frame, and one legend below.

    Args:
        width: of a column in pixels, to which images are reduced; by default the images' own or, where they are of
            several widths, the least of them.
    """
    widths = {image.shape[1] for image, _, _ in frames}
    if width is None and len(widths) > 1:
        width = min(widths)
    rows = [_row(*(_reduced(frame, width) if width else frame), table, opacity) for frame in frames]
    return with_legend(np.vstack(rows), table)


def side_by_side(images: Mapping[str, np.ndarray]) -> np.ndarray:
    """Images of one size in a row, each under its title; narrow ones are magnified by a whole number."""
    columns = [_titled(name, drawing.magnified(image)) for name, image in images.items()]
    gap = np.full((columns[0].shape[0], max(2, columns[0].shape[1] // 100), 3), drawing.PAPER, np.uint8)
    return np.hstack([part for column in columns for part in (column, gap)][:-1])


def _class_numbers(label: np.ndarray, table: ClassTable) -> np.ndarray:
    """The label map (H, W) uint16 in which all that has no class is one number, the first beyond the table's."""
    return np.where((label >= 0) & (label < len(table)), label, len(table)).astype(np.uint16)


def _row(
    image: np.ndarray,
    truth: np.ndarray | None,
    predictions: Mapping[str, np.ndarray],
    table: ClassTable,
    opacity: float,
) -> np.ndarray:
    labels = predictions if truth is None else {"truth": truth, **predictions}
    overlays = {name: overlay(image, label, table, opacity) for name, label in labels.items()}
    return side_by_side({"image": as_rgb(image), **overlays})


def _reduced(frame: Frame, width: int) -> Frame:
    """The image by averaging, label maps by taking pixels, all to that width."""
    image, truth, predictions = frame
    size = width, max(1, round(image.shape[0] * width / image.shape[1]))

    def label(given: np.ndarray) -> np.ndarray:
        return cv2.resize(given.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)

    return (
        cv2.resize(image, size, interpolation=cv2.INTER_AREA),
        None if truth is None else label(truth),
        {name: label(prediction) for name, prediction in predictions.items()},
    )


def _titled(text: str, image: np.ndarray) -> np.ndarray:
    width = image.shape[1]
    font = drawing.font_of(width)
    fitting = min(font.size, int(font.size * width / max(1.0, font.getlength(text))))
    strip = Image.new("RGB", (width, int(font.size * 1.8)), drawing.PAPER)
    middle = width // 2, int(font.size * 0.9)
    ImageDraw.Draw(strip).text(middle, text, drawing.INK, font.font_variant(size=max(1, fitting)), anchor="mm")
    return np.vstack([np.array(strip), image])
