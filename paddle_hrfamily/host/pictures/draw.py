"""Pictures of label maps: in colour, laid over the image, with a legend, beside the truth. Arrays in, arrays out.

Images are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8, label maps (H, W) of whole numbers, pictures (H, W, 3)
uint8. Colours are RGB throughout. A label beyond the table's classes (ignore_index) has no colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from paddle_hrfamily.host.classes import ClassTable

_PAPER, _INK = 255, (20, 20, 20)
_UNLABELLED = (0, 0, 0)
_LEAST_WIDTH = 256  # text needs that much; smaller pictures are magnified
_MOST_ENTRIES = 32


def color_map(label: np.ndarray, table: ClassTable) -> np.ndarray:
    """Every pixel in its class's colour, black where it has none."""
    lookup = np.array([*table.colors, _UNLABELLED], np.uint8)
    return lookup[np.where(_labelled(label, table), label, len(table))]


def overlay(image: np.ndarray, label: np.ndarray, table: ClassTable, opacity: float = 0.4) -> np.ndarray:
    """The class colours laid over the image with that opacity (0..1); where a pixel has no class, the image alone."""
    image = as_rgb(image)
    blended = cv2.addWeighted(image, 1 - opacity, color_map(label, table), opacity, 0)
    return np.where(_labelled(label, table)[..., None], blended, image)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) -> (H, W, 3); transparency is dropped."""
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image.reshape(image.shape[:2]), cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(image[..., :3])


def shares(label: np.ndarray, table: ClassTable) -> np.ndarray:
    """(classes,) share of the labelled pixels that each class has, 0..1."""
    counts = np.bincount(label[_labelled(label, table)].ravel().astype(np.int64), minlength=len(table))
    return counts / max(1, counts.sum())


def legend(table: ClassTable, width: int, share: Sequence[float] | None = None) -> np.ndarray:
    """A strip (height, width, 3) of swatches and names, wrapped to the width.

    With `share` (one number of 0..1 per class) only classes that occur are named, the greatest first, with their
    per cent. At most 32 entries are shown; a last one tells how many are left out.
    """
    order = range(len(table)) if share is None else [i for i in np.argsort(share)[::-1] if share[i] > 0]
    entries = [
        (table.colors[i], table.names[i] if share is None else f"{table.names[i]} {_percent(share[i])}") for i in order
    ]
    if len(entries) > _MOST_ENTRIES:
        entries = [*entries[:_MOST_ENTRIES], (None, f"and {len(entries) - _MOST_ENTRIES} more")]
    return _strip(entries, width)


def with_legend(picture: np.ndarray, table: ClassTable, share: Sequence[float] | None = None) -> np.ndarray:
    """The picture with a legend below it; one too narrow for text is magnified by a whole number first."""
    picture = _magnified(picture)
    return np.vstack([picture, legend(table, picture.shape[1], share)])


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
    frames: Sequence[tuple[np.ndarray, np.ndarray | None, Mapping[str, np.ndarray]]],
    table: ClassTable,
    opacity: float = 0.6,
    width: int | None = None,
) -> np.ndarray:
    """One row (image, truth, predictions) of `panel` for every frame, all of one size, and one legend below.

    With `width`, columns are reduced to so many pixels.
    """
    rows = [_row(*(_reduced(part, width) for part in frame), table, opacity) for frame in frames]
    return with_legend(np.vstack(rows), table)


def _reduced(part: np.ndarray | Mapping[str, np.ndarray] | None, width: int | None) -> Any:
    """An image by averaging, a label map by taking pixels, to `width`; each of several alike."""
    if part is None or width is None:
        return part
    if isinstance(part, Mapping):
        return {name: _reduced(label, width) for name, label in part.items()}
    size = width, max(1, round(part.shape[0] * width / part.shape[1]))
    if part.ndim == 3:
        return cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(part.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)


def _row(
    image: np.ndarray,
    truth: np.ndarray | None,
    predictions: Mapping[str, np.ndarray],
    table: ClassTable,
    opacity: float,
) -> np.ndarray:
    labels = predictions if truth is None else {"truth": truth, **predictions}
    pictures = {
        "image": as_rgb(image),
        **{name: overlay(image, label, table, opacity) for name, label in labels.items()},
    }
    return side_by_side(pictures)


def side_by_side(pictures: Mapping[str, np.ndarray]) -> np.ndarray:
    """Pictures of one size in a row, each under its title; narrow ones are magnified by a whole number."""
    columns = [_titled(name, _magnified(picture)) for name, picture in pictures.items()]
    gap = np.full((columns[0].shape[0], max(2, columns[0].shape[1] // 100), 3), _PAPER, np.uint8)
    return np.hstack([part for column in columns for part in (column, gap)][:-1])


def _labelled(label: np.ndarray, table: ClassTable) -> np.ndarray:
    return (label >= 0) & (label < len(table))


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0005 else "<0.1%"


def _magnified(picture: np.ndarray) -> np.ndarray:
    factor = -(-_LEAST_WIDTH // picture.shape[1])
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _font(width: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(_text_size(width))


def _text_size(width: int) -> int:
    return min(48, max(12, width // 64))


def _strip(entries: list[tuple[tuple[int, int, int] | None, str]], width: int) -> np.ndarray:
    size, font = _text_size(width), _font(width)
    swatch, pad, line = size, size // 2, int(size * 1.6)
    x, y, places = pad, pad // 2, []
    for color, text in entries:
        length = (swatch + pad if color else 0) + int(font.getlength(text))
        if x > pad and x + length + pad > width:
            x, y = pad, y + line
        places.append((x, y, color, text))
        x += length + 2 * pad
    strip = Image.new("RGB", (width, y + line + pad // 2), (_PAPER,) * 3)
    canvas = ImageDraw.Draw(strip)
    for x, y, color, text in places:
        middle = y + line // 2
        if color:
            canvas.rectangle((x, middle - swatch // 2, x + swatch, middle + swatch // 2), color, _INK)
            x += swatch + pad
        canvas.text((x, middle), text, _INK, font, anchor="lm")
    return np.array(strip)


def _titled(text: str, picture: np.ndarray) -> np.ndarray:
    width = picture.shape[1]
    size = _text_size(width)
    font = _font(width)
    fitting = min(size, int(size * width / max(1.0, font.getlength(text))))
    strip = Image.new("RGB", (width, int(size * 1.8)), (_PAPER,) * 3)
    middle = width // 2, int(size * 0.9)
    ImageDraw.Draw(strip).text(middle, text, _INK, font.font_variant(size=max(1, fitting)), anchor="mm")
    return np.vstack([np.array(strip), picture])
