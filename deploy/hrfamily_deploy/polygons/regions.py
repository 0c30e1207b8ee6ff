"""Label maps as polygons: the connected regions of each class, and the rings around them.

A region is connected by the sides of pixels. Its rings run along the edges of pixels, in image coordinates: (0, 0) is
the image's upper left corner, and a pixel in column x has its centre at x + 0.5. So the regions of a label map cover it
without gaps, and whoever takes the pixels whose centre a polygon holds gets the label map back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np


@dataclass(frozen=True)
class Region:
    """A connected region of one class.

    Attributes:
        number: of the class.
        area: pixels.
        box: left, top, width and height in pixels.
        mask: (height, width) bool, within the box.
        rings: (P, 2) float64 each, x and y, not closed: the outer one, then one around each hole. Simplified, if so
            asked.
        filled: pixels, those in the holes included.
    """

    number: int
    area: int
    box: tuple[int, int, int, int]
    mask: np.ndarray
    rings: tuple[np.ndarray, ...]
    filled: int

    def outline(self) -> np.ndarray:
        """(P, 2) int32: column and row of the border's pixels at which it turns, as whoever draws lines through pixels
        wants them. Holes are left out, and nothing is simplified."""
        contours, _ = cv2.findContours(self.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        return contours[0][:, 0] + np.array(self.box[:2], np.int32)


def regions(label: np.ndarray, least: int = 0, tolerance: float = 0.0) -> list[Region]:
    """The regions of a label map, those that fill more, holes included, first: so a region in the hole of another comes
    after it, and painting one after the other gives the label map.

    Args:
        label: (H, W) of whole numbers.
        least: pixels of a region. Smaller ones are given to the nearest that is kept; if all are smaller, none is.
        tolerance: pixels by which a ring may leave the edges of pixels, so as to have fewer points; 0 is exact. Where
            two regions meet, both get the same points. Regions that are thinner vanish.
    """
    kept = merged(label, least) if least > 1 else label
    if kept is None:
        return []
    ids = np.full(label.shape, -1, np.int32)
    found = list(_components(kept, ids))
    if tolerance > 0:
        junctions = _junctions(ids)
        found = [thin for region in found if (thin := _simplified(region, junctions, tolerance)) is not None]
    return sorted(found, key=lambda region: -region.filled)


def merged(label: np.ndarray, least: int) -> np.ndarray | None:
    """The label map without regions of fewer pixels: each of their pixels gets the class of the nearest one that stays.

    None if no region is that large.
    """
    small = np.zeros(label.shape, np.uint8)
    for number in np.unique(label):
        _, ids, stats, _ = _connected(label == number)
        small |= ((stats[:, cv2.CC_STAT_AREA] < least)[ids] & (ids > 0)).astype(np.uint8)
    if small.all():
        return None
    if not small.any():
        return label
    _, nearest = cv2.distanceTransformWithLabels(small, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    classes = np.zeros(int(nearest.max()) + 1, label.dtype)
    classes[nearest[small == 0]] = label[small == 0]
    return classes[nearest]


def _components(label: np.ndarray, ids: np.ndarray) -> Iterator[Region]:
    """The regions, none simplified. Each gets a number of its own in `ids`, (H, W)."""
    total = 0
    for number in np.unique(label).tolist():
        count, numbered, stats, _ = _connected(label == number)
        np.copyto(ids, numbered + (total - 1), where=numbered > 0)
        total += count - 1
        for index in range(1, count):
            left, top, width, height, area = (int(value) for value in stats[index])
            mask = numbered[top : top + height, left : left + width] == index
            rings = tuple(ring + np.array([left, top]) for ring in _rings(mask))
            yield Region(number, area, (left, top, width, height), mask, rings, round(abs(signed_area(rings[0]))))


def _rings(mask: np.ndarray) -> list[np.ndarray]:
    """(P, 2) of whole numbers each: the corners of the mask's border along the edges of pixels, the outer one first.

    OpenCV's contours run through the centres of border pixels. In a mask of twice the size each pixel has a left and a
    right half, whose numbers 2x and 2x + 1 lead to its left and right edge, x and x + 1.
    """
    doubled = np.pad(mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1), 1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    order = sorted(range(len(contours)), key=lambda index: hierarchy[0][index][3] >= 0)
    return [_corners(contours[index][:, 0] // 2) for index in order]


def _corners(points: np.ndarray) -> np.ndarray:
    """The points of a closed ring at which it turns."""
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]].astype(np.float64)


def signed_area(ring: np.ndarray) -> float:
    """Of a ring (P, 2); positive where it turns from x to y, which is counterclockwise where y points up."""
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def _junctions(ids: np.ndarray) -> np.ndarray:
    """(H + 1, W + 1) bool: the corners of pixels that no ring may leave. There three regions meet, or two twice, or it
    is the image's corner."""
    around = np.pad(ids, 1, constant_values=-1)
    one, two, three, four = around[:-1, :-1], around[:-1, 1:], around[1:, 1:], around[1:, :-1]
    changes = sum((a != b).astype(np.uint8) for a, b in ((one, two), (two, three), (three, four), (four, one)))
    found = np.asarray(changes) > 2
    found[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    return found


def _simplified(region: Region, junctions: np.ndarray, tolerance: float) -> Region | None:
    """None where the outer ring has no area left."""
    outer, *holes = (_thinned_ring(ring, junctions, tolerance) for ring in region.rings)
    if len(outer) < 3:
        return None
    return replace(region, rings=(outer, *(hole for hole in holes if len(hole) >= 3)))


def _thinned_ring(ring: np.ndarray, junctions: np.ndarray, tolerance: float) -> np.ndarray:
    """The ring of fewer points. Between junctions two regions share its points, and see them in opposite directions: so
    that both keep the same ones, they are thinned in the direction that their coordinates give."""
    points = _every_corner(ring)
    fixed = np.flatnonzero(junctions[points[:, 1], points[:, 0]])
    first = fixed[0] if len(fixed) else np.lexsort(points.T)[0]
    points = np.roll(points, -first, axis=0)
    ends = [*(fixed - first if len(fixed) else [0]), len(points)]
    closed = np.vstack([points, points[:1]])
    return np.vstack([_thinned(closed[a : b + 1], tolerance)[:-1] for a, b in zip(ends, ends[1:])]).astype(np.float64)


def _every_corner(ring: np.ndarray) -> np.ndarray:
    """(N, 2) int: all corners of pixels that the ring passes, one unit apart."""
    steps = np.roll(ring, -1, axis=0) - ring
    lengths = np.abs(steps).sum(axis=1).astype(int)
    along = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return (np.repeat(ring, lengths, axis=0) + np.repeat(np.sign(steps), lengths, axis=0) * along[:, None]).astype(int)


def _thinned(line: np.ndarray, tolerance: float) -> np.ndarray:
    """A line of fewer points, of which the first and the last stay (Douglas and Peucker's algorithm)."""
    if (line[0] == line[-1]).all():  # a ring: its halves, up to the point that is farthest away
        far = int(np.abs(line - line[0]).sum(axis=1).argmax())
        return np.vstack([_thinned(line[: far + 1], tolerance)[:-1], _thinned(line[far:], tolerance)])
    turned = tuple(line[0]) > tuple(line[-1])
    thin = cv2.approxPolyDP(np.ascontiguousarray(line[::-1] if turned else line, np.int32), tolerance, False)[:, 0]
    return thin[::-1] if turned else thin


def _connected(mask: np.ndarray) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """OpenCV's connected components with statistics, by sides. Its usual algorithm for these crashes in 4.5.5."""
    return cv2.connectedComponentsWithStatsWithAlgorithm(mask.astype(np.uint8), 4, cv2.CV_32S, cv2.CCL_WU)
