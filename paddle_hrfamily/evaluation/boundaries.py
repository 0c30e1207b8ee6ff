"""Boundary IoU: how well outlines are found (Cheng et al., "Boundary IoU", CVPR 2021, arXiv 2103.16562).

For each class, the IoU of two strips: the labelled pixels within a distance of the label's outline, and the predicted
ones within that distance of the prediction's (its equation 3), their pixels added up over all images.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from paddle_hrfamily.evaluation.counts import gathered

DILATION_RATIO = 0.02  # the distance, as a share of the image's diagonal (section 5)


class BoundaryMeasure:
    """Adds up the strips' pixels of every class.

    What is ignored is cut from both maps before the strips are taken, so that its outline is one of both. The image's
    border is an outline too, as in the authors' code.

    Args:
        names: the classes.
        ignore_index: the label value that is left out.
    """

    def __init__(self, names: tuple[str, ...], ignore_index: int) -> None:
        self.names, self.ignore_index = names, ignore_index
        self.areas = np.zeros((2, len(names)), "int64")  # intersection, union

    def add(self, index: int, predicted: np.ndarray, label: np.ndarray) -> None:
        kept = label != self.ignore_index
        distance = strip_width(*label.shape)
        for number in np.intersect1d(np.arange(len(self.names)), np.union1d(predicted[kept], label[kept])):
            strips = [boundary((classes == number) & kept, distance) for classes in (predicted, label)]
            self.areas[:, number] += np.count_nonzero(strips[0] & strips[1]), np.count_nonzero(strips[0] | strips[1])

    def report(self, counts: np.ndarray) -> BoundaryReport:
        intersection, union = gathered(self.areas)
        with np.errstate(divide="ignore", invalid="ignore"):
            return BoundaryReport(self.names, intersection / union)


@dataclass(frozen=True)
class BoundaryReport:
    """The measure of each class, NaN for one that no label has and nobody predicted."""

    names: tuple[str, ...]
    iou: np.ndarray

    @property
    def mean(self) -> float:
        """Over the classes that have one; NaN if none has."""
        return float(np.nanmean(self.iou)) if np.isfinite(self.iou).any() else float("nan")

    def table(self) -> str:
        classes = ", ".join(f"{name} {value:.4f}" for name, value in zip(self.names, self.iou) if np.isfinite(value))
        return f"Boundary IoU {self.mean:.4f} (strips of {DILATION_RATIO:.0%} of the diagonal): {classes}"

    def to_json(self) -> dict[str, object]:
        classes = {name: float(v) if np.isfinite(v) else None for name, v in zip(self.names, self.iou)}
        mean = self.mean if np.isfinite(self.mean) else None
        return {"boundary_iou": {"mean": mean, "dilation_ratio": DILATION_RATIO, "classes": classes}}


def strip_width(height: int, width: int) -> int:
    """Pixels from the outline to the inner edge of the strip in an image of this size, 1 at least."""
    return max(1, round(DILATION_RATIO * float(np.hypot(height, width))))


def boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """The part of a bool mask (H, W) within `distance` (the greater of rows and columns) of what is outside of it."""
    padded = np.pad(mask.astype(np.uint8), 1)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)
    return mask & (inner[1:-1, 1:-1] == 0)
