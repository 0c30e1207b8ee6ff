"""Many labelled images on one sheet, to see at a glance whether the labels are what was meant."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from paddle_hrfamily.data.classes import ClassTable
from paddle_hrfamily.visualization.drawing import as_rgb, overlay, side_by_side, with_legend

_COLUMNS, _WIDTH, _HEIGHT = 4, 320, 240

Cell = tuple[str, np.ndarray, np.ndarray]  # name, image, label map


def sheet(cells: Sequence[Cell], table: ClassTable) -> np.ndarray:
    """Overlays in rows of four, each under its name, with a legend below. Classes that are black are not laid over.

    Args:
        cells: name, image as `drawing` takes it, label map (H, W) of the image's size.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    unseen = [number for number, color in enumerate(table.colors) if not any(color)]
    shown = []
    for name, image, label in cells:
        small, classes = _reduced(image, label)
        shown.append((name, _fitted(overlay(small, np.where(np.isin(classes, unseen), 255, classes), table, 0.5))))
    blank = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    rows = []
    for start in range(0, len(shown), _COLUMNS):
        row = shown[start : start + _COLUMNS]
        row += [(" " * (index + 1), blank) for index in range(_COLUMNS - len(row))]  # names of empty places differ
        rows.append(side_by_side(dict(_unlike(row))))
    return with_legend(np.vstack(rows), table)


def _unlike(row: Sequence[tuple[str, np.ndarray]]) -> list[tuple[str, np.ndarray]]:
    """With a number after names that come twice."""
    names = [name for name, _ in row]
    return [
        (f"{name} ({index + 1})" if names.count(name) > 1 else name, image) for index, (name, image) in enumerate(row)
    ]


def _reduced(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both at the size of a cell, image by averaging, label by taking pixels."""
    image = as_rgb(image)
    scale = min(_WIDTH / image.shape[1], _HEIGHT / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return (
        cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST),
        cv2.resize(label, size, interpolation=cv2.INTER_NEAREST),
    )


def _fitted(image: np.ndarray) -> np.ndarray:
    """In the middle of a white cell."""
    cell = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    top, left = (_HEIGHT - image.shape[0]) // 2, (_WIDTH - image.shape[1]) // 2
    cell[top : top + image.shape[0], left : left + image.shape[1]] = image
    return cell
