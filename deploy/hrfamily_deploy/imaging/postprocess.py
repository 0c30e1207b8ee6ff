"""The network's answer back at the image's size, as PaddleSeg's evaluation makes it of logits.

Logits are resized bilinearly and only then compared. Where all of them are resized by the same whole number of rows,
strips of the map are independent of one another, and fit into a core's own memory: one for each thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor

import cv2
import numpy as np

from hrfamily_deploy.imaging.preprocess import Step


def labels_back(label: np.ndarray, steps: Sequence[Step]) -> np.ndarray:
    """A label map (h, w) of the network's size at the image's size: the nearest one, in float32 as Paddle finds it."""
    for step in reversed(steps):
        if step.kind == "padding":
            label = label[: step.height, : step.width]
        elif label.shape != (step.height, step.width):
            label = label[_nearest(label.shape[0], step.height)[:, None], _nearest(label.shape[1], step.width)]
    return label


def planes_back(planes: np.ndarray, steps: Sequence[Step]) -> Iterator[np.ndarray]:
    """Planes (K, h, w), such as logits, one by one at the image's size (H, W), bilinearly."""
    return (_plane_back(plane, steps) for plane in planes)


def labels_of(
    planes: np.ndarray, steps: Sequence[Step], threads: Executor | None = None, strips: int = 1
) -> np.ndarray:
    """(H, W) number of the greatest of the planes (K, h, w) at the image's size, the first where several are.

    Args:
        steps: the changes of size to undo.
        threads: what runs the strips, of which there are `strips` where strips can be.
    """
    rows = planes.shape[1]
    if threads is None or strips < 2 or len(steps) != 1 or steps[0].kind != "resize" or steps[0].height % rows:
        return best_of(planes_back(planes, steps))
    edges = [rows * index // strips for index in range(strips + 1)]
    parts = threads.map(lambda top, bottom: _strip(planes, steps[0], top, bottom), edges[:-1], edges[1:])
    return np.concatenate(list(parts))


def best_of(planes: Iterator[np.ndarray]) -> np.ndarray:
    """(H, W) number of the greatest plane, the first where several are: uint8, or uint16 of more than 256 planes."""
    best = next(planes).copy()
    label = np.zeros(best.shape, np.uint8)
    greater = np.empty_like(label)
    for index, plane in enumerate(planes, start=1):
        cv2.compare(plane, best, cv2.CMP_GT, dst=greater)  # 255 where it is
        if index < 256:  # numbers come in their order: a new one is the greatest so far
            cv2.max(label, np.bitwise_and(greater, np.uint8(index), out=greater), dst=label)
        else:
            label = label.astype(np.uint16, copy=False)
            label[greater.view(bool)] = index
        cv2.max(best, plane, dst=best)
    return label


def _strip(planes: np.ndarray, step: Step, top: int, bottom: int) -> np.ndarray:
    """Rows of the result that belong to the source's from `top` to `bottom`; one more at each side is looked at."""
    factor = step.height // planes.shape[1]
    first, last = max(0, top - 1), min(planes.shape[1], bottom + 1)
    resized = np.empty(((last - first) * factor, step.width), np.float32)  # one for all: new memory costs as much again
    label = best_of(
        cv2.resize(plane[first:last], resized.shape[::-1], dst=resized, interpolation=cv2.INTER_LINEAR)
        for plane in planes
    )
    return label[(top - first) * factor : (bottom - first) * factor]


def _plane_back(plane: np.ndarray, steps: Sequence[Step]) -> np.ndarray:
    for step in reversed(steps):
        if step.kind == "padding":
            plane = plane[: step.height, : step.width]
        elif plane.shape != (step.height, step.width):
            plane = cv2.resize(np.ascontiguousarray(plane), (step.width, step.height), interpolation=cv2.INTER_LINEAR)
    return plane


def _nearest(size: int, target: int) -> np.ndarray:
    ratio = np.float32(size) / np.float32(target)
    return np.minimum((np.arange(target, dtype=np.float32) * ratio).astype(np.int64), size - 1)
