"""Recall by size: of the labels' connected components, how many are found, and how much of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from paddle_hrfamily.evaluation.counts import gathered

SIDES = (8, 32, 96, 256)  # pixels of a square of that area; between 32 and 96 is COCO's medium size
BINS = (f"<{SIDES[0]}²", *(f"{a}²-{b}²" for a, b in zip(SIDES, SIDES[1:])), f"≥{SIDES[-1]}²")


class ComponentMeasure:
    """Adds up components of the labels, which touch by sides or corners, by their area in pixels.

    Args:
        names: the classes.
        ignore_index: the label value that is left out.
    """

    def __init__(self, names: tuple[str, ...], ignore_index: int) -> None:
        self.names, self.ignore_index = names, ignore_index
        self.counts = np.zeros((4, len(names), len(BINS)), "int64")  # components, those found, pixels, those found

    def add(self, index: int, predicted: np.ndarray, label: np.ndarray) -> None:
        for number in np.intersect1d(np.arange(len(self.names)), label[label != self.ignore_index]):
            count, ids = cv2.connectedComponents((label == number).astype(np.uint8), connectivity=8)
            areas = np.bincount(ids.ravel(), minlength=count)[1:]
            hits = np.bincount(ids[predicted == number], minlength=count)[1:]
            sizes = np.searchsorted(np.square(SIDES), areas, side="right")
            for row, values in enumerate((None, 2 * hits > areas, areas, hits)):
                self.counts[row, number] += np.bincount(sizes, values, len(BINS)).astype("int64")

    def report(self, counts: np.ndarray) -> ComponentReport:
        return ComponentReport(self.names, *gathered(self.counts))


@dataclass(frozen=True)
class ComponentReport:
    """By class and area, each (classes, bins).

    Attributes:
        components: of the labels.
        found: those with more than half of their pixels predicted as their class.
        pixels: of the components.
        hits: pixels among them that are predicted as their class.
    """

    names: tuple[str, ...]
    components: np.ndarray
    found: np.ndarray
    pixels: np.ndarray
    hits: np.ndarray

    def table(self) -> str:
        from prettytable import PrettyTable

        table = PrettyTable(["components found, by area", *BINS], align="r")
        for name, found, total in zip(self.names, self.found, self.components):
            table.add_row([name, *(f"{part} of {whole}" if whole else "-" for part, whole in zip(found, total))])
        found, total = self.found.sum(axis=0), self.components.sum(axis=0)
        table.add_row(["all", *(f"{part / whole:.1%}" if whole else "-" for part, whole in zip(found, total))])
        return str(table)

    def to_json(self) -> dict[str, object]:
        names = ("components", "found", "pixels", "hits")
        return {
            "components": {
                "area_in_pixels": list(BINS),
                "classes": [
                    {"name": name, **{key: getattr(self, key)[index].tolist() for key in names}}
                    for index, name in enumerate(self.names)
                ],
            }
        }
